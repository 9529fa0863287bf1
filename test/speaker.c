/* SPDX-License-Identifier: MIT */
/* A thread reads; who says something writes to the same socket. Frames are those of a server of
 * ours, as in audience.c: anything else ends the process. */
#include "test/speaker.h"

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

struct speaker {
    speaker_options_t options;
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
    pthread_t thread;
};

static _Noreturn void die(const speaker_t *speaker, const char *what, const char *text)
{
    fprintf(stderr, "publisher %u: %s: %s\n", speaker->options.publisher, what, text);
    abort();
}

/* Under the lock. */
static void send_frame(speaker_t *speaker, unsigned first, hub_str_t payload)
{
    char bytes[TEXT_MAX + 14];
    size_t size = client_frame_write(bytes, first, payload);

    if (!speaker->closed &&
        send(speaker->horde.fds[0], bytes, size, MSG_NOSIGNAL) != (ssize_t)size && errno == EAGAIN)
        die(speaker, "the server does not read", "");
}

static void note(speaker_t *speaker, history_event_t event)
{
    event.at_us = audience_now_us();
    history_add(speaker->options.history, speaker->options.member + event.topic, event);
}

/* ---- what it hears; under the lock ---- */

static void hear_message(speaker_t *speaker, uint32_t topic, const char *text)
{
    const history_t *history = speaker->options.history;
    history_event_t event = {.kind = HISTORY_MESSAGE, .topic = topic};
    const char *payload = strstr(text, "{\"p\":");
    uint32_t *heard;

    if (payload == NULL ||
        sscanf(payload, "{\"p\":%u,\"n\":%u,", &event.publisher, &event.number) != 2)
        die(speaker, "a message of nobody", text);
    note(speaker, event);
    if (event.publisher >= history->publishers)
        return;
    heard = &speaker->heard[topic * history->publishers + event.publisher];
    *heard = event.number > *heard ? event.number : *heard;
}

static void hear_reply(speaker_t *speaker, uint32_t topic, const char *text)
{
    bool ok = strstr(text, "{\"status\":\"ok\"") != NULL;
    bool down = strstr(text, "\"reason\":\"bus_down\"") != NULL;
    unsigned join_ref, ref;

    if (sscanf(text, "[\"%u\",\"%u\"", &join_ref, &ref) != 2 ||
        (ref >= REF_FIRST && ref - REF_FIRST >= speaker->push_count))
        die(speaker, "an answer to nothing", text);
    if (ref < REF_FIRST) {
        note(speaker,
             (history_event_t){.kind = ok ? HISTORY_JOINED : HISTORY_REFUSED, .topic = topic});
        speaker->joined++;
        return;
    }
    if (!ok && !down)
        fprintf(stderr, "publisher %u: refused: %s\n", speaker->options.publisher, text);
    history_answer(speaker->options.history, speaker->options.publisher, topic,
                   speaker->pushes[ref - REF_FIRST].number, ok ? HISTORY_ACCEPTED : HISTORY_FAILED,
                   ok     ? HUB_OK
                   : down ? HUB_EBUSDOWN
                          : HUB_EREJECTED,
                   audience_now_us());
    speaker->answered++;
}

static void hear_text(speaker_t *speaker, const char *text)
{
    const char *name = strstr(text, "\"room:"), *missed = strstr(text, "\"missed\":");
    uint32_t topic = name == NULL ? 0 : (uint32_t)strtoul(name + 6, NULL, 10);

    if (name == NULL || topic >= speaker->options.topics)
        die(speaker, "what topic", text);
    if (strstr(text, ",\"" AUDIENCE_EVENT "\",") != NULL)
        hear_message(speaker, topic, text);
    else if (strstr(text, ",\"phx_reply\",") != NULL)
        hear_reply(speaker, topic, text);
    else if (strstr(text, ",\"gap\",") != NULL && missed != NULL)
        note(speaker, (history_event_t){.kind = HISTORY_GAP,
                                        .topic = topic,
                                        .reason = audience_gap_reason(hub_str(text)),
                                        .number = (uint32_t)strtoul(missed + 9, NULL, 10)});
    else
        die(speaker, "what is this", text);
}

static void hear_closed(speaker_t *speaker)
{
    for (uint32_t i = 0; i < speaker->options.topics && !speaker->closed; i++)
        note(speaker, (history_event_t){.kind = HISTORY_CLOSED, .topic = i});
    speaker->closed = true;
}

static size_t hear_frame(speaker_t *speaker, hub_str_t bytes)
{
    client_frame_t frame;
    size_t size = audience_frame(bytes, &frame);
    char text[TEXT_MAX];

    if (size == 0)
        return 0;
    snprintf(text, sizeof(text), "%.*s", HUB_STR_ARG(frame.payload));
    if (frame.payload.len >= sizeof(text))
        die(speaker, "a frame that is too long", text);
    if (frame.first == CLIENT_TEXT)
        hear_text(speaker, text);
    else if (frame.first == CLIENT_PING)
        send_frame(speaker, CLIENT_PONG, frame.payload);
    else
        hear_closed(speaker);
    return size;
}

static void read_some(speaker_t *speaker)
{
    size_t used = 0, size;
    ssize_t got;

    hub__buffer_reserve(&speaker->in, READ_BYTES);
    got = recv(speaker->horde.fds[0], speaker->in.base + speaker->in.len, READ_BYTES, 0);
    if (got == 0 || (got == -1 && errno != EAGAIN))
        hear_closed(speaker);
    speaker->in.len += got > 0 ? (size_t)got : 0;
    while ((size = hear_frame(speaker,
                              hub_str_n(speaker->in.base + used, speaker->in.len - used))) > 0)
        used += size;
    memmove(speaker->in.base, speaker->in.base + used, speaker->in.len - used);
    speaker->in.len -= used;
}

static void *run(void *arg)
{
    speaker_t *speaker = arg;
    struct pollfd readable = {.fd = speaker->horde.fds[0], .events = POLLIN};
    bool stop = false;

    while (!stop) {
        poll(&readable, 1, TURN_MS);
        pthread_mutex_lock(&speaker->lock);
        if ((readable.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            read_some(speaker);
        stop = speaker->stop || speaker->closed;
        pthread_mutex_unlock(&speaker->lock);
    }
    return NULL;
}

/* ---- what it says ---- */

void speaker_say(speaker_t *speaker, uint32_t topic)
{
    history_t *history = speaker->options.history;
    uint64_t now_us = audience_now_us();
    char text[TEXT_MAX], name[AUDIENCE_TEXT], payload[AUDIENCE_TEXT];
    uint32_t number;

    pthread_mutex_lock(&speaker->lock);
    number = history_say(history, speaker->options.publisher, topic, now_us);
    if (number == 0 || speaker->push_count == PUSHES_MAX)
        die(speaker, "too much to say", "");
    speaker->pushes[speaker->push_count] = (struct push){.topic = topic, .number = number};
    audience_topic(name, topic);
    audience_payload(payload, speaker->options.publisher, number, now_us);
    snprintf(text, sizeof(text), "[\"%u\",\"%u\",\"%s\",\"%s\",%s]", topic + 1,
             REF_FIRST + speaker->push_count, name, AUDIENCE_EVENT, payload);
    speaker->push_count++;
    send_frame(speaker, CLIENT_TEXT, hub_str(text));
    pthread_mutex_unlock(&speaker->lock);
}

/* ---- waiting ---- */

static bool have_joined(const speaker_t *speaker)
{
    return speaker->closed || speaker->joined == speaker->options.topics;
}

static bool has_answers(const speaker_t *speaker)
{
    return speaker->closed || speaker->answered == speaker->push_count;
}

static bool is_up_to_date(const speaker_t *speaker)
{
    const history_t *history = speaker->options.history;

    for (uint32_t topic = 0; topic < speaker->options.topics; topic++) {
        for (uint32_t i = 0; i < history->publishers; i++) {
            const history_said_t *said = history_said(history, i, topic);
            uint32_t heard = speaker->heard[topic * history->publishers + i];

            if (said->count > 0 && heard < said->count &&
                atomic_load(&said->publishes[said->count - 1].status) == HUB_OK)
                return speaker->closed;
        }
    }
    return true;
}

static bool await(speaker_t *speaker, bool (*holds)(const speaker_t *speaker), unsigned timeout_ms)
{
    uint64_t deadline = audience_now_us() + (uint64_t)timeout_ms * 1000;
    bool held = false;

    while (!held && audience_now_us() < deadline) {
        pthread_mutex_lock(&speaker->lock);
        held = holds(speaker);
        pthread_mutex_unlock(&speaker->lock);
        if (!held)
            poll(NULL, 0, LOOK_MS);
    }
    return held;
}

bool speaker_await_answers(speaker_t *speaker, unsigned timeout_ms)
{
    return await(speaker, has_answers, timeout_ms);
}

bool speaker_await_end(speaker_t *speaker, unsigned timeout_ms)
{
    return await(speaker, is_up_to_date, timeout_ms);
}

/* ---- life ---- */

static void join_all(speaker_t *speaker)
{
    char text[TEXT_MAX], name[AUDIENCE_TEXT];

    pthread_mutex_lock(&speaker->lock);
    for (uint32_t topic = 0; topic < speaker->options.topics; topic++) {
        audience_topic(name, topic);
        note(speaker, (history_event_t){.kind = HISTORY_JOIN_ASKED, .topic = topic});
        snprintf(text, sizeof(text), "[\"%u\",\"%u\",\"%s\",\"phx_join\",{}]", topic + 1, topic + 1,
                 name);
        send_frame(speaker, CLIENT_TEXT, hub_str(text));
    }
    pthread_mutex_unlock(&speaker->lock);
}

speaker_t *speaker_start(const speaker_options_t *options)
{
    const history_t *history = options->history;
    speaker_t *speaker = hub__alloc_zeroed(sizeof(*speaker));

    speaker->options = *options;
    speaker->pushes = hub__alloc_zeroed(PUSHES_MAX * sizeof(*speaker->pushes));
    speaker->heard =
        hub__alloc_zeroed(history->topics * history->publishers * sizeof(*speaker->heard));
    for (uint32_t i = 0; i < options->topics; i++)
        history->member[options->member + i].node = history->publisher_nodes[options->publisher];
    pthread_mutex_init(&speaker->lock, NULL);
    horde_open(&speaker->horde, options->address, TARGET, 1);
    join_all(speaker);
    if (pthread_create(&speaker->thread, NULL, run, speaker) != 0)
        abort();
    if (!await(speaker, have_joined, JOIN_MS))
        fprintf(stderr, "publisher %u: some joins are not answered\n", options->publisher);
    return speaker;
}

void speaker_stop(speaker_t *speaker)
{
    if (speaker == NULL)
        return;
    pthread_mutex_lock(&speaker->lock);
    speaker->stop = true;
    pthread_mutex_unlock(&speaker->lock);
    pthread_join(speaker->thread, NULL);
    horde_destroy(&speaker->horde);
    hub__buffer_dispose(&speaker->in);
    pthread_mutex_destroy(&speaker->lock);
    free(speaker->pushes);
    free(speaker->heard);
    free(speaker);
}
