/* SPDX-License-Identifier: MIT */
/* Attacks are short, end in every way a connection can end, and come from many addresses. What the
 * server answers is thrown away: whether it suffered shows elsewhere. */
#define _GNU_SOURCE 1
#include "test/rabble.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#define ADDRESSES 200 /* 127.1.0.x */
#define WAIT_MS 5000
#define SESSION_MESSAGES 20
#define ANSWER_BYTES 262144

typedef struct rogue {
    rabble_t *rabble;
    pthread_t thread;
    uint32_t number;
    uint64_t random;
} rogue_t;

struct rabble {
    rabble_options_t options;
    atomic_bool stopping;
    atomic_ullong attacks, sessions, heard;
    uint32_t count;
    rogue_t rogues[];
};

static uint32_t draw(rogue_t *rogue, uint32_t bound)
{
    uint64_t z = rogue->random += 0x9e3779b97f4a7c15U; /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % bound;
}

static void nap(uint32_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
              NULL);
}

/* ---- sockets ---- */

/* -1: the server does not take it now. */
static int dial(rogue_t *rogue, int wait_ms)
{
    const rabble_options_t *options = &rogue->rabble->options;
    struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
    struct sockaddr_in source = {.sin_family = AF_INET};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    source.sin_addr.s_addr = htonl(0x7F010001U + draw(rogue, ADDRESSES));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    if (bind(fd, (struct sockaddr *)&source, sizeof(source)) != 0 ||
        connect(fd, (const struct sockaddr *)&options->address, sizeof(options->address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* False: the other end is gone, or does not read. */
static bool say(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool say_text(int fd, const char *text)
{
    return say(fd, text, strlen(text));
}

/* Reads what comes within some time, at most so much, and forgets it. */
static void swallow(int fd, size_t most)
{
    char bytes[4096];
    ssize_t got;

    while (most > 0 && (got = recv(fd, bytes, most < sizeof(bytes) ? most : sizeof(bytes), 0)) > 0)
        most -= (size_t)got;
}

/* In one of the ways a connection ends. */
static void hang_up(rogue_t *rogue, int fd)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    uint32_t how = draw(rogue, 4);

    if (how < 2)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    else if (how == 2 && shutdown(fd, SHUT_WR) == 0)
        swallow(fd, 100000);
    close(fd);
}

static const char upgrade[] = "GET /open/websocket?vsn=2.0.0&client=7 HTTP/1.1\r\n"
                              "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                              "Sec-WebSocket-Extensions: permessage-deflate\r\n"
                              "Sec-WebSocket-Version: 13\r\n\r\n";

/* Under a key of zero. */
static bool frame(int fd, unsigned first, const void *payload, size_t len)
{
    unsigned char head[8] = {(unsigned char)first, (unsigned char)(0x80 | (len < 126 ? len : 126)),
                             (unsigned char)(len >> 8), (unsigned char)len};

    if (len < 126)
        head[2] = head[3] = 0;
    return say(fd, head, len < 126 ? 6 : 8) && say(fd, payload, len);
}

static bool frame_text(int fd, const char *text)
{
    return frame(fd, 0x81, text, strlen(text));
}

/* ---- attacks ---- */

static void garbage(rogue_t *rogue, int fd)
{
    unsigned char bytes[2000];
    size_t len = 1 + draw(rogue, sizeof(bytes) - 1);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)draw(rogue, 256);
    say(fd, bytes, len);
}

static void half_a_head(rogue_t *rogue, int fd)
{
    say(fd, upgrade, 1 + draw(rogue, sizeof(upgrade) - 2));
    nap(draw(rogue, 50));
}

static void drip(rogue_t *rogue, int fd)
{
    uint32_t len = 1 + draw(rogue, 60);

    for (uint32_t i = 0; i < len && say(fd, upgrade + i, 1); i++)
        nap(5);
}

static void pipeline(rogue_t *rogue, int fd)
{
    uint32_t count = 1 + draw(rogue, 50);

    for (uint32_t i = 0; i < count; i++)
        if (!say_text(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            break;
}

static void smuggle(rogue_t *rogue, int fd)
{
    (void)rogue;
    say_text(fd,
             "POST /open/longpoll HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
             "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void bad_frames(rogue_t *rogue, int fd)
{
    say_text(fd, upgrade);
    garbage(rogue, fd);
}

static void huge_length(rogue_t *rogue, int fd)
{
    static const unsigned char heads[3][10] = {{0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF},
                                               {0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1},
                                               {0xC1, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0}};

    say_text(fd, upgrade);
    say(fd, heads[draw(rogue, 3)], 10);
}

static void fragments(rogue_t *rogue, int fd)
{
    uint32_t count = draw(rogue, 100);
    bool alive;

    say_text(fd, upgrade);
    alive = frame(fd, draw(rogue, 2) == 0 ? 0x01 : 0x41, "[", 1);
    for (uint32_t i = 0; alive && i < count; i++)
        alive = frame(fd, 0x00, "aaaaaaaaaaaaaaaa", draw(rogue, 17));
}

static void pings(rogue_t *rogue, int fd)
{
    uint32_t count = draw(rogue, 500);

    say_text(fd, upgrade);
    for (uint32_t i = 0; i < count; i++)
        if (!frame(fd, 0x89, "ping", 4))
            break;
}

static void bad_envelopes(rogue_t *rogue, int fd)
{
    static const char *const texts[] = {"[[[[[[[[[[[[[[[[[[[[[[[[[[",
                                        "{\"topic\":1}",
                                        "[\"1\",\"1\",\"mob:1\",\"phx_join\",{}",
                                        "[\"1\",\"1\",\"shut:1\",\"phx_join\",{}]",
                                        "[null,\"1\",\"phoenix\",\"heartbeat\",{}]",
                                        "[null,null,\"nowhere\",\"phx_join\",{}]",
                                        "\xff\xfe",
                                        "[\"1\",\"2\",\"mob:1\",\"shout\",1e999]"};
    uint32_t count = 1 + draw(rogue, 20);

    say_text(fd, upgrade);
    for (uint32_t i = 0; i < count; i++)
        if (!frame_text(fd, texts[draw(rogue, sizeof(texts) / sizeof(texts[0]))]))
            break;
}

static void joins(rogue_t *rogue, int fd)
{
    uint32_t count = 1 + draw(rogue, 60);
    char text[100];

    say_text(fd, upgrade);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "[\"%u\",\"%u\",\"mob:%u\",\"%s\",{}]", i, i,
                 draw(rogue, 1000), draw(rogue, 4) == 0 ? "phx_leave" : "phx_join");
        if (!frame_text(fd, text))
            break;
    }
}

static void shouts(rogue_t *rogue, int fd)
{
    uint32_t count = 1 + draw(rogue, 100);
    char text[600];

    say_text(fd, upgrade);
    frame_text(fd, "[\"1\",\"1\",\"mob:0\",\"phx_join\",{}]");
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "[\"1\",\"%u\",\"mob:0\",\"shout\",\"%0*u\"]", i,
                 (int)draw(rogue, 500), i);
        if (!frame_text(fd, text))
            break;
    }
}

/* Listens where others speak, and does not read. */
static void sleep_through(rogue_t *rogue, int fd)
{
    static const char *const topics[] = {"room:0", "flood:0", "drop:0", "who:0", "mob:0"};
    int least = 1;
    char text[100];

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
    say_text(fd, upgrade);
    snprintf(text, sizeof(text), "[\"1\",\"1\",\"%s\",\"phx_join\",{}]", topics[draw(rogue, 5)]);
    frame_text(fd, text);
    nap(draw(rogue, 2000));
}

static void abandoned_poll(rogue_t *rogue, int fd)
{
    say_text(fd, "GET /open/longpoll?vsn=2.0.0&client=8 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    if (draw(rogue, 2) == 0)
        swallow(fd, 100);
}

static void bad_post(rogue_t *rogue, int fd)
{
    (void)rogue;
    say_text(fd, "POST /open/longpoll?vsn=2.0.0&token=bogus HTTP/1.1\r\nHost: localhost\r\n"
                 "Content-Type: application/x-ndjson\r\nContent-Length: 100000\r\n\r\n[[[[");
}

static void attack(rogue_t *rogue)
{
    static void (*const attacks[])(rogue_t *, int) = {
        garbage,       half_a_head, drip,          pipeline,       smuggle,
        bad_frames,    huge_length, fragments,     pings,          joins,
        bad_envelopes, shouts,      sleep_through, abandoned_poll, bad_post};
    int fd = dial(rogue, 500);

    if (fd == -1)
        return;
    atomic_fetch_add(&rogue->rabble->attacks, 1);
    attacks[draw(rogue, sizeof(attacks) / sizeof(attacks[0]))](rogue, fd);
    hang_up(rogue, fd);
}

static void *hostile_main(void *arg)
{
    rogue_t *rogue = arg;

    while (!atomic_load(&rogue->rabble->stopping)) {
        attack(rogue);
        nap(draw(rogue, 2 * rogue->rabble->options.pause_ms + 1));
    }
    return NULL;
}

/* ---- long poll ---- */

/* One session: it joins, says numbers, and hears them all once and in order. */
typedef struct session {
    rogue_t *rogue;
    int fd;
    char token[200], topic[40];
    char *answer;
    unsigned said, heard, replies;
    bool joined, left;
} session_t;

static void wrong(const session_t *session, const char *what)
{
    char text[400];

    snprintf(text, sizeof(text), "poller on %s: %s (said %u, heard %u, replies %u): %.150s",
             session->topic, what, session->said, session->heard, session->replies,
             session->answer);
    session->rogue->rabble->options.fail(text);
}

/* The answer's body, parsed. */
static json_t *answer_of(session_t *session)
{
    size_t len = 0, wanted = SIZE_MAX;
    char *body = NULL, *field;
    json_t *json;
    ssize_t got;

    while (len < wanted && len < ANSWER_BYTES - 1 &&
           (got = recv(session->fd, session->answer + len, ANSWER_BYTES - 1 - len, 0)) > 0) {
        len += (size_t)got;
        session->answer[len] = '\0';
        if (body == NULL && (body = strstr(session->answer, "\r\n\r\n")) != NULL) {
            body += 4;
            field = strcasestr(session->answer, "\r\ncontent-length:");
            if (field == NULL || field > body)
                wrong(session, "an answer without a length");
            else
                wanted = (size_t)(body - session->answer) + strtoul(field + 17, NULL, 10);
        }
    }
    session->answer[len] = '\0';
    json = len >= wanted ? json_loads(body, 0, NULL) : NULL;
    if (json == NULL)
        wrong(session, "no answer");
    return json;
}

static json_t *ask(session_t *session, const char *method, const char *body)
{
    char head[600];

    snprintf(head, sizeof(head),
             "%s /socket/longpoll?vsn=2.0.0&token=%s HTTP/1.1\r\nHost: localhost\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             method, session->token, strlen(body));
    if (strcmp(method, "GET") == 0)
        snprintf(head, sizeof(head),
                 "GET /socket/longpoll?vsn=2.0.0&token=%s HTTP/1.1\r\n"
                 "Host: localhost\r\n\r\n",
                 session->token);
    if (!say_text(session->fd, head) || !say_text(session->fd, body))
        wrong(session, "the connection has ended");
    return answer_of(session);
}

static void post(session_t *session, const char *event, unsigned ref, unsigned number)
{
    char text[200];
    json_t *answer;

    snprintf(text, sizeof(text), "[\"1\",\"%u\",\"%s\",\"%s\",{\"number\":%u}]", ref,
             session->topic, event, number);
    answer = ask(session, "POST", text);
    if (json_integer_value(json_object_get(answer, "status")) != 200)
        wrong(session, "a post is not taken");
    json_decref(answer);
}

static void take_frame(session_t *session, const json_t *frame)
{
    const char *event = json_string_value(json_array_get(frame, 3));
    const char *ref = json_string_value(json_array_get(frame, 1));
    const json_t *payload = json_array_get(frame, 4);

    if (event == NULL || session->left) {
        if (event == NULL || strcmp(event, "phx_close") != 0)
            wrong(session, "a frame behind the leave reply");
    } else if (strcmp(event, "phx_reply") == 0) {
        if (ref == NULL || strcmp(json_string_value(json_object_get(payload, "status")), "ok") != 0)
            wrong(session, "a bad reply");
        session->replies++;
        session->joined = session->joined || session->replies == 1;
        session->left = strcmp(ref, "99") == 0;
    } else if (strcmp(event, "shout") == 0) {
        if (!session->joined ||
            json_integer_value(json_object_get(payload, "number")) != session->heard + 1)
            wrong(session, "not the next number");
        session->heard++;
        atomic_fetch_add(&session->rogue->rabble->heard, 1);
    }
}

static void poll_once(session_t *session)
{
    json_t *answer = ask(session, "GET", ""), *messages = json_object_get(answer, "messages");

    if (json_integer_value(json_object_get(answer, "status")) != 200 &&
        json_integer_value(json_object_get(answer, "status")) != 204)
        wrong(session, "a poll's status");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *frame = json_loads(json_string_value(json_array_get(messages, i)), 0, NULL);

        take_frame(session, frame);
        json_decref(frame);
    }
    json_decref(answer);
}

static void open_session(session_t *session)
{
    json_t *answer = ask(session, "GET", "");
    const char *token = json_string_value(json_object_get(answer, "token"));

    if (token == NULL)
        wrong(session, "no token");
    else
        snprintf(session->token, sizeof(session->token), "%s", token);
    json_decref(answer);
}

static void run_session(session_t *session)
{
    unsigned most = 1 + draw(session->rogue, SESSION_MESSAGES);

    open_session(session);
    post(session, "phx_join", 1, 0);
    while (!session->joined)
        poll_once(session);
    while (session->heard < most) {
        for (unsigned i = draw(session->rogue, 4); session->said < most && i > 0; i--) {
            session->said++;
            post(session, "shout", 1 + session->said, session->said);
        }
        if (session->said > session->heard)
            poll_once(session);
    }
    post(session, "phx_leave", 99, 0);
    while (!session->left)
        poll_once(session);
    if (session->heard != session->said || session->replies != session->said + 2)
        wrong(session, "something is missing");
}

static void *poller_main(void *arg)
{
    rogue_t *rogue = arg;
    session_t session = {.rogue = rogue, .answer = malloc(ANSWER_BYTES)};

    if (session.answer == NULL)
        abort();
    session.answer[0] = '\0';
    for (uint32_t i = 0; !atomic_load(&rogue->rabble->stopping); i++) {
        session.token[0] = '\0';
        session.said = session.heard = session.replies = 0;
        session.joined = session.left = false;
        snprintf(session.topic, sizeof(session.topic), "room:poll%u.%u", rogue->number, i);
        session.fd = dial(rogue, WAIT_MS * 4);
        if (session.fd == -1)
            wrong(&session, "it cannot connect");
        run_session(&session);
        close(session.fd);
        atomic_fetch_add(&rogue->rabble->sessions, 1);
        nap(rogue->rabble->options.pause_ms);
    }
    free(session.answer);
    return NULL;
}

/* ---- all of them ---- */

rabble_t *rabble_start(const rabble_options_t *options)
{
    uint32_t count = options->hostile + options->pollers;
    rabble_t *rabble = calloc(1, sizeof(*rabble) + count * sizeof(rogue_t));

    if (rabble == NULL)
        abort();
    rabble->options = *options;
    rabble->count = count;
    for (uint32_t i = 0; i < count; i++) {
        rogue_t *rogue = &rabble->rogues[i];

        *rogue = (rogue_t){.rabble = rabble, .number = i, .random = options->seed * 1000 + i};
        if (pthread_create(&rogue->thread, NULL, i < options->hostile ? hostile_main : poller_main,
                           rogue) != 0)
            abort();
    }
    return rabble;
}

rabble_counts_t rabble_stop(rabble_t *rabble)
{
    rabble_counts_t counts;

    atomic_store(&rabble->stopping, true);
    for (uint32_t i = 0; i < rabble->count; i++)
        pthread_join(rabble->rogues[i].thread, NULL);
    counts = (rabble_counts_t){.attacks = atomic_load(&rabble->attacks),
                               .sessions = atomic_load(&rabble->sessions),
                               .heard = atomic_load(&rabble->heard)};
    free(rabble);
    return counts;
}
