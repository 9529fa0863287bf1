/* SPDX-License-Identifier: MIT */
/* One thread reads, under the lock, and walks; others only look. The frames of a server of ours are
 * whole and unmasked, and its JSON has no blanks: anything else is a fault of its own. */
#define _GNU_SOURCE /* memmem */
#include "test/audience.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bus/buffer.h"
#include "test/client.h"
#include "test/horde.h"

#define TARGET "/socket/websocket"
#define TURN_MS 5
#define LOOK_MS 2
#define READ_BYTES (64 * 1024)
#define START_MS 20000
#define WANDER_MS_MIN 50
#define WANDER_MS_MORE 550
#define NODES_MAX 4

enum stage {
    STAGE_OUT,
    STAGE_ASKED,
    STAGE_IN,
    STAGE_LEAVING,
    STAGE_CLOSED,
};

struct member {
    uint32_t index;
    int fd;
    enum stage stage;
    uint32_t topic;
    uint32_t ref;
    uint32_t *heard;  /* [publisher]: the newest number of this join */
    uint64_t next_us; /* a wanderer's next step; 0: stays */
    hub__buffer_t in;
};

struct audience {
    audience_options_t options;
    pthread_mutex_t lock; /* of what follows */
    struct member *members;
    uint64_t newest_us[NODES_MAX][NODES_MAX]; /* the latest sending time heard, [from][to] */
    bool resting;
    bool stop;
    uint64_t random;

    horde_t hordes[NODES_MAX];
    int epoll_fd;
    bool ended; /* the thread */
    pthread_t thread;
};

uint64_t audience_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void audience_topic(char ret_text[AUDIENCE_TEXT], uint32_t topic)
{
    snprintf(ret_text, AUDIENCE_TEXT, "room:%u", topic);
}

void audience_payload(char ret_text[AUDIENCE_TEXT], uint32_t publisher, uint32_t number,
                      uint64_t sent_us)
{
    snprintf(ret_text, AUDIENCE_TEXT, "{\"p\":%u,\"n\":%u,\"t\":%llu}", publisher, number,
             (unsigned long long)sent_us);
}

size_t audience_frame(hub_str_t bytes, client_frame_t *ret_frame)
{
    const unsigned char *head = (const unsigned char *)bytes.base;
    size_t at = 2, len;

    if (bytes.len < 4)
        return 0;
    len = head[1];
    if (len == 126) {
        len = (size_t)head[2] << 8 | head[3];
        at = 4;
    }
    if (head[1] > 126) {
        fprintf(stderr, "a frame that is too long, or masked\n");
        abort();
    }
    if (bytes.len < at + len)
        return 0;
    *ret_frame = (client_frame_t){.first = head[0], .payload = hub_str_n(bytes.base + at, len)};
    return at + len;
}

/* As hub_gap_reason_name() has it; what it has not is none of the two that a bus may tell. */
hub_gap_reason_t audience_gap_reason(hub_str_t text)
{
    static const char bus[] = "\"reason\":\"bus\"", lost[] = "\"reason\":\"lost\"";

    return memmem(text.base, text.len, bus, sizeof(bus) - 1) != NULL     ? HUB_GAP_BUS
           : memmem(text.base, text.len, lost, sizeof(lost) - 1) != NULL ? HUB_GAP_LOST
                                                                         : HUB_GAP_MAILBOX;
}

static uint32_t draw(audience_t *audience, uint32_t below)
{
    audience->random = audience->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)((audience->random >> 33) % below);
}

static _Noreturn void die(const struct member *member, const char *what, hub_str_t bytes)
{
    fprintf(stderr, "member %u: %s: %.*s\n", member->index, what, HUB_STR_ARG(bytes));
    abort();
}

/* ---- what members do ---- */

static void note(audience_t *audience, struct member *member, history_kind_t kind,
                 history_event_t event)
{
    event.kind = kind;
    event.at_us = audience_now_us();
    history_add(audience->options.history, member->index, event);
}

static void note_closed(audience_t *audience, struct member *member)
{
    epoll_ctl(audience->epoll_fd, EPOLL_CTL_DEL, member->fd, NULL);
    member->stage = STAGE_CLOSED;
    note(audience, member, HISTORY_CLOSED, (history_event_t){.topic = member->topic});
}

static void send_frame(struct member *member, unsigned first, hub_str_t payload)
{
    char bytes[512];
    size_t size = client_frame_write(bytes, first, payload);

    if (send(member->fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size && errno == EAGAIN)
        die(member, "the server does not read", payload);
}

static void ask(struct member *member, const char *event)
{
    char name[AUDIENCE_TEXT], text[256];

    audience_topic(name, member->topic);
    snprintf(text, sizeof(text),
             "{\"topic\":\"%s\",\"event\":\"%s\",\"payload\":{},\"ref\":\"%u\"}", name, event,
             ++member->ref);
    send_frame(member, CLIENT_TEXT, hub_str(text));
}

static void join(audience_t *audience, struct member *member, uint32_t topic)
{
    member->topic = topic;
    member->stage = STAGE_ASKED;
    memset(member->heard, 0, audience->options.history->publishers * sizeof(*member->heard));
    note(audience, member, HISTORY_JOIN_ASKED, (history_event_t){.topic = topic});
    ask(member, "join");
}

static void leave(audience_t *audience, struct member *member)
{
    member->stage = STAGE_LEAVING;
    note(audience, member, HISTORY_LEAVE_ASKED, (history_event_t){.topic = member->topic});
    ask(member, "leave");
}

static void wander(audience_t *audience, struct member *member, uint64_t now_us)
{
    if (member->next_us == 0 || now_us < member->next_us)
        return;
    member->next_us = now_us + 1000 * (WANDER_MS_MIN + draw(audience, WANDER_MS_MORE));
    if (audience->resting)
        return;
    if (member->stage == STAGE_IN)
        leave(audience, member);
    else if (member->stage == STAGE_OUT)
        join(audience, member, draw(audience, audience->options.history->topics));
}

/* ---- what members hear ---- */

/* The number behind `name`, as in "\"n\":12". */
static uint64_t number_of(const struct member *member, hub_str_t text, const char *name)
{
    const char *at = memmem(text.base, text.len, name, strlen(name));

    if (at == NULL)
        die(member, name, text);
    return strtoull(at + strlen(name), NULL, 10); /* more text follows it, always */
}

static bool has(hub_str_t text, const char *part)
{
    return memmem(text.base, text.len, part, strlen(part)) != NULL;
}

static void hear_message(audience_t *audience, struct member *member, uint32_t topic,
                         hub_str_t text)
{
    const history_t *history = audience->options.history;
    uint32_t publisher = (uint32_t)number_of(member, text, "{\"p\":");
    uint32_t number = (uint32_t)number_of(member, text, "\"n\":");
    uint32_t to = member->index % history->nodes, from;

    note(audience, member, HISTORY_MESSAGE,
         (history_event_t){.topic = topic, .publisher = publisher, .number = number});
    if (publisher >= history->publishers)
        return;
    from = history->publisher_nodes[publisher];
    if (topic == member->topic && member->heard[publisher] < number)
        member->heard[publisher] = number;
    if (audience->newest_us[from][to] < number_of(member, text, "\"t\":"))
        audience->newest_us[from][to] = number_of(member, text, "\"t\":");
}

static void hear_reply(audience_t *audience, struct member *member, hub_str_t text)
{
    bool ok = has(text, "\"status\":\"ok\"");
    history_event_t event = {.topic = member->topic};

    if (number_of(member, text, "\"ref\":\"") != member->ref)
        die(member, "not an answer to what was asked last", text);
    if (member->stage == STAGE_ASKED) {
        member->stage = ok ? STAGE_IN : STAGE_OUT;
        note(audience, member, ok ? HISTORY_JOINED : HISTORY_REFUSED, event);
    } else if (member->stage == STAGE_LEAVING && ok) {
        member->stage = STAGE_OUT;
        note(audience, member, HISTORY_LEFT, event);
    } else {
        die(member, "an unexpected answer", text);
    }
}

static void hear_text(audience_t *audience, struct member *member, hub_str_t text)
{
    uint32_t topic = (uint32_t)number_of(member, text, "\"topic\":\"room:");

    if (has(text, "\"event\":\"" AUDIENCE_EVENT "\""))
        hear_message(audience, member, topic, text);
    else if (has(text, "\"event\":\"gap\""))
        note(audience, member, HISTORY_GAP,
             (history_event_t){.topic = topic,
                               .reason = audience_gap_reason(text),
                               .number = (uint32_t)number_of(member, text, "\"missed\":")});
    else if (has(text, "\"event\":\"reply\""))
        hear_reply(audience, member, text);
    else
        die(member, "what is this", text);
}

static size_t hear_frame(audience_t *audience, struct member *member, hub_str_t bytes)
{
    client_frame_t frame;
    size_t size = audience_frame(bytes, &frame);

    if (size == 0)
        return 0;
    if (frame.first == CLIENT_TEXT)
        hear_text(audience, member, frame.payload);
    else if (frame.first == CLIENT_PING)
        send_frame(member, CLIENT_PONG, frame.payload);
    else if (frame.first == CLIENT_CLOSE)
        note_closed(audience, member);
    else
        die(member, "an unexpected frame", frame.payload);
    return size;
}

static void read_member(audience_t *audience, struct member *member)
{
    size_t used = 0, size;
    ssize_t got;

    hub__buffer_reserve(&member->in, READ_BYTES);
    got = recv(member->fd, member->in.base + member->in.len, READ_BYTES, 0);
    if (got <= 0 && errno != EAGAIN) {
        note_closed(audience, member);
        return;
    }
    member->in.len += got > 0 ? (size_t)got : 0;
    while (member->stage != STAGE_CLOSED &&
           (size = hear_frame(audience, member,
                              hub_str_n(member->in.base + used, member->in.len - used))) > 0)
        used += size;
    memmove(member->in.base, member->in.base + used, member->in.len - used);
    member->in.len -= used;
}

static void turn(audience_t *audience)
{
    struct epoll_event events[64];
    int count = epoll_wait(audience->epoll_fd, events, 64, TURN_MS);
    uint32_t members = audience->options.members;
    uint64_t now_us;

    pthread_mutex_lock(&audience->lock);
    for (int i = 0; i < count; i++)
        read_member(audience, events[i].data.ptr);
    now_us = audience_now_us();
    for (uint32_t i = members - audience->options.wanderers; i < members; i++)
        wander(audience, &audience->members[i], now_us);
    pthread_mutex_unlock(&audience->lock);
}

static void *run(void *arg)
{
    audience_t *audience = arg;
    bool stop = false;

    while (!stop) {
        turn(audience);
        pthread_mutex_lock(&audience->lock);
        stop = audience->stop;
        pthread_mutex_unlock(&audience->lock);
    }
    return NULL;
}

/* ---- waiting; any thread ---- */

typedef bool (*holds_cb)(const audience_t *audience, uint64_t arg);

static bool await(audience_t *audience, holds_cb holds, uint64_t arg, unsigned timeout_ms)
{
    uint64_t deadline = audience_now_us() + (uint64_t)timeout_ms * 1000;
    bool held = false;

    while (!held && audience_now_us() < deadline) {
        pthread_mutex_lock(&audience->lock);
        held = holds(audience, arg);
        pthread_mutex_unlock(&audience->lock);
        if (!held)
            poll(NULL, 0, LOOK_MS);
    }
    return held;
}

/* All joins and leaves, of the first so many members. */
static bool are_answered(const audience_t *audience, uint64_t members)
{
    for (uint64_t i = 0; i < members; i++) {
        if (audience->members[i].stage == STAGE_ASKED ||
            audience->members[i].stage == STAGE_LEAVING)
            return false;
    }
    return true;
}

static bool has_crossed(const audience_t *audience, uint64_t since_us)
{
    uint32_t nodes = audience->options.history->nodes;

    for (uint32_t from = 0; from < nodes; from++) {
        for (uint32_t to = 0; to < nodes; to++) {
            if (from != to && audience->newest_us[from][to] < since_us)
                return false;
        }
    }
    return true;
}

/* Has heard all that is newest, as far as it was not refused. */
static bool is_up_to_date(const history_t *history, const struct member *member, uint64_t since_us)
{
    for (uint32_t i = 0; i < history->publishers && member->stage == STAGE_IN; i++) {
        const history_said_t *said = history_said(history, i, member->topic);
        const history_publish_t *last = said->count == 0 ? NULL : &said->publishes[said->count - 1];

        if (last != NULL && last->sent_us >= since_us && atomic_load(&last->status) == HUB_OK &&
            member->heard[i] < said->count)
            return false;
    }
    return true;
}

static bool are_up_to_date(const audience_t *audience, uint64_t since_us)
{
    for (uint32_t i = 0; i < audience->options.members; i++) {
        if (!is_up_to_date(audience->options.history, &audience->members[i], since_us))
            return false;
    }
    return true;
}

bool audience_await_crossing(audience_t *audience, uint64_t since_us, unsigned timeout_ms)
{
    return await(audience, has_crossed, since_us, timeout_ms);
}

bool audience_rest(audience_t *audience, unsigned timeout_ms)
{
    pthread_mutex_lock(&audience->lock);
    audience->resting = true;
    pthread_mutex_unlock(&audience->lock);
    return await(audience, are_answered, audience->options.members, timeout_ms);
}

bool audience_await_end(audience_t *audience, uint64_t since_us, unsigned timeout_ms)
{
    return await(audience, are_up_to_date, since_us, timeout_ms);
}

/* ---- life ---- */

static void add_member(audience_t *audience, uint32_t index, int fd)
{
    const history_t *history = audience->options.history;
    struct member *member = &audience->members[index];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};

    *member = (struct member){.index = index, .fd = fd};
    member->heard = hub__alloc_zeroed(history->publishers * sizeof(*member->heard));
    history->member[index].node = index % history->nodes;
    if (epoll_ctl(audience->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        abort();
    if (index < audience->options.members - audience->options.wanderers)
        join(audience, member, index / history->nodes % audience->options.crowded);
    else
        member->next_us = audience_now_us() + 1;
}

audience_t *audience_start(const audience_options_t *options)
{
    const history_t *history = options->history;
    audience_t *audience = hub__alloc_zeroed(sizeof(*audience));

    audience->options = *options;
    audience->random = options->seed;
    audience->members = hub__alloc_zeroed(options->members * sizeof(*audience->members));
    audience->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pthread_mutex_init(&audience->lock, NULL);
    for (uint32_t node = 0; node < history->nodes; node++)
        horde_open(&audience->hordes[node], options->addresses[node], TARGET,
                   (options->members + history->nodes - 1 - node) / history->nodes);
    for (uint32_t i = 0; i < options->members; i++)
        add_member(audience, i, audience->hordes[i % history->nodes].fds[i / history->nodes]);
    if (pthread_create(&audience->thread, NULL, run, audience) != 0)
        abort();
    if (!await(audience, are_answered, options->members - options->wanderers, START_MS))
        fprintf(stderr, "some joins are not answered\n");
    return audience;
}

void audience_end(audience_t *audience)
{
    if (audience->ended)
        return;
    audience->ended = true;
    pthread_mutex_lock(&audience->lock);
    audience->stop = true;
    pthread_mutex_unlock(&audience->lock);
    pthread_join(audience->thread, NULL);
}

void audience_stop(audience_t *audience)
{
    audience_end(audience);
    for (uint32_t i = 0; i < audience->options.members; i++) {
        free(audience->members[i].heard);
        hub__buffer_dispose(&audience->members[i].in);
    }
    for (uint32_t node = 0; node < audience->options.history->nodes; node++)
        horde_destroy(&audience->hordes[node]);
    close(audience->epoll_fd);
    pthread_mutex_destroy(&audience->lock);
    free(audience->members);
    free(audience);
}
