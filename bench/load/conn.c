/* SPDX-License-Identifier: MIT */
/* What the kernel and the websocket want, apart from what is said: thousands of connections that
 * cost this program less than they cost the server. */
#define _GNU_SOURCE
#include "bench/load/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/speaker.h"
#include "bench/load/ws.h"
#include "bench/report.h"

#define EVENTS 1024
#define READ_BYTES (256u * 1024)
#define HEADROOM 16u               /* before what is read; more than a frame's header */
#define KEPT_BYTES (64u * 1024)    /* of a buffer for a frame that came in pieces */
#define BACKLOG_BYTES (256u << 20) /* that may wait for the server */
#define NORMAL_CLOSURE "\x03\xe8"

uint64_t loop_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the end of a connection ---- */

static void end(loop_t *loop, conn_t *conn, const char *why)
{
    bool asked = conn->state == CONN_CLOSING;

    close(conn->fd);
    buffer_dispose(&conn->in);
    buffer_dispose(&conn->out);
    buffer_dispose(&conn->message);
    conn->state = CONN_NONE;
    conn->blocked = false;
    loop->handlers.on_closed(loop, conn, asked ? NULL : why);
}

static void end_by_close_frame(loop_t *loop, conn_t *conn, const char *body, size_t len)
{
    char why[160];
    unsigned code = len < 2 ? 1005u : (unsigned char)body[0] * 256u + (unsigned char)body[1];

    snprintf(why, sizeof(why), "the server closed it with %u %.*s", code,
             len > 2 ? (int)len - 2 : 0, body + 2);
    end(loop, conn, why);
}

/* ---- writing ---- */

static void watch(const loop_t *loop, conn_t *conn, int how)
{
    uint32_t events = (conn->paused ? 0u : (uint32_t)EPOLLIN) |
                      (conn->blocked || conn->state == CONN_CONNECTING ? (uint32_t)EPOLLOUT : 0u);
    struct epoll_event event = {.events = events, .data.ptr = conn};

    if (epoll_ctl(loop->epoll, how, conn->fd, &event) != 0)
        bench_fail("epoll: %s", strerror(errno));
}

buffer_t *conn_say(loop_t *loop, conn_t *conn)
{
    if (!conn->dirty) {
        conn->dirty = true;
        conn->next_dirty = loop->dirty;
        loop->dirty = conn;
    }
    return &conn->out;
}

static void flush(loop_t *loop, conn_t *conn)
{
    bool was_blocked = conn->blocked;
    size_t done = 0;

    while (done != conn->out.len) {
        ssize_t sent = send(conn->fd, conn->out.bytes + done, conn->out.len - done,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1)
            break; /* what is wrong will be read */
        done += (size_t)sent;
    }
    buffer_consume(&conn->out, done);
    if (conn->out.len > BACKLOG_BYTES)
        bench_fail("connection %u: the server has not taken %zu bytes", conn->number,
                   conn->out.len);
    conn->blocked = conn->out.len != 0;
    if (conn->blocked != was_blocked)
        watch(loop, conn, EPOLL_CTL_MOD);
}

static void flush_all(loop_t *loop)
{
    while (loop->dirty != NULL) {
        conn_t *conn = loop->dirty;

        loop->dirty = conn->next_dirty;
        conn->dirty = false;
        if (conn->state != CONN_NONE && conn->state != CONN_CONNECTING && !conn->blocked)
            flush(loop, conn);
    }
}

/* ---- reading ---- */

/* Messages of a stream; returns how many of the bytes they have. */
static size_t take_stream(loop_t *loop, conn_t *conn, const char *bytes, size_t len,
                          uint64_t now_ns)
{
    size_t done = 0, message;

    while (done != len && conn->state != CONN_NONE) {
        message = loop->handlers.split(bytes + done, len - done);
        if (message == STREAM_MORE)
            break;
        if (message == STREAM_INVALID) {
            end(loop, conn, "the stream has something else than messages");
            return len;
        }
        loop->handlers.on_message(loop, conn, bytes + done, message, now_ns);
        done += message;
    }
    return done;
}

static void take_stream_frame(loop_t *loop, conn_t *conn, const char *body, size_t len,
                              uint64_t now_ns)
{
    size_t done;

    if (conn->message.len == 0) {
        done = take_stream(loop, conn, body, len, now_ns);
        if (conn->state != CONN_NONE)
            buffer_append(&conn->message, body + done, len - done);
        return;
    }
    buffer_append(&conn->message, body, len);
    done = take_stream(loop, conn, conn->message.bytes, conn->message.len, now_ns);
    if (conn->state != CONN_NONE)
        buffer_consume(&conn->message, done);
}

/* A fragment. The opcode of the message stands in its first one only, and is of no use here. */
static void take_fragment(loop_t *loop, conn_t *conn, const ws_frame_t *frame, const char *body,
                          uint64_t now_ns)
{
    buffer_append(&conn->message, body, frame->body_len);
    if (conn->message.len > WS_MESSAGE_MAX) {
        end(loop, conn, "a message in fragments is too long");
        return;
    }
    if ((frame->first & WS_FIN) == 0)
        return;
    loop->handlers.on_message(loop, conn, conn->message.bytes, conn->message.len, now_ns);
    conn->message.len = 0;
}

static void take_data(loop_t *loop, conn_t *conn, const ws_frame_t *frame, const char *body,
                      uint64_t now_ns)
{
    if (loop->handlers.split != NULL)
        take_stream_frame(loop, conn, body, frame->body_len, now_ns);
    else if ((frame->first & 0x0f) != WS_CONTINUATION && (frame->first & WS_FIN) != 0)
        loop->handlers.on_message(loop, conn, body, frame->body_len, now_ns);
    else
        take_fragment(loop, conn, frame, body, now_ns);
}

static void take_frame(loop_t *loop, conn_t *conn, const ws_frame_t *frame, const char *body,
                       uint64_t now_ns)
{
    switch (frame->first & 0x7f) {
    case WS_TEXT:
    case WS_BINARY:
    case WS_CONTINUATION:
        take_data(loop, conn, frame, body, now_ns);
        break;
    case WS_PING:
        if (conn->state == CONN_OPEN) /* nothing may follow our close frame */
            ws_put_frame(conn_say(loop, conn), WS_PONG, body, frame->body_len);
        break;
    case WS_PONG:
        break;
    case WS_CLOSE:
        if (conn->state != CONN_CLOSING) /* then the end of the stream follows */
            end_by_close_frame(loop, conn, body, frame->body_len);
        break;
    default:
        end(loop, conn, "a frame has an opcode or bits that nobody agreed on");
    }
}

static size_t take_answer(loop_t *loop, conn_t *conn, const char *bytes, size_t len)
{
    char why[160];
    size_t head = 0;
    ws_result_t result = ws_read_answer(bytes, len, &head, why, sizeof(why));

    if (result == WS_INVALID) {
        end(loop, conn, why);
    } else if (result == WS_OK) {
        conn->state = CONN_OPEN;
        loop->handlers.on_open(loop, conn);
    }
    return head;
}

/* Everything that is whole; returns its length, which means nothing once the connection has ended.
 */
static size_t take_all(loop_t *loop, conn_t *conn, const char *bytes, size_t len, uint64_t now_ns)
{
    size_t done = 0;
    ws_frame_t frame;

    if (conn->state == CONN_UPGRADING)
        done = take_answer(loop, conn, bytes, len);
    while (conn->state == CONN_OPEN || conn->state == CONN_CLOSING) {
        ws_result_t result = ws_read_header(bytes + done, len - done, &frame);

        if (result == WS_INVALID) {
            end(loop, conn, "a frame is none that a server may send");
            break;
        }
        if (result == WS_INCOMPLETE || len - done - frame.header_len < frame.body_len)
            break;
        take_frame(loop, conn, &frame, bytes + done + frame.header_len, now_ns);
        done += frame.header_len + frame.body_len;
    }
    return done;
}

/* Bytes that lie in the buffer of all, the rest of them is kept. */
static void take_bytes(loop_t *loop, conn_t *conn, const char *bytes, size_t len, uint64_t now_ns)
{
    size_t done = take_all(loop, conn, bytes, len, now_ns);

    if (conn->state != CONN_NONE)
        buffer_append(&conn->in, bytes + done, len - done);
}

/* What the kernel has, first for `first` (may be empty), then for the buffer of all; 0: nothing, or
 * the end. */
static size_t receive(loop_t *loop, conn_t *conn, struct iovec first)
{
    struct iovec iovecs[2] = {first,
                              {.iov_base = loop->read_buffer + HEADROOM, .iov_len = READ_BYTES}};
    struct msghdr msg = {.msg_iov = first.iov_len != 0 ? iovecs : iovecs + 1,
                         .msg_iovlen = first.iov_len != 0 ? 2 : 1};
    ssize_t got = recvmsg(conn->fd, &msg, MSG_DONTWAIT);

    if (got == -1 && (errno == EAGAIN || errno == EINTR))
        return 0;
    ++loop->reads;
    if (got > 0)
        return (size_t)got;
    end(loop, conn, got == 0 ? "the server ended it" : strerror(errno));
    return 0;
}

/* The rest is less than a header: it goes before what comes. */
static void read_behind_little(loop_t *loop, conn_t *conn)
{
    size_t got = receive(loop, conn, (struct iovec){.iov_len = 0}), rest = conn->in.len;
    char *bytes = loop->read_buffer + HEADROOM - rest;

    if (got == 0)
        return;
    if (rest != 0)
        memcpy(bytes, conn->in.bytes, rest);
    conn->in.len = 0;
    take_bytes(loop, conn, bytes, rest + got, loop_now_ns());
}

/* The answer to the upgrade comes in pieces. */
static void read_more_of_answer(loop_t *loop, conn_t *conn)
{
    size_t got = receive(loop, conn, (struct iovec){.iov_len = 0}), done;

    if (got == 0)
        return;
    buffer_append(&conn->in, loop->read_buffer + HEADROOM, got);
    done = take_all(loop, conn, conn->in.bytes, conn->in.len, loop_now_ns());
    if (conn->state != CONN_NONE)
        buffer_consume(&conn->in, done);
}

/* A frame that is not whole is completed where its beginning lies, and what follows it goes to the
 * buffer of all, in the same read. */
static void read_behind_frame(loop_t *loop, conn_t *conn)
{
    struct iovec missing = {.iov_len = 0};
    ws_frame_t frame;
    uint64_t now_ns;
    size_t got;

    ws_read_header(conn->in.bytes, conn->in.len, &frame); /* it was looked at before */
    missing.iov_len = frame.header_len + frame.body_len - conn->in.len;
    missing.iov_base = buffer_reserve(&conn->in, missing.iov_len);
    got = receive(loop, conn, missing);
    if (got == 0)
        return;
    if (got < missing.iov_len) {
        conn->in.len += got;
        return;
    }
    now_ns = loop_now_ns();
    take_all(loop, conn, conn->in.bytes, conn->in.len + missing.iov_len, now_ns);
    if (conn->state == CONN_NONE)
        return;
    conn->in.len = 0;
    if (conn->in.size > KEPT_BYTES)
        buffer_dispose(&conn->in);
    take_bytes(loop, conn, loop->read_buffer + HEADROOM, got - missing.iov_len, now_ns);
}

static void on_readable(loop_t *loop, conn_t *conn)
{
    if (conn->in.len < HEADROOM)
        read_behind_little(loop, conn);
    else if (conn->state == CONN_UPGRADING)
        read_more_of_answer(loop, conn);
    else
        read_behind_frame(loop, conn);
}

/* ---- connecting ---- */

static void on_connected(loop_t *loop, conn_t *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0) {
        end(loop, conn, strerror(error));
        return;
    }
    conn->state = CONN_UPGRADING;
    watch(loop, conn, EPOLL_CTL_MOD);
    flush(loop, conn);
}

/* Only within the loopback network are all addresses ours. */
static void choose_source(const struct target *target, const conn_t *conn)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    const struct sockaddr_in *to = (const struct sockaddr_in *)(const void *)&target->address;
    int on = 1;

    if (to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != 127)
        return;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + conn->number / CONNS_PER_ADDRESS);
    setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(conn->fd, (const struct sockaddr *)&from, sizeof(from)) != 0)
        bench_fail("connection %u: no socket at %s: %s", conn->number, inet_ntoa(from.sin_addr),
                   strerror(errno));
}

void conn_open(loop_t *loop, conn_t *conn, uint32_t number, bool other, const char *path,
               int receive_buffer)
{
    const struct target *target = other ? &loop->other_target : &loop->target;
    const int on = 1;

    *conn = (conn_t){.number = number,
                     .state = CONN_CONNECTING,
                     .dirty = conn->dirty,
                     .next_dirty = conn->next_dirty};
    conn->fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd == -1)
        bench_fail("connection %u: %s", number, strerror(errno));
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (receive_buffer != 0)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    choose_source(target, conn);
    if (connect(conn->fd, (const struct sockaddr *)&target->address, target->address_len) != 0 &&
        errno != EINPROGRESS)
        bench_fail("connection %u to %s: %s%s", number, target->host, strerror(errno),
                   errno == EADDRNOTAVAIL ? " (net.ipv4.ip_local_port_range is used up)" : "");
    ws_put_request(&conn->out, target->host, path, loop->handlers.subprotocol);
    watch(loop, conn, EPOLL_CTL_ADD);
}

void conn_pause(loop_t *loop, conn_t *conn, bool paused)
{
    conn->paused = paused;
    if (conn->state != CONN_NONE)
        watch(loop, conn, EPOLL_CTL_MOD);
}

void conn_close(loop_t *loop, conn_t *conn)
{
    if (conn->state != CONN_OPEN) {
        conn_drop(loop, conn);
        return;
    }
    conn->state = CONN_CLOSING;
    ws_put_frame(conn_say(loop, conn), WS_CLOSE, NORMAL_CLOSURE, 2);
}

void conn_drop(loop_t *loop, conn_t *conn)
{
    const struct linger at_once = {.l_onoff = 1};

    if (conn->state == CONN_NONE)
        return;
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    conn->state = CONN_CLOSING;
    end(loop, conn, NULL);
}

/* ---- the loop ---- */

static void resolve(struct target *target, const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int err = getaddrinfo(host, port, &hints, &found);

    if (err != 0)
        bench_fail("%s port %s: %s", host, port, gai_strerror(err));
    memcpy(&target->address, found->ai_addr, found->ai_addrlen);
    target->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    snprintf(target->host, sizeof(target->host), strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s",
             host, port);
}

void loop_open(loop_t *ret_loop, const char *host, const char *port, const handlers_t *handlers,
               void *user)
{
    *ret_loop = (loop_t){.handlers = *handlers,
                         .user = user,
                         .epoll = epoll_create1(EPOLL_CLOEXEC),
                         .read_buffer = load_calloc(HEADROOM + READ_BYTES, 1)};
    if (ret_loop->epoll == -1)
        bench_fail("epoll: %s", strerror(errno));
    resolve(&ret_loop->target, host, port);
    ret_loop->other_target = ret_loop->target;
}

void loop_set_other(loop_t *loop, const char *host, const char *port)
{
    resolve(&loop->other_target, host, port);
}

void loop_close(loop_t *loop)
{
    close(loop->epoll);
    free(loop->read_buffer);
}

static void on_event(loop_t *loop, const struct epoll_event *event)
{
    conn_t *conn = event->data.ptr;

    if (conn->state == CONN_NONE)
        return;
    if (conn->state == CONN_CONNECTING) {
        on_connected(loop, conn);
        return;
    }
    if ((event->events & EPOLLOUT) != 0)
        flush(loop, conn);
    if (conn->paused && (event->events & (EPOLLERR | EPOLLHUP)) != 0)
        end(loop, conn, "the server ended it");
    else if ((event->events & ~(uint32_t)EPOLLOUT) != 0)
        on_readable(loop, conn);
}

void loop_turn(loop_t *loop, uint64_t wait_ns)
{
    static struct epoll_event events[EVENTS];
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                            .tv_nsec = (long)(wait_ns % 1000000000u)};
    int count;

    flush_all(loop);
    count = epoll_pwait2(loop->epoll, events, EVENTS, wait_ns == LOOP_FOREVER ? NULL : &wait, NULL);
    if (count == -1 && errno != EINTR)
        bench_fail("epoll: %s", strerror(errno));
    ++loop->turns;
    for (int i = 0; i < count; ++i)
        on_event(loop, &events[i]);
}
