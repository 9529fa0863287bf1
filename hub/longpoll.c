/* SPDX-License-Identifier: MIT */
/* The other transport: a connection without a socket of its own. What is queued for it waits in its
 * outbox until a poll comes by and takes the messages out of their frames; what it says comes with
 * posts. Polling is its sign of life. */
#include "hub/internal.h"

#include <sodium.h>
#include <stdlib.h>

#include "bus/json.h"

#define LINES_MAX 100 /* as many as phoenix.js sends at once */

struct hub__longpoll {
    hub_conn_t *conn;
    hub__seat_t *seat;
    hub__exchange_t *poll;         /* that waits; NULL: none */
    hub__exchange_t *held;         /* a post, taken, whose client is to wait; NULL: none */
    hub__longpoll_t *next, **prev; /* in the seat's list of those without; prev NULL: not in it */
    uint64_t since_ms;             /* when the poll came, or the last one was answered */
    hub__resident_t *resident;     /* its address; NULL: it is not counted */
    char peer[];
};

static const hub_limits_t *limits_of(const hub_conn_t *conn)
{
    return &hub__conn_seat(conn)->endpoint->options.limits;
}

/* ---- those without a poll ---- */

static void leave_idle(hub__longpoll_t *self)
{
    if (self->prev == NULL)
        return;
    if ((*self->prev = self->next) != NULL)
        self->next->prev = self->prev;
    else
        self->seat->idle_last = self->prev;
    self->prev = NULL;
    --self->seat->idle_count;
}

/* A client is without a poll for the moment between two of them; who is so for long and in great
 * numbers has cost nobody a connection. */
static void shed_oldest(hub__seat_t *seat)
{
    hub_conn_t *oldest = seat->idle_first->conn;

    leave_idle(seat->idle_first);
    HUB__STAT(&seat->worker->stats, longpoll_shed_total);
    hub_log_peer(HUB_LOG_WARN, "longpoll.shed", "worker=%u idle=%zu", seat->worker->index,
                 seat->idle_limit);
    hub__conn_want_close(oldest, HUB_DISCONNECT_LIMIT, 1008, HUB_STR("too many idle clients"));
}

static void join_idle(hub__longpoll_t *self)
{
    hub__seat_t *seat = self->seat;

    self->since_ms = seat->worker->now_ms;
    if (self->conn->state != HUB__CONN_OPEN)
        return;
    self->next = NULL;
    self->prev = seat->idle_last;
    *seat->idle_last = self;
    seat->idle_last = &self->next;
    if (++seat->idle_count > seat->idle_limit)
        shed_oldest(seat);
}

/* ---- messages into an answer ---- */

/* Each byte is the character of its number. */
static void append_bytes(hub__buffer_t *answer, hub_str_t bytes)
{
    char *at = answer->base + answer->len;

    *at++ = '"';
    for (size_t i = 0; i != bytes.len; ++i) {
        unsigned char byte = (unsigned char)bytes.base[i];

        if (byte < 0x20 || byte == '"' || byte == '\\') {
            at += sprintf(at, "\\u%04x", byte);
        } else if (byte < 0x80) {
            *at++ = (char)byte;
        } else {
            *at++ = (char)(0xc0 | byte >> 6);
            *at++ = (char)(0x80 | (byte & 0x3f));
        }
    }
    *at++ = '"';
    answer->len = (size_t)(at - answer->base);
}

/* False: no memory. */
static bool append_message(hub__buffer_t *answer, const char *frame, size_t header, size_t len)
{
    hub_str_t body = hub_str_n(frame + header, len);
    unsigned opcode = (unsigned char)*frame & 0xf;

    if (opcode != HUB__OP_TEXT && opcode != HUB__OP_BINARY)
        return true; /* control frames say nothing here */
    if (hub__buffer_try_reserve(answer, 6 * len + 4) == NULL)
        return false;
    if (answer->len != 0)
        answer->base[answer->len++] = ',';
    if (opcode == HUB__OP_TEXT)
        hub__buffer_json_string(answer, body);
    else
        append_bytes(answer, body);
    return true;
}

/* Takes what fits into one answer off the outbox; the first message fits always. */
static void take_messages(hub_conn_t *conn, hub__buffer_t *answer)
{
    size_t limit = limits_of(conn)->longpoll_answer_bytes, taken = 0;
    hub_stats_t *stats = &hub__conn_worker(conn)->stats;
    bool full = false;

    for (uint32_t i = 0; i != hub__outbox_len(&conn->outbox) && !full; ++i) {
        const hub__range_t *range = hub__outbox_at(&conn->outbox, i);

        for (uint32_t at = range->start; at != range->end && !full;) {
            size_t len, header = hub__frame_split(range->run->base + at, &len);
            size_t before = answer->len;

            full = !append_message(answer, range->run->base + at, header, len) ||
                   (before != 0 && answer->len > limit);
            if (full) {
                answer->len = before;
                break;
            }
            at += (uint32_t)(header + len);
            taken += header + len;
        }
    }
    if (full && answer->len == 0)
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
    HUB__STAT_ADD(stats, bytes_out_total, taken);
    HUB__STAT_SUB(stats, outbox_bytes, taken);
    hub__outbox_consume(&conn->outbox, taken, hub__conn_on_sent, conn);
}

/* With what it has; `status` where that is nothing. */
static void return_poll(hub__longpoll_t *self, uint16_t status)
{
    hub__exchange_t *poll = self->poll;

    self->poll = NULL;
    poll->status = poll->messages.len != 0 ? 200 : status;
    hub__exchange_return(poll);
}

static void answer_poll(hub_conn_t *conn)
{
    take_messages(conn, &conn->longpoll->poll->messages);
    return_poll(conn->longpoll, conn->state == HUB__CONN_OPEN ? 204 : 410);
    join_idle(conn->longpoll);
}

static void answer_held(hub__longpoll_t *self)
{
    hub__exchange_t *held = self->held;

    self->held = NULL;
    if (held != NULL)
        hub__exchange_return(held);
}

/* ---- the transport ---- */

static void flush(hub_conn_t *conn)
{
    hub__longpoll_t *self = conn->longpoll;

    if (self->poll != NULL &&
        (!hub__outbox_is_empty(&conn->outbox) || self->poll->messages.len != 0))
        answer_poll(conn);
    if (hub__slow_refill(conn))
        hub__outbox_compact(&conn->outbox);
    else if (conn->state != HUB__CONN_OPEN)
        hub__conn_destroy(conn);
}

/* The answer leaves at the end of the turn; what it takes along makes room. */
static void relieve(hub_conn_t *conn)
{
    if (conn->longpoll->poll != NULL)
        take_messages(conn, &conn->longpoll->poll->messages);
}

static void pause_reading(hub_conn_t *conn, bool paused)
{
    (void)conn, (void)paused; /* there is nothing to read: the answer of a post is held back */
}

/* What is queued goes out with the poll that waits, or with those that come within close_ms. Then
 * there is no such connection, which is all that a client is told: codes and reasons have no place
 * here. */
static void close_session(hub_conn_t *conn, unsigned code, hub_str_t reason)
{
    hub__longpoll_t *self = conn->longpoll;
    bool nobody_comes = conn->close_why == HUB_DISCONNECT_IDLE || hub__conn_worker(conn)->stopping;

    (void)code, (void)reason;
    leave_idle(self);
    answer_held(self);
    if (self->poll != NULL)
        answer_poll(conn);
    if (hub__outbox_is_empty(&conn->outbox) || nobody_comes)
        hub__conn_destroy(conn);
}

static void ping(hub_conn_t *conn)
{
    (void)conn;
}

static void dispose(hub_conn_t *conn)
{
    hub__longpoll_t *self = conn->longpoll;

    answer_held(self);
    if (self->poll != NULL)
        return_poll(self, 410);
    hub__longpoll_destroy(self);
}

static hub_str_t peer(const hub_conn_t *conn)
{
    return hub_str(conn->longpoll->peer);
}

static uint64_t poll_due_at(const hub_conn_t *conn)
{
    const hub__longpoll_t *self = conn->longpoll;
    size_t window_ms = limits_of(conn)->longpoll_window_ms;

    return self->since_ms + (self->poll != NULL ? window_ms : window_ms + window_ms / 2);
}

static uint64_t due_at(const hub_conn_t *conn)
{
    uint64_t due = poll_due_at(conn), held;

    if (conn->longpoll->held == NULL)
        return due;
    held = hub__conn_readable_at(conn);
    return held < due ? held : due;
}

static void on_due(hub_conn_t *conn, uint64_t now_ms)
{
    if (conn->longpoll->held != NULL && now_ms >= hub__conn_readable_at(conn))
        answer_held(conn->longpoll);
    if (now_ms < poll_due_at(conn))
        return;
    if (conn->longpoll->poll != NULL)
        answer_poll(conn);
    else
        hub__conn_want_close(conn, HUB_DISCONNECT_IDLE, 1001, HUB_STR("not polled"));
}

const hub__transport_t hub__longpoll = {
    .name = "longpoll",
    .flush = flush,
    .relieve = relieve,
    .pause = pause_reading,
    .close = close_session,
    .ping = ping,
    .dispose = dispose,
    .peer = peer,
    .due_at = due_at,
    .on_due = on_due,
};

hub__longpoll_t *hub__longpoll_create(hub__seat_t *seat, const char *peer_text,
                                      hub__resident_t *resident)
{
    hub__longpoll_t *self = hub__peer_alloc_zeroed(sizeof(*self) + strlen(peer_text) + 1);

    if (self == NULL)
        return NULL;
    self->seat = seat;
    self->since_ms = seat->worker->now_ms;
    self->resident = resident;
    strcpy(self->peer, peer_text);
    HUB__STAT(&seat->worker->stats, longpoll_conns);
    return self;
}

void hub__longpoll_destroy(hub__longpoll_t *self)
{
    leave_idle(self);
    HUB__STAT_SUB(&self->seat->worker->stats, longpoll_conns, 1);
    hub__census_leave(self->resident);
    hub__peer_free(self);
}

void hub__longpoll_start(hub_conn_t *conn)
{
    conn->longpoll->conn = conn;
    join_idle(conn->longpoll);
}

/* ---- what a client asks for ---- */

/* The older one of two polls is somebody who has given up on it. */
static void on_poll(hub_conn_t *conn, hub__exchange_t *exchange)
{
    hub__longpoll_t *self = conn->longpoll;

    HUB__STAT(&hub__conn_worker(conn)->stats, longpoll_polls_total);
    if (self->poll != NULL)
        return_poll(self, 204);
    leave_idle(self);
    self->poll = exchange;
    self->since_ms = hub__conn_worker(conn)->now_ms;
    if (!hub__outbox_is_empty(&conn->outbox))
        hub__conn_want_flush(conn);
    hub__conn_rearm(conn);
}

static void on_cancel(hub_conn_t *conn, hub__exchange_t *exchange)
{
    hub__longpoll_t *self = conn->longpoll;

    if (self->poll == NULL || self->poll->serial != exchange->serial ||
        self->poll->from != exchange->from)
        return;
    hub__exchange_destroy(self->poll);
    self->poll = NULL;
    join_idle(self);
    hub__conn_rearm(conn);
}

/* One message. What is wrong with it ends the connection as it would end a websocket. */
static void take(hub_conn_t *conn, hub_str_t bytes, bool binary)
{
    if (bytes.len > limits_of(conn)->message_bytes)
        hub__conn_want_close(conn, HUB_DISCONNECT_TOO_LARGE, 1009, HUB_STR("message too large"));
    else if (!binary && !hub_utf8_valid(bytes))
        hub__conn_want_close(conn, HUB_DISCONNECT_PROTOCOL, 1007, HUB_STR("text is not UTF-8"));
    else
        hub__conn_message(conn, bytes, binary);
}

static void take_base64(hub_conn_t *conn, hub_str_t line)
{
    size_t len, room = line.len / 4 * 3 + 3;
    unsigned char *bytes = malloc(room);

    if (bytes == NULL)
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
    else if (!hub__str_is_ascii(line) ||
             sodium_base642bin(bytes, room, line.base, line.len, NULL, &len, NULL,
                               sodium_base64_VARIANT_ORIGINAL) != 0)
        hub__conn_want_close(conn, HUB_DISCONNECT_PROTOCOL, 1007, HUB_STR("line is not base64"));
    else
        take(conn, hub_str_n((const char *)bytes, len), true);
    free(bytes);
}

/* The next line without its end; empty ones are skipped. False: there is none. */
static bool next_line(hub_str_t *rest, hub_str_t *ret_line)
{
    while (rest->len != 0) {
        const char *end = memchr(rest->base, '\n', rest->len);
        hub_str_t line =
            hub_str_n(rest->base, end != NULL ? (size_t)(end - rest->base) : rest->len);
        size_t used = line.len + (end != NULL);

        rest->base += used;
        rest->len -= used;
        if (line.len != 0 && line.base[line.len - 1] == '\r')
            --line.len;
        if (line.len != 0) {
            *ret_line = line;
            return true;
        }
    }
    return false;
}

static size_t count_lines(hub_str_t body)
{
    hub_str_t line;
    size_t count = 0;

    while (next_line(&body, &line))
        ++count;
    return count;
}

/* 0, or the status of a refusal: then nothing was taken. */
static uint16_t take_lines(hub_conn_t *conn, hub_str_t body)
{
    hub_str_t line;

    if (conn->session.dialect->index != HUB__DIALECT_PHOENIX2)
        return 400;
    if (count_lines(body) > LINES_MAX)
        return 413;
    while (hub__conn_is_open(conn) && next_line(&body, &line))
        if (line.base[0] == '[')
            take(conn, line, false);
        else
            take_base64(conn, line);
    return 0;
}

/* A close that the program asked for is none of the client's faults: its message was taken. */
static uint16_t status_of(const hub_conn_t *conn)
{
    if (hub__conn_is_open(conn))
        return 200;
    switch (conn->close_why) {
    case HUB_DISCONNECT_PROTOCOL:
    case HUB_DISCONNECT_LIMIT:
        return 400;
    case HUB_DISCONNECT_TOO_LARGE:
        return 413;
    case HUB_DISCONNECT_ERROR:
        return 500;
    default:
        return 200;
    }
}

static void on_send(hub_conn_t *conn, hub__exchange_t *exchange)
{
    hub_stats_t *stats = &hub__conn_worker(conn)->stats;
    hub_str_t body = hub_str_n(exchange->body, exchange->body_len);

    HUB__STAT(stats, longpoll_posts_total);
    exchange->status = HUB__EXCHANGE_UNKNOWN;
    if (conn->longpoll->held != NULL) { /* its client was to wait */
        HUB__STAT(stats, longpoll_refused_total);
        exchange->status = 429;
    } else if (hub__conn_is_open(conn)) {
        HUB__STAT_ADD(stats, bytes_in_total, body.len);
        hub__conn_seen(conn);
        if (exchange->ndjson) {
            exchange->status = take_lines(conn, body);
        } else {
            take(conn, body, false);
            exchange->status = 0;
        }
        if (exchange->status == 0)
            exchange->status = status_of(conn);
        if (hub__conn_charge(conn, body.len) && hub__conn_is_open(conn)) {
            conn->longpoll->held = exchange;
            hub__conn_rearm(conn);
            return;
        }
    }
    hub__exchange_return(exchange);
}

void hub__longpoll_serve(hub_conn_t *conn, hub__exchange_t *exchange)
{
    switch ((hub__exchange_kind_t)exchange->kind) {
    case HUB__EXCHANGE_POLL:
        on_poll(conn, exchange);
        break;
    case HUB__EXCHANGE_SEND:
        on_send(conn, exchange);
        break;
    case HUB__EXCHANGE_CANCEL:
        on_cancel(conn, exchange);
        hub__exchange_destroy(exchange);
        break;
    }
}
