/* SPDX-License-Identifier: MIT */
/* A load generator must not be what limits a benchmark, and must not share the server's mistakes:
 * so it speaks websocket by hand, and does no more per message than to find where it ends. */
#define _GNU_SOURCE
#include "bench/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/report.h"

#define READ_BUFFER (256u * 1024)
#define BATCH 64u                /* connections that are set up at the same time */
#define CONNS_PER_ADDRESS 10000u /* source ports last for about 28,000 */
#define REPLY_BYTES 512u         /* of a join, at most */
#define FRAME_HEADER_MAX 14u
#define WAIT_S 10
#define OK "\"status\":\"ok\""

#define TARGET "/socket"
#define END "}" /* of an envelope */

static char read_buffer[READ_BUFFER];
static bool own_refs;

void client_use_own_refs(void)
{
    own_refs = true;
}

/* ---- frames out ---- */

/* Its length; written unless `to` is NULL. */
static size_t put_header(char *to, unsigned opcode, size_t len)
{
    unsigned char header[FRAME_HEADER_MAX] = {(unsigned char)(0x80 | opcode)};
    size_t bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;

    header[1] = (unsigned char)(0x80 | (bytes == 0 ? len : bytes == 2 ? 126 : 127));
    for (size_t i = 0; i != bytes; ++i)
        header[2 + i] = (unsigned char)(len >> (8 * (bytes - 1 - i)));
    if (to != NULL)
        memcpy(to, header, 2 + bytes + 4);
    return 2 + bytes + 4; /* the key stays zero */
}

size_t client_frame(char *frame, size_t topic, const char *event, size_t payload_bytes)
{
    char head[128];
    int head_len = snprintf(head, sizeof(head),
                            "{\"topic\":\"bench:%05zu\",\"event\":\"%s\",\"payload\":{\"data\":\"",
                            topic, event);
    size_t data = payload_bytes - CLIENT_PAYLOAD_MIN, behind = strlen(END);
    size_t len = (size_t)head_len + data + 2 + behind, header = put_header(frame, 1, len);

    if (frame != NULL) {
        frame += header;
        memcpy(frame, head, (size_t)head_len);
        memset(frame + head_len, 'x', data);
        memcpy(frame + head_len + data, "\"}", 2);
        memcpy(frame + head_len + data + 2, END, behind);
    }
    return header + len;
}

void client_send(const client_conn_t *conn, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t sent = send(conn->fd, bytes, len, MSG_NOSIGNAL);

        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1)
            bench_fail("sending failed: %s", strerror(errno));
        bytes += sent;
        len -= (size_t)sent;
    }
}

/* ---- frames in ---- */

/* False: more of the header has to come. */
static bool header_is_complete(client_conn_t *conn)
{
    unsigned code = conn->header[1];
    size_t bytes = code == 126 ? 2 : code == 127 ? 8 : 0;

    if (conn->header_len < 2 || conn->header_len < 2 + bytes)
        return false;
    conn->left = bytes == 0 ? code : 0;
    for (size_t i = 0; i != bytes; ++i)
        conn->left = conn->left << 8 | conn->header[2 + i];
    if (code > 127 || ((conn->header[0] & 8) != 0 && code > 125))
        bench_fail("the server sent a frame that is none");
    return true;
}

static void send_pong(const client_conn_t *conn)
{
    char frame[FRAME_HEADER_MAX + 125];
    size_t header = put_header(frame, 10, conn->control_len);

    memcpy(frame + header, conn->control, conn->control_len);
    client_send(conn, frame, header + conn->control_len);
}

/* Returns how many messages that makes. */
static size_t frame_done(client_conn_t *conn)
{
    unsigned first = conn->header[0];

    conn->in_body = false;
    conn->header_len = 0;
    if (first == 0x81 || first == 0x82 || first == 0x80)
        return 1;
    if (first == 0x01 || first == 0x00)
        return 0; /* a fragment, not the last of its message */
    if (first == 0x89)
        send_pong(conn);
    else if (first == 0x88)
        bench_fail("the server closed a connection, code %u",
                   conn->control_len < 2 ? 1005u : conn->control[0] * 256u + conn->control[1]);
    else if (first != 0x8a)
        bench_fail("the server sent a frame that begins with %02x", first);
    conn->control_len = 0;
    return 0;
}

static size_t walk(client_conn_t *conn, const char *at, size_t len)
{
    size_t messages = 0, taken;

    while (len != 0) {
        if (!conn->in_body) {
            conn->header[conn->header_len++] = (uint8_t)*at++;
            --len;
            if (!header_is_complete(conn))
                continue;
            conn->in_body = true;
        }
        taken = len < conn->left ? len : (size_t)conn->left;
        if (conn->header[0] & 8) {
            memcpy(conn->control + conn->control_len, at, taken);
            conn->control_len = (uint8_t)(conn->control_len + taken);
        }
        at += taken;
        len -= taken;
        conn->left -= taken;
        if (conn->left == 0)
            messages += frame_done(conn);
    }
    return messages;
}

static size_t receive(const client_conn_t *conn, char *bytes, size_t size, int flags)
{
    ssize_t got;

    do
        got = recv(conn->fd, bytes, size, flags);
    while (got == -1 && errno == EINTR);
    if (got == -1 && (flags & MSG_DONTWAIT) && errno == EAGAIN)
        return 0;
    if (got == -1 && errno == EAGAIN)
        bench_fail("no answer within %d s", WAIT_S);
    if (got <= 0)
        bench_fail("a connection was lost: %s", got == 0 ? "end of stream" : strerror(errno));
    return (size_t)got;
}

size_t client_read(client_conn_t *conn)
{
    size_t messages =
        walk(conn, read_buffer, receive(conn, read_buffer, READ_BUFFER, MSG_DONTWAIT));

    conn->received += messages;
    return messages;
}

/* ---- entering ---- */

static void connect_one(client_conn_t *conn, size_t index, uint16_t port)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    struct timeval wait = {.tv_sec = WAIT_S};
    int on = 1;

    *conn = (client_conn_t){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (conn->fd == -1)
        bench_fail("connection %zu: %s", index, strerror(errno));
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(index / CONNS_PER_ADDRESS));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(conn->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    if (bind(conn->fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
        connect(conn->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        bench_fail("connection %zu: %s", index, strerror(errno));
}

static void ask_upgrade(const client_conn_t *conn, uint16_t port)
{
    char request[256];
    int len = snprintf(request, sizeof(request),
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                       "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
                       TARGET, port);

    client_send(conn, request, (size_t)len);
}

/* Nothing follows the head: nothing has been asked for. */
static void await_upgrade(const client_conn_t *conn)
{
    char head[2048];
    size_t len = 0;

    do {
        if (len == sizeof(head) - 1)
            bench_fail("the answer to the upgrade is too long");
        len += receive(conn, head + len, sizeof(head) - 1 - len, 0);
        head[len] = '\0';
    } while (strstr(head, "\r\n\r\n") == NULL);
    if (strncmp(head, "HTTP/1.1 101 ", 13) != 0)
        bench_fail("no upgrade: %.*s", (int)strcspn(head, "\r"), head);
}

static void ask_join(const client_conn_t *conn, size_t topic)
{
    static size_t refs;
    size_t again = own_refs ? ++refs : topic;
    char body[128], frame[FRAME_HEADER_MAX + sizeof(body)];
    int len =
        snprintf(body, sizeof(body),
                 "{\"topic\":\"bench:%05zu\",\"event\":\"join\",\"payload\":{},\"ref\":\"%zu\"}",
                 topic, again);
    size_t header = put_header(frame, 1, (size_t)len);

    memcpy(frame + header, body, (size_t)len);
    client_send(conn, frame, header + (size_t)len);
}

/* The reply must say ok. */
static void await_joined(client_conn_t *conn)
{
    char reply[REPLY_BYTES];
    size_t len = 0, messages = 0;

    while (messages == 0) {
        size_t got = receive(conn, reply + len, sizeof(reply) - len, 0);

        messages = walk(conn, reply + len, got);
        len += got;
        if (messages > 1 || (len == sizeof(reply) && messages == 0))
            bench_fail("the answer to a join is something else");
    }
    if (memmem(reply, len, OK, strlen(OK)) == NULL)
        bench_fail("a join was refused");
}

void client_enter(client_conn_t *conns, size_t count, uint16_t port, size_t topics)
{
    for (size_t first = 0; first < count; first += BATCH) {
        size_t end = first + BATCH < count ? first + BATCH : count;

        for (size_t i = first; i != end; ++i) {
            connect_one(&conns[i], i, port);
            ask_upgrade(&conns[i], port);
        }
        for (size_t i = first; i != end; ++i) {
            await_upgrade(&conns[i]);
            ask_join(&conns[i], i % topics);
        }
        for (size_t i = first; i != end; ++i)
            await_joined(&conns[i]);
    }
}

void client_close(client_conn_t *conns, size_t count)
{
    for (size_t i = 0; i != count; ++i)
        close(conns[i].fd);
}

int client_watch(const client_conn_t *conns, size_t count)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll == -1)
        bench_fail("epoll: %s", strerror(errno));
    for (size_t i = 0; i != count; ++i) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &event) != 0)
            bench_fail("epoll: %s", strerror(errno));
    }
    return epoll;
}
