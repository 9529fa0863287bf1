/* SPDX-License-Identifier: MIT */
/* A transport: after the 101, frames over the socket that h2o handed over. h2o keeps watching the
 * descriptor; reading and writing are ours, so that a read is bounded, an idle connection holds no
 * buffer, and a flush is one system call without a completion callback. */
#include "hub/internal.h"

#include <errno.h>
#include <sys/socket.h>

#define IOVECS 64

static void shut_write_side(hub_conn_t *conn)
{
    conn->state = HUB__CONN_LINGERING;
    if (shutdown(conn->fd, SHUT_WR) != 0)
        hub__conn_destroy(conn);
}

/* ---- writing ---- */

static void on_writable(h2o_socket_t *socket, const char *err)
{
    hub_conn_t *conn = socket->data;
    hub__worker_t *worker = hub__conn_worker(conn);

    hub__worker_enter(worker);
    hub__conn_set_blocked(conn, false);
    if (err != NULL)
        hub__conn_lost(conn, HUB_DISCONNECT_LOST);
    else
        hub__conn_want_flush(conn);
    hub__worker_leave(worker);
}

static void wait_writable(hub_conn_t *conn)
{
    hub__conn_set_blocked(conn, true);
    hub__outbox_compact(&conn->outbox);
    hub__conn_rearm(conn); /* for the age of what waits */
    h2o_socket_notify_write(conn->socket, on_writable);
}

/* One range, the usual case, is a plain send(): the kernel copies no list of iovecs. */
static ssize_t write_some(hub_conn_t *conn)
{
    int fd = conn->fd, flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    struct iovec iovecs[IOVECS];
    struct msghdr msg = {.msg_iov = iovecs};
    ssize_t wrote;

    msg.msg_iovlen = hub__outbox_iovecs(&conn->outbox, iovecs, IOVECS);
    do
        wrote = msg.msg_iovlen == 1 ? send(fd, iovecs[0].iov_base, iovecs[0].iov_len, flags)
                                    : sendmsg(fd, &msg, flags);
    while (wrote == -1 && errno == EINTR);
    return wrote;
}

size_t hub__websocket_write(int fd, const char *bytes, size_t len, hub_stats_t *stats)
{
    ssize_t wrote = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    HUB__STAT(stats, writes_total);
    if (wrote <= 0)
        return 0;
    HUB__STAT_ADD(stats, bytes_out_total, wrote);
    return (size_t)wrote;
}

/* Writes until everything has left or the socket takes no more. False: the connection is lost. */
static bool write_all(hub_conn_t *conn)
{
    hub_stats_t *stats = &hub__conn_worker(conn)->stats;

    while (!hub__outbox_is_empty(&conn->outbox)) {
        ssize_t wrote = write_some(conn);

        HUB__STAT(stats, writes_total);
        if (wrote == -1 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            wait_writable(conn);
            return true;
        }
        if (wrote == -1)
            return false;
        HUB__STAT_ADD(stats, bytes_out_total, wrote);
        HUB__STAT_SUB(stats, outbox_bytes, wrote);
        hub__outbox_consume(&conn->outbox, (size_t)wrote, hub__conn_on_sent, conn);
    }
    return true;
}

static void flush(hub_conn_t *conn)
{
    if (conn->blocked) {
        hub__outbox_compact(&conn->outbox);
        return;
    }
    if (conn->state == HUB__CONN_LINGERING)
        return;
    do
        if (!write_all(conn)) {
            hub__conn_lost(conn, HUB_DISCONNECT_LOST);
            return;
        }
    while (!conn->blocked && hub__slow_refill(conn));
    if (conn->state == HUB__CONN_CLOSING && hub__outbox_is_empty(&conn->outbox))
        shut_write_side(conn);
    else
        hub__conn_set_ready(conn);
}

/* In the middle of a turn, where nothing may end: a connection that turns out to be lost is only
 * marked. */
static void relieve(hub_conn_t *conn)
{
    if (conn->blocked || write_all(conn))
        return;
    conn->lost = true;
    hub__conn_want_close(conn, HUB_DISCONNECT_LOST, 0, (hub_str_t){0});
}

/* ---- reading ---- */

static void on_frame(hub_conn_t *conn, const hub__frame_event_t *event)
{
    switch (event->kind) {
    case HUB__FRAME_MESSAGE:
        if (event->compressed)
            hub__conn_inflate(conn, event->payload, event->binary);
        else
            hub__conn_message(conn, event->payload, event->binary);
        break;
    case HUB__FRAME_PING:
        if (hub__conn_take_control(conn))
            hub__conn_control(conn, HUB__OP_PONG, event->payload);
        break;
    case HUB__FRAME_CLOSE:
        hub__conn_want_close(conn, HUB_DISCONNECT_CLIENT, event->code, (hub_str_t){0});
        break;
    case HUB__FRAME_ERROR:
        hub__conn_want_close(conn,
                             event->code == 1009   ? HUB_DISCONNECT_TOO_LARGE
                             : event->code == 1008 ? HUB_DISCONNECT_LIMIT
                             : event->code == 1011 ? HUB_DISCONNECT_ERROR
                                                   : HUB_DISCONNECT_PROTOCOL,
                             event->code, hub_str(event->reason));
        break;
    case HUB__FRAME_PONG:
        (void)hub__conn_take_control(conn);
        break;
    case HUB__FRAME_NEED_MORE:
        break;
    }
}

static void track_unfinished(hub_conn_t *conn)
{
    bool unfinished = hub__frame_reader_unfinished(&conn->reader);

    if (unfinished == conn->unfinished)
        return;
    conn->unfinished = unfinished;
    if (!unfinished)
        return;
    hub__frame_reader_stamp(&conn->reader, (uint32_t)hub__conn_worker(conn)->now_ms);
    hub__conn_rearm(conn);
}

void hub__websocket_feed(hub_conn_t *conn, char *bytes, size_t len)
{
    const hub__endpoint_t *endpoint = hub__conn_seat(conn)->endpoint;
    const hub__frame_limits_t *limits =
        conn->window != HUB__WINDOW_NONE ? &endpoint->deflate_limits : &endpoint->frame_limits;
    hub__worker_t *worker = hub__conn_worker(conn);
    hub__frame_event_t event;
    size_t bytes_in = len;

    HUB__STAT_ADD(&worker->stats, bytes_in_total, len);
    hub__conn_seen(conn);
    do {
        hub__frame_read(&conn->reader, limits, &bytes, &len, &event);
        /* the age is that of one message, not of a stream of them */
        if (event.kind != HUB__FRAME_NEED_MORE && !hub__frame_reader_unfinished(&conn->reader))
            conn->unfinished = false;
        on_frame(conn, &event);
    } while (event.kind != HUB__FRAME_NEED_MORE && hub__conn_is_open(conn));
    track_unfinished(conn);
    hub__conn_pace(conn, bytes_in);
}

static void on_read(h2o_socket_t *socket, const char *err)
{
    hub_conn_t *conn = socket->data;
    hub__worker_t *worker = hub__conn_worker(conn);
    ssize_t got;

    hub__worker_enter(worker);
    do
        got = recv(conn->fd, worker->read_buffer, HUB__READ_BUFFER, MSG_DONTWAIT);
    while (got == -1 && errno == EINTR);
    HUB__STAT(&worker->stats, reads_total);
    if (got > 0) {
        if (hub__conn_is_open(conn))
            hub__conn_read(conn, worker->read_buffer, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || err != NULL) {
        hub__conn_lost(conn, HUB_DISCONNECT_LOST);
    }
    hub__worker_leave(worker);
}

/* ---- the transport ---- */

static void pause_reading(hub_conn_t *conn, bool paused)
{
    if (paused)
        h2o_socket_read_stop(conn->socket);
    else
        h2o_socket_read_start(conn->socket, on_read);
}

static void say_goodbye(hub_conn_t *conn, unsigned code, hub_str_t reason)
{
    char frame[2 + 125];
    size_t len = hub__frame_close(frame, code, reason);

    hub__conn_resume(conn); /* for the end of what it sends */
    hub__frame_reader_dispose(&conn->reader);
    hub__conn_control(conn, HUB__OP_CLOSE, hub_str_n(frame + 2, len - 2));
    hub__conn_want_flush(conn);
}

static void ping(hub_conn_t *conn)
{
    hub__conn_expect_control(conn);
    hub__conn_control(conn, HUB__OP_PING, (hub_str_t){0});
}

static void dispose(hub_conn_t *conn)
{
    hub__frame_reader_dispose(&conn->reader);
    if (conn->socket != NULL)
        h2o_socket_close(conn->socket);
    conn->socket = NULL;
}

static hub_str_t peer(const hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    if (conn->socket == NULL)
        return (hub_str_t){0};
    return hub__peer_text(conn->socket, worker->text, sizeof(worker->text));
}

const hub__transport_t hub__websocket = {
    .name = "websocket",
    .flush = flush,
    .relieve = relieve,
    .pause = pause_reading,
    .close = say_goodbye,
    .ping = ping,
    .dispose = dispose,
    .peer = peer,
};

void hub__websocket_start(hub_conn_t *conn, hub_str_t early)
{
    h2o_socket_t *socket = conn->is_tls ? hub__tls_socket(conn->tls) : conn->socket;

    socket->data = conn;
    h2o_socket_dont_read(socket, 1);
    (conn->is_tls ? &hub__websocket_tls : &hub__websocket)->pause(conn, false);
    hub__conn_set_ready(conn);
    if (early.len != 0 && hub__conn_is_open(conn))
        hub__websocket_feed(conn, (char *)(uintptr_t)early.base, early.len);
    h2o_buffer_consume(&socket->input, socket->input->size);
}
