/* SPDX-License-Identifier: MIT */
/* A thread reads; who says something writes to the same socket. Frames are those of a server of
 * ours, as in audience.c: anything else ends the process. */
#include "test/pusher.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bus/buffer.h"
#include "test/audience.h"
#include "test/client.h"
#include "test/horde.h"

#define TARGET "/socket/websocket?vsn=2.0.0"
#define TEXT_MAX 512
#define READ_BYTES (64 * 1024)
#define TURN_MS 20
#define LOOK_MS 2
#define JOIN_MS 20000
#define PUSHES_MAX (64 * 1024)
#define REF_FIRST 1000 /* of pushes; those of joins are topics, from 1 */

struct push {
    uint32_t topic;
    uint32_t number;
};

struct pusher {
    pusher_options_t options;
    horde_t horde;
    pthread_mutex_t lock; /* of what is written, and of what follows */
    struct push *pushes;  /* [ref - REF_FIRST] */
    uint32_t push_count;
    uint32_t answered;
    uint32_t joined;
    uint32_t *heard; /* [topic * publishers + publisher]: the newest number */
    bool stop;
    bool closed;
    hub__buffer_t in; /* the thread's */
    bool ended;       /* the thread */
    pthread_t thread;
};

static _Noreturn void die(const pusher_t *pusher, const char *what, const char *text)
{
    fprintf(stderr, "publisher %u: %s: %s\n", pusher->options.publisher, what, text);
    abort();
}

/* Under the lock. */
static void send_frame(pusher_t *pusher, unsigned first, hub_str_t payload)
{
    char bytes[TEXT_MAX + 14];
    size_t size = client_frame_write(bytes, first, payload);

    if (!pusher->closed && send(pusher->horde.fds[0], bytes, size, MSG_NOSIGNAL) != (ssize_t)size &&
        errno == EAGAIN)
        die(pusher, "the server does not read", "");
}

static void note(pusher_t *pusher, history_event_t event)
{
    event.at_us = audience_now_us();
    history_add(pusher->options.history, pusher->options.member + event.topic, event);
}

/* ---- what it hears; under the lock ---- */

static void hear_message(pusher_t *pusher, uint32_t topic, const char *text)
{
    const history_t *history = pusher->options.history;
    history_event_t event = {.kind = HISTORY_MESSAGE, .topic = topic};
    const char *payload = strstr(text, "{\"p\":");
    uint32_t *heard;

    if (payload == NULL ||
        sscanf(payload, "{\"p\":%u,\"n\":%u,", &event.publisher, &event.number) != 2)
        die(pusher, "a message of nobody", text);
    note(pusher, event);
    if (event.publisher >= history->publishers)
        return;
    heard = &pusher->heard[topic * history->publishers + event.publisher];
    *heard = event.number > *heard ? event.number : *heard;
}

static void hear_reply(pusher_t *pusher, uint32_t topic, const char *text)
{
    bool ok = strstr(text, "{\"status\":\"ok\"") != NULL;
    bool down = strstr(text, "\"reason\":\"bus_down\"") != NULL;
    unsigned join_ref, ref;

    if (sscanf(text, "[\"%u\",\"%u\"", &join_ref, &ref) != 2 ||
        (ref >= REF_FIRST && ref - REF_FIRST >= pusher->push_count))
        die(pusher, "an answer to nothing", text);
    if (ref < REF_FIRST) {
        note(pusher,
             (history_event_t){.kind = ok ? HISTORY_JOINED : HISTORY_REFUSED, .topic = topic});
        pusher->joined++;
        return;
    }
    if (!ok && !down)
        fprintf(stderr, "publisher %u: refused: %s\n", pusher->options.publisher, text);
    history_answer(pusher->options.history, pusher->options.publisher, topic,
                   pusher->pushes[ref - REF_FIRST].number, ok ? HISTORY_ACCEPTED : HISTORY_FAILED,
                   ok     ? HUB_OK
                   : down ? HUB_EBUSDOWN
                          : HUB_EREJECTED,
                   audience_now_us());
    pusher->answered++;
}

static void hear_text(pusher_t *pusher, const char *text)
{
    const char *name = strstr(text, "\"room:"), *missed = strstr(text, "\"missed\":");
    uint32_t topic = name == NULL ? 0 : (uint32_t)strtoul(name + 6, NULL, 10);

    if (name == NULL || topic >= pusher->options.topics)
        die(pusher, "what topic", text);
    if (strstr(text, ",\"" AUDIENCE_EVENT "\",") != NULL)
        hear_message(pusher, topic, text);
    else if (strstr(text, ",\"phx_reply\",") != NULL)
        hear_reply(pusher, topic, text);
    else if (strstr(text, ",\"gap\",") != NULL && missed != NULL)
        note(pusher, (history_event_t){.kind = HISTORY_GAP,
                                       .topic = topic,
                                       .reason = audience_gap_reason(hub_str(text)),
                                       .number = (uint32_t)strtoul(missed + 9, NULL, 10)});
    else
        die(pusher, "what is this", text);
}

static void hear_closed(pusher_t *pusher)
{
    for (uint32_t i = 0; i < pusher->options.topics && !pusher->closed; i++)
        note(pusher, (history_event_t){.kind = HISTORY_CLOSED, .topic = i});
    pusher->closed = true;
}

static size_t hear_frame(pusher_t *pusher, hub_str_t bytes)
{
    client_frame_t frame;
    size_t size = audience_frame(bytes, &frame);
    char text[TEXT_MAX];

    if (size == 0)
        return 0;
    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(frame.payload));
    if (frame.payload.len >= sizeof(text))
        die(pusher, "a frame that is too long", text);
    if (frame.first == CLIENT_TEXT)
        hear_text(pusher, text);
    else if (frame.first == CLIENT_PING)
        send_frame(pusher, CLIENT_PONG, frame.payload);
    else
        hear_closed(pusher);
    return size;
}

static void read_some(pusher_t *pusher)
{
    size_t used = 0, size;
    ssize_t got;

    hub__buffer_reserve(&pusher->in, READ_BYTES);
    got = recv(pusher->horde.fds[0], pusher->in.base + pusher->in.len, READ_BYTES, 0);
    if (got == 0 || (got == -1 && errno != EAGAIN))
        hear_closed(pusher);
    pusher->in.len += got > 0 ? (size_t)got : 0;
    while ((size = hear_frame(pusher, hub_str_n(pusher->in.base + used, pusher->in.len - used))) >
           0)
        used += size;
    memmove(pusher->in.base, pusher->in.base + used, pusher->in.len - used);
    pusher->in.len -= used;
}

static void *run(void *arg)
{
    pusher_t *pusher = arg;
    struct pollfd readable = {.fd = pusher->horde.fds[0], .events = POLLIN};
    bool stop = false;

    while (!stop) {
        poll(&readable, 1, TURN_MS);
        pthread_mutex_lock(&pusher->lock);
        if ((readable.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            read_some(pusher);
        stop = pusher->stop || pusher->closed;
        pthread_mutex_unlock(&pusher->lock);
    }
    return NULL;
}

/* ---- what it says ---- */

void pusher_say(pusher_t *pusher, uint32_t topic)
{
    history_t *history = pusher->options.history;
    uint64_t now_us = audience_now_us();
    char text[TEXT_MAX], name[AUDIENCE_TEXT], payload[AUDIENCE_TEXT];
    uint32_t number;

    pthread_mutex_lock(&pusher->lock);
    number = history_say(history, pusher->options.publisher, topic, now_us);
    if (number == 0 || pusher->push_count == PUSHES_MAX)
        die(pusher, "too much to say", "");
    pusher->pushes[pusher->push_count] = (struct push){.topic = topic, .number = number};
    audience_topic(name, topic);
    audience_payload(payload, pusher->options.publisher, number, now_us);
    snprintf(text, sizeof(text), "[\"%u\",\"%u\",\"%s\",\"%s\",%s]", topic + 1,
             REF_FIRST + pusher->push_count, name, AUDIENCE_EVENT, payload);
    pusher->push_count++;
    send_frame(pusher, CLIENT_TEXT, hub_str(text));
    pthread_mutex_unlock(&pusher->lock);
}

/* ---- waiting ---- */

static bool have_joined(const pusher_t *pusher, uint64_t arg)
{
    (void)arg;
    return pusher->closed || pusher->joined == pusher->options.topics;
}

static bool has_answers(const pusher_t *pusher, uint64_t arg)
{
    (void)arg;
    return pusher->closed || pusher->answered == pusher->push_count;
}

static bool is_up_to_date(const pusher_t *pusher, uint64_t since_us)
{
    const history_t *history = pusher->options.history;

    for (uint32_t topic = 0; topic < pusher->options.topics; topic++) {
        for (uint32_t i = 0; i < history->publishers; i++) {
            const history_said_t *said = history_said(history, i, topic);
            const history_publish_t *last =
                said->count == 0 ? NULL : &said->publishes[said->count - 1];

            if (last != NULL && last->sent_us >= since_us && atomic_load(&last->status) == HUB_OK &&
                pusher->heard[topic * history->publishers + i] < said->count)
                return pusher->closed;
        }
    }
    return true;
}

static bool await(pusher_t *pusher, bool (*holds)(const pusher_t *pusher, uint64_t arg),
                  uint64_t arg, unsigned timeout_ms)
{
    uint64_t deadline = audience_now_us() + (uint64_t)timeout_ms * 1000;
    bool held = false;

    while (!held && audience_now_us() < deadline) {
        pthread_mutex_lock(&pusher->lock);
        held = holds(pusher, arg);
        pthread_mutex_unlock(&pusher->lock);
        if (!held)
            poll(NULL, 0, LOOK_MS);
    }
    return held;
}

bool pusher_await_answers(pusher_t *pusher, unsigned timeout_ms)
{
    return await(pusher, has_answers, 0, timeout_ms);
}

bool pusher_await_end(pusher_t *pusher, uint64_t since_us, unsigned timeout_ms)
{
    return await(pusher, is_up_to_date, since_us, timeout_ms);
}

/* ---- life ---- */

static void join_all(pusher_t *pusher)
{
    char text[TEXT_MAX], name[AUDIENCE_TEXT];

    pthread_mutex_lock(&pusher->lock);
    for (uint32_t topic = 0; topic < pusher->options.topics; topic++) {
        audience_topic(name, topic);
        note(pusher, (history_event_t){.kind = HISTORY_JOIN_ASKED, .topic = topic});
        snprintf(text, sizeof(text), "[\"%u\",\"%u\",\"%s\",\"phx_join\",{}]", topic + 1, topic + 1,
                 name);
        send_frame(pusher, CLIENT_TEXT, hub_str(text));
    }
    pthread_mutex_unlock(&pusher->lock);
}

pusher_t *pusher_start(const pusher_options_t *options)
{
    const history_t *history = options->history;
    pusher_t *pusher = hub__alloc_zeroed(sizeof(*pusher));

    pusher->options = *options;
    pusher->pushes = hub__alloc_zeroed(PUSHES_MAX * sizeof(*pusher->pushes));
    pusher->heard =
        hub__alloc_zeroed(history->topics * history->publishers * sizeof(*pusher->heard));
    for (uint32_t i = 0; i < options->topics; i++)
        history->member[options->member + i].node = history->publisher_nodes[options->publisher];
    pthread_mutex_init(&pusher->lock, NULL);
    horde_open(&pusher->horde, options->address, TARGET, 1);
    join_all(pusher);
    if (pthread_create(&pusher->thread, NULL, run, pusher) != 0)
        abort();
    if (!await(pusher, have_joined, 0, JOIN_MS))
        fprintf(stderr, "publisher %u: some joins are not answered\n", options->publisher);
    return pusher;
}

void pusher_end(pusher_t *pusher)
{
    if (pusher->ended)
        return;
    pusher->ended = true;
    pthread_mutex_lock(&pusher->lock);
    pusher->stop = true;
    pthread_mutex_unlock(&pusher->lock);
    pthread_join(pusher->thread, NULL);
}

void pusher_stop(pusher_t *pusher)
{
    if (pusher == NULL)
        return;
    pusher_end(pusher);
    horde_destroy(&pusher->horde);
    hub__buffer_dispose(&pusher->in);
    pthread_mutex_destroy(&pusher->lock);
    free(pusher->pushes);
    free(pusher->heard);
    free(pusher);
}
