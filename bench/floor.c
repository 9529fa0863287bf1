/* SPDX-License-Identifier: MIT */
/* What can this machine deliver at best? A server without a protocol worth the name: one epoll
 * loop, one thread, a table of topics, and nothing between a publish and the write() to each
 * member. What a real server costs beside it is what its features cost.
 *
 * It speaks `text`, in websocket text frames that are not fragmented:
 *
 *     join TOPIC           answered `joined TOPIC`
 *     leave TOPIC          answered `left TOPIC`
 *     pub TOPIC PAYLOAD    `TOPIC PAYLOAD` to each member of TOPIC, the sender if it is one
 *     echo TOPIC PAYLOAD   answered `TOPIC PAYLOAD`
 *     none TOPIC PAYLOAD   nothing
 *
 * In mode `single` a publish becomes one ready-made frame, in place, and is written to each member
 * at once. In mode `batched` the frames of one topic and turn of the loop stand in one shared
 * buffer, and each member gets one write at the end of the turn. With `--fault` it makes a mistake
 * now and then, so that a load generator can show that it notices. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/floor_bytes.h"
#include "bench/options.h"
#include "bench/report.h"

#define EVENTS 1024
#define READ_BYTES (256u * 1024)
#define HEAD_BYTES 8192u         /* of a request */
#define FRAME_BYTES (16u << 20)  /* that a client may send */
#define BACKLOG_BYTES (4u << 20) /* that may wait for one connection */
#define CONNS_MAX (1u << 20)     /* descriptors */
#define TOPIC_BYTES 255u
#define BUCKETS 16384u
#define SPARE_RUNS 64u
#define NONE UINT32_MAX

enum { TEXT = 0x81, CLOSE = 0x88, PING = 0x89, PONG = 0x8a };

typedef enum fault {
    FAULT_NONE,
    FAULT_DROP,
    FAULT_DOUBLE,
    FAULT_SWAP,
    FAULT_MISROUTE,
    FAULT_CORRUPT,
    FAULT_GARBAGE,
    FAULT_CLOSE
} fault_t;

static const char *const FAULTS[] = {"none",     "drop",    "double",  "swap",
                                     "misroute", "corrupt", "garbage", "close"};

typedef struct topic {
    struct topic *next;         /* in its bucket */
    struct topic *next_touched; /* in this turn */
    block_t *run;               /* frames of this turn; NULL: none */
    uint32_t *members;          /* descriptors */
    uint32_t count, size;
    uint32_t hash;
    uint8_t name_len;
    char name[];
} topic_t;

/* One connection in one topic; a list for each connection. */
typedef struct seat {
    topic_t *topic;
    uint32_t next;  /* of this connection, or of the free ones */
    uint32_t place; /* among the topic's members */
} seat_t;

/* By descriptor. An idle one owns neither of the blocks. */
typedef struct conn {
    block_t *input, *output;
    uint32_t seats;
    bool open, upgraded, dying;
} conn_t;

static struct {
    bool batched;
    fault_t fault;
    unsigned long every, deliveries;
    int epoll, listener, signals;
    conn_t *conns;
    uint32_t conn_count; /* that fit */
    seat_t *seats;
    uint32_t seat_count, seat_size, free_seats;
    topic_t *buckets[BUCKETS];
    topic_t *touched;
    block_t *spare;
    size_t spare_count;
    uint32_t *dying, dying_count;
    block_t *replies; /* of the read at hand, in mode batched */
    block_t *held;    /* a delivery that is to come too late */
    uint32_t held_for;
    char read_buffer[READ_BYTES];
} server = {.every = 1000};

/* ---- runs ---- */

/* The buffer of a turn comes back in the next one. */
static block_t *take_spare(void)
{
    block_t *block = server.spare;

    if (block == NULL)
        return NULL;
    server.spare = block->next;
    --server.spare_count;
    block->len = 0;
    return block;
}

static void give_spare(block_t *block)
{
    if (server.spare_count == SPARE_RUNS) {
        free(block);
        return;
    }
    block->next = server.spare;
    server.spare = block;
    ++server.spare_count;
}

/* ---- writing ---- */

/* Not now: somebody may be walking over the members. */
static void doom(uint32_t fd)
{
    conn_t *conn = &server.conns[fd];

    if (conn->dying)
        return;
    conn->dying = true;
    server.dying[server.dying_count++] = fd;
}

static void watch(uint32_t fd, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.u32 = fd};

    if (epoll_ctl(server.epoll, how, (int)fd, &event) != 0)
        bench_fail("epoll: %s", strerror(errno));
}

/* How much the kernel took; a connection that is gone takes everything. */
static size_t try_send(uint32_t fd, const char *bytes, size_t len)
{
    ssize_t sent;

    do
        sent = send((int)fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent == -1 && errno == EINTR);
    if (sent >= 0)
        return (size_t)sent;
    if (errno == EAGAIN)
        return 0;
    doom(fd);
    return len;
}

static void put(uint32_t fd, const char *bytes, size_t len)
{
    conn_t *conn = &server.conns[fd];
    size_t sent = 0;

    if (conn->dying)
        return;
    if (conn->output == NULL)
        sent = try_send(fd, bytes, len);
    if (sent == len)
        return;
    if (conn->output == NULL)
        watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    else if (conn->output->len > BACKLOG_BYTES)
        doom(fd);
    append(&conn->output, bytes + sent, len - sent);
}

static void on_writable(uint32_t fd)
{
    conn_t *conn = &server.conns[fd];
    block_t *output = conn->output;
    size_t sent;

    if (output == NULL || conn->dying)
        return;
    sent = try_send(fd, output->bytes, output->len);
    memmove(output->bytes, output->bytes + sent, output->len - sent);
    output->len -= sent;
    if (output->len != 0 || conn->dying)
        return;
    drop(&conn->output);
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

/* ---- mistakes ---- */

static bool is_member(uint32_t fd, const topic_t *topic)
{
    for (uint32_t i = server.conns[fd].seats; i != NONE; i = server.seats[i].next)
        if (server.seats[i].topic == topic)
            return true;
    return false;
}

/* To the next connection that has not joined, if there is one. */
static void misroute(const topic_t *topic, uint32_t fd, const char *frame, size_t len)
{
    for (uint32_t i = 1; i != server.conn_count; ++i) {
        uint32_t other = (fd + i) % server.conn_count;
        const conn_t *conn = &server.conns[other];

        if (!conn->open || !conn->upgraded || conn->dying || is_member(other, topic))
            continue;
        put(other, frame, len);
        return;
    }
}

static void corrupt(uint32_t fd, const char *frame, size_t len)
{
    block_t *block = NULL;

    append(&block, frame, len);
    block->bytes[len - 2] ^= 1; /* the last byte may be a quote */
    put(fd, block->bytes, len);
    free(block);
}

static void say_close(uint32_t fd)
{
    static const char frame[] = {(char)CLOSE, 2, 0x03, (char)0xf3}; /* 1011 */

    put(fd, frame, sizeof(frame));
    doom(fd);
}

/* The delivery that is to be spoilt. */
static void spoil(const topic_t *topic, uint32_t fd, const char *frame, size_t len)
{
    static const char garbage[] = "\x81\x07garbage";

    if (server.fault == FAULT_CORRUPT) {
        corrupt(fd, frame, len);
        return;
    }
    if (server.fault == FAULT_CLOSE) {
        say_close(fd);
        return;
    }
    if (server.fault != FAULT_DROP)
        put(fd, frame, len);
    if (server.fault == FAULT_DOUBLE)
        put(fd, frame, len);
    if (server.fault == FAULT_MISROUTE)
        misroute(topic, fd, frame, len);
    if (server.fault == FAULT_GARBAGE)
        put(fd, garbage, sizeof(garbage) - 1);
}

static void release_held(void)
{
    if (server.held == NULL)
        return;
    put(server.held_for, server.held->bytes, server.held->len);
    drop(&server.held);
}

/* One delivery under --fault. One that is to be swapped waits for the member's next, but not beyond
 * the turn: nothing may be lost, so it is then no mistake, and the next delivery is to be one. */
static void deliver_with_care(const topic_t *topic, uint32_t fd, const char *frame, size_t len)
{
    ++server.deliveries;
    if (server.held != NULL && server.held_for == fd) {
        put(fd, frame, len);
        release_held();
        server.deliveries = 0;
        return;
    }
    if (server.deliveries < server.every || server.held != NULL) {
        put(fd, frame, len);
        return;
    }
    if (server.fault == FAULT_SWAP) {
        append(&server.held, frame, len);
        server.held_for = fd;
        return;
    }
    server.deliveries = 0;
    spoil(topic, fd, frame, len);
}

/* ---- topics ---- */

static uint32_t hash_of(const char *name, size_t len)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i != len; ++i)
        hash = (hash ^ (unsigned char)name[i]) * 16777619u;
    return hash;
}

static topic_t *find_topic(const char *name, size_t len)
{
    uint32_t hash = hash_of(name, len);
    topic_t *topic = server.buckets[hash % BUCKETS];

    while (topic != NULL &&
           (topic->hash != hash || topic->name_len != len || memcmp(topic->name, name, len) != 0))
        topic = topic->next;
    return topic;
}

static topic_t *make_topic(const char *name, size_t len)
{
    topic_t *topic = must(calloc(1, sizeof(*topic) + len));

    topic->hash = hash_of(name, len);
    topic->name_len = (uint8_t)len;
    memcpy(topic->name, name, len);
    topic->next = server.buckets[topic->hash % BUCKETS];
    server.buckets[topic->hash % BUCKETS] = topic;
    return topic;
}

static void free_topic(topic_t *topic)
{
    topic_t **link = &server.buckets[topic->hash % BUCKETS];

    while (*link != topic)
        link = &(*link)->next;
    *link = topic->next;
    free(topic->members);
    free(topic);
}

static void deliver(const topic_t *topic, const char *frames, size_t len)
{
    if (server.fault == FAULT_NONE) {
        for (uint32_t i = 0; i != topic->count; ++i)
            put(topic->members[i], frames, len);
        return;
    }
    for (uint32_t i = 0; i != topic->count; ++i)
        for (size_t at = 0; at != len; at += frame_length(frames + at))
            deliver_with_care(topic, topic->members[i], frames + at, frame_length(frames + at));
}

/* What the turn has brought so far. */
static void settle(topic_t *topic)
{
    topic_t **link = &server.touched;

    if (topic->run == NULL)
        return;
    while (*link != topic)
        link = &(*link)->next_touched;
    *link = topic->next_touched;
    deliver(topic, topic->run->bytes, topic->run->len);
    give_spare(topic->run);
    topic->run = NULL;
}

static void publish(topic_t *topic, const char *frame, size_t len)
{
    if (topic == NULL)
        return;
    if (!server.batched) {
        deliver(topic, frame, len);
        return;
    }
    if (topic->run == NULL) {
        topic->run = take_spare();
        topic->next_touched = server.touched;
        server.touched = topic;
    }
    append(&topic->run, frame, len);
}

static uint32_t take_seat(void)
{
    uint32_t seat = server.free_seats;

    if (seat != NONE) {
        server.free_seats = server.seats[seat].next;
        return seat;
    }
    if (server.seat_count == server.seat_size) {
        server.seat_size = server.seat_size != 0 ? server.seat_size * 2 : 1024;
        server.seats = must(realloc(server.seats, server.seat_size * sizeof(*server.seats)));
    }
    return server.seat_count++;
}

static void join(uint32_t fd, const char *name, size_t len)
{
    topic_t *topic = find_topic(name, len);
    uint32_t seat;

    if (topic == NULL)
        topic = make_topic(name, len);
    if (is_member(fd, topic))
        return;
    settle(topic); /* the newcomer is not to get what was before */
    if (topic->count == topic->size) {
        topic->size = topic->size != 0 ? topic->size * 2 : 2;
        topic->members = must(realloc(topic->members, topic->size * sizeof(*topic->members)));
    }
    seat = take_seat();
    server.seats[seat] =
        (seat_t){.topic = topic, .next = server.conns[fd].seats, .place = topic->count};
    server.conns[fd].seats = seat;
    topic->members[topic->count++] = fd;
}

static uint32_t *seat_link(uint32_t fd, const topic_t *topic)
{
    uint32_t *link = &server.conns[fd].seats;

    while (*link != NONE && server.seats[*link].topic != topic)
        link = &server.seats[*link].next;
    return link;
}

/* The last member takes the place that is free now. */
static void leave(uint32_t fd, topic_t *topic)
{
    uint32_t *link = seat_link(fd, topic), seat = *link, last;

    if (seat == NONE)
        return;
    settle(topic);
    last = topic->members[--topic->count];
    topic->members[server.seats[seat].place] = last;
    server.seats[*seat_link(last, topic)].place = server.seats[seat].place;
    *link = server.seats[seat].next;
    server.seats[seat].next = server.free_seats;
    server.free_seats = seat;
    if (topic->count == 0)
        free_topic(topic);
}

/* ---- what a client says ---- */

static void reply(uint32_t fd, const char *bytes, size_t len)
{
    if (server.batched)
        append(&server.replies, bytes, len);
    else
        put(fd, bytes, len);
}

static void flush_replies(uint32_t fd)
{
    if (server.replies == NULL || server.replies->len == 0)
        return;
    put(fd, server.replies->bytes, server.replies->len);
    server.replies->len = 0;
}

static void confirm(uint32_t fd, const char *verb, const char *name, size_t len)
{
    char frame[FLOOR_HEADER_MAX + 8 + TOPIC_BYTES], *body = frame + FLOOR_HEADER_MAX;
    size_t verb_len = strlen(verb);

    memcpy(body, verb, verb_len);
    memcpy(body + verb_len, name, len);
    body = put_header(body, TEXT, verb_len + len);
    reply(fd, body, frame_length(body));
}

/* `rest` is `TOPIC PAYLOAD`, behind at least FLOOR_HEADER_MAX bytes that are of no use any more: a
 * frame that is sent on is made where it lies. */
static void on_text(uint32_t fd, const char *verb, size_t verb_len, char *rest, size_t len)
{
    const char *space = memchr(rest, ' ', len);
    size_t name_len = space != NULL ? (size_t)(space - rest) : len;
    char *frame;

    if (name_len == 0 || name_len > TOPIC_BYTES) {
        doom(fd);
    } else if (verb_len == 3 && memcmp(verb, "pub", 3) == 0) {
        topic_t *topic = find_topic(rest, name_len);

        frame = put_header(rest, TEXT, len);
        publish(topic, frame, (size_t)(rest + len - frame));
    } else if (verb_len == 4 && memcmp(verb, "echo", 4) == 0) {
        frame = put_header(rest, TEXT, len);
        reply(fd, frame, (size_t)(rest + len - frame));
    } else if (verb_len == 4 && memcmp(verb, "join", 4) == 0) {
        join(fd, rest, name_len);
        confirm(fd, "joined ", rest, name_len);
    } else if (verb_len == 5 && memcmp(verb, "leave", 5) == 0) {
        topic_t *topic = find_topic(rest, name_len);

        if (topic != NULL)
            leave(fd, topic);
        confirm(fd, "left ", rest, name_len);
    } else if (verb_len != 4 || memcmp(verb, "none", 4) != 0) {
        doom(fd);
    }
}

static void on_frame(uint32_t fd, unsigned char first, char *body, size_t len)
{
    char *space, *frame;

    switch (first) {
    case TEXT:
        space = memchr(body, ' ', len);
        if (space == NULL)
            doom(fd);
        else
            on_text(fd, body, (size_t)(space - body), space + 1, len - (size_t)(space + 1 - body));
        break;
    case PING:
        frame = put_header(body, PONG, len);
        reply(fd, frame, (size_t)(body + len - frame));
        break;
    case PONG:
        break;
    case CLOSE:
        flush_replies(fd);
        frame = put_header(body, CLOSE, len);
        put(fd, frame, (size_t)(body + len - frame));
        doom(fd);
        break;
    default: /* fragments, binary, what is reserved */
        doom(fd);
    }
}

/* Handles the first frame; returns its length, 0 where more of it has to come. */
static size_t take_frame(uint32_t fd, char *at, size_t len)
{
    size_t header, body_len = 0;
    unsigned code;

    if (len < 2)
        return 0;
    code = (unsigned char)at[1] & 0x7f;
    header = code == 126 ? 4 : code == 127 ? 10 : 2;
    if (len < header + 4)
        return 0;
    body_len = header == 2 ? code : 0;
    for (size_t i = 2; i != header; ++i)
        body_len = body_len << 8 | (unsigned char)at[i];
    if ((at[1] & 0x80) == 0 || body_len > FRAME_BYTES) {
        doom(fd);
        return len;
    }
    if (len - header - 4 < body_len)
        return 0;
    unmask(at + header + 4, body_len, at + header);
    on_frame(fd, (unsigned char)at[0], at + header + 4, body_len);
    return header + 4 + body_len;
}

/* ---- the upgrade ---- */

static void answer_upgrade(uint32_t fd, const char *key, size_t len)
{
    char answer[256];
    unsigned char accept[FLOOR_ACCEPT_SIZE];
    int answer_len;

    accept_of(key, len, accept);
    answer_len = snprintf(answer, sizeof(answer),
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                          (const char *)accept);
    put(fd, answer, (size_t)answer_len);
    server.conns[fd].upgraded = true;
}

static void refuse(uint32_t fd)
{
    static const char answer[] =
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    put(fd, answer, sizeof(answer) - 1);
    doom(fd);
}

/* As take_frame(). */
static size_t take_request(uint32_t fd, char *at, size_t len)
{
    static const char name[] = "\r\nSec-WebSocket-Key:";
    char *end = memmem(at, len, "\r\n\r\n", 4), *key;

    if (end == NULL) {
        if (len > HEAD_BYTES)
            doom(fd);
        return 0;
    }
    *end = '\0';
    key = strcasestr(at, name);
    if (key == NULL) {
        refuse(fd);
        return len;
    }
    key += sizeof(name) - 1;
    key += strspn(key, " \t");
    if (strcspn(key, "\r \t") != 24)
        refuse(fd);
    else
        answer_upgrade(fd, key, 24);
    return (size_t)(end - at) + 4;
}

/* ---- the loop ---- */

/* Returns how much was whole. */
static size_t take_all(uint32_t fd, char *at, size_t len)
{
    const conn_t *conn = &server.conns[fd];
    size_t done = 0, taken;

    while (done != len && !conn->dying) {
        taken = conn->upgraded ? take_frame(fd, at + done, len - done)
                               : take_request(fd, at + done, len - done);
        if (taken == 0)
            break;
        done += taken;
    }
    flush_replies(fd);
    return done;
}

static void keep_rest(conn_t *conn, const char *rest, size_t len)
{
    block_t *old = conn->input;

    conn->input = NULL;
    if (len != 0 && !conn->dying)
        append(&conn->input, rest, len);
    free(old);
}

/* With the beginning of a frame at hand the rest goes behind it; else into the one buffer that
 * serves all. */
static void on_readable(uint32_t fd)
{
    conn_t *conn = &server.conns[fd];
    char *bytes = server.read_buffer;
    size_t len, done;
    ssize_t got = recv((int)fd, bytes, READ_BYTES, MSG_DONTWAIT);

    if (got == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        doom(fd);
        return;
    }
    len = (size_t)got;
    if (conn->input != NULL) {
        append(&conn->input, bytes, len);
        bytes = conn->input->bytes;
        len = conn->input->len;
    }
    done = take_all(fd, bytes, len);
    if (conn->input != NULL && done == 0 && !conn->dying)
        return;
    keep_rest(conn, bytes + done, len - done);
}

static void on_accept(void)
{
    static const int on = 1;

    while (true) {
        int fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd == -1 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
            return;
        if (fd == -1 || (uint32_t)fd >= server.conn_count)
            bench_fail("no room for another connection: %s",
                       fd == -1 ? strerror(errno) : "too many descriptors");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        server.conns[fd] = (conn_t){.seats = NONE, .open = true};
        watch((uint32_t)fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void close_conn(uint32_t fd)
{
    conn_t *conn = &server.conns[fd];

    while (conn->seats != NONE)
        leave(fd, server.seats[conn->seats].topic);
    drop(&conn->input);
    drop(&conn->output);
    close((int)fd);
    *conn = (conn_t){.seats = NONE};
}

/* A member that cannot be written to may turn up on the way. */
static void end_turn(void)
{
    while (server.touched != NULL)
        settle(server.touched);
    release_held();
    for (uint32_t i = 0; i != server.dying_count; ++i)
        close_conn(server.dying[i]);
    server.dying_count = 0;
}

static void on_event(const struct epoll_event *event)
{
    const conn_t *conn = &server.conns[event->data.u32];

    if ((event->events & EPOLLOUT) != 0)
        on_writable(event->data.u32);
    if ((event->events & ~(uint32_t)EPOLLOUT) != 0 && !conn->dying)
        on_readable(event->data.u32);
}

static void serve(void)
{
    static struct epoll_event events[EVENTS];
    bool stopped = false;

    while (!stopped) {
        int count = epoll_wait(server.epoll, events, EVENTS, -1);

        if (count == -1 && errno != EINTR)
            bench_fail("epoll: %s", strerror(errno));
        for (int i = 0; i < count; ++i) {
            if (events[i].data.u32 == (uint32_t)server.listener)
                on_accept();
            else if (events[i].data.u32 == (uint32_t)server.signals)
                stopped = true;
            else
                on_event(&events[i]);
        }
        end_turn();
    }
}

/* ---- start and end ---- */

static void read_fault(const char *text)
{
    size_t len = strcspn(text, ":");

    if (text[len] == ':')
        server.every = options_number("fault", text + len + 1, 1, 1000000000);
    for (fault_t fault = FAULT_NONE; fault <= FAULT_CLOSE; ++fault) {
        if (strncmp(text, FAULTS[fault], len) != 0 || FAULTS[fault][len] != '\0')
            continue;
        server.fault = fault;
        return;
    }
    options_fail("--fault '%s': not one of none, drop, double, swap, misroute, corrupt, garbage, "
                 "close, with or without :EVERY",
                 text);
}

static uint16_t read_options(int argc, char **argv)
{
    static const char *const modes[] = {"single", "batched"};
    const char *fault = "none";
    unsigned long port = 0, mode = 0;
    const option_row_t rows[] = {
        {"port", "of 127.0.0.1; 0 lets the kernel pick one", .number = &port, .max = 65535},
        {"mode",
         "single: a write for each member and publish; batched: for each member, topic and turn",
         .number = &mode, .max = 1, .words = modes},
        {"fault",
         "KIND[:EVERY], a mistake at each EVERYth delivery: drop, double, swap (with the next "
         "of its turn), misroute (to somebody who has not joined, too), corrupt, garbage (one more "
         "frame), close",
         .text = &fault},
        {.name = NULL}};

    options_read(argc, argv, rows);
    server.batched = mode == 1;
    read_fault(fault);
    return (uint16_t)port;
}

static void listen_on(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(address);
    const int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server.listener == -1)
        bench_fail("socket: %s", strerror(errno));
    setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(server.listener, (struct sockaddr *)&address, len) != 0 ||
        listen(server.listener, 65535) != 0 ||
        getsockname(server.listener, (struct sockaddr *)&address, &len) != 0)
        bench_fail("127.0.0.1:%u: %s", port, strerror(errno));
    watch((uint32_t)server.listener, EPOLLIN, EPOLL_CTL_ADD);
    printf("listening on http://127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void catch_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    server.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (server.signals == -1)
        bench_fail("signalfd: %s", strerror(errno));
    watch((uint32_t)server.signals, EPOLLIN, EPOLL_CTL_ADD);
}

static void start(uint16_t port)
{
    unsigned long limit = bench_raise_nofile();
    unsigned char accept[FLOOR_ACCEPT_SIZE];

    accept_of("", 0, accept); /* what the library needs is not memory of the first connections */

    server.conn_count = (uint32_t)(limit < CONNS_MAX ? limit : CONNS_MAX);
    server.conns = must(calloc(server.conn_count, sizeof(*server.conns)));
    server.dying = must(calloc(server.conn_count, sizeof(*server.dying)));
    server.free_seats = NONE;
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll == -1)
        bench_fail("epoll: %s", strerror(errno));
    catch_signals();
    listen_on(port);
}

static void stop(void)
{
    for (uint32_t fd = 0; fd != server.conn_count; ++fd)
        if (server.conns[fd].open)
            close_conn(fd);
    for (block_t *block; (block = take_spare()) != NULL;)
        free(block);
    free(server.replies);
    free(server.seats);
    free(server.conns);
    free(server.dying);
    close(server.listener);
    close(server.signals);
    close(server.epoll);
}

int main(int argc, char **argv)
{
    uint16_t port = read_options(argc, argv);

    start(port);
    serve();
    stop();
    return EXIT_SUCCESS;
}
