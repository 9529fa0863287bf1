/* SPDX-License-Identifier: MIT */
/* What was agreed on with clients that offered permessage-deflate, carried out: frames are made as
 * for everybody and then replaced by shorter ones, messages are inflated before anybody sees them.
 * The streams are the worker's, made for the first connection that needs them. */
#include "hub/internal.h"

#define KEPT_BYTES (64u * 1024) /* of a buffer, from one message to the next */
#define OVER_RATE_BYTES 4096u   /* of a message that is only to be refused */

static void trim(hub__buffer_t *buffer)
{
    if (buffer->capacity > KEPT_BYTES)
        hub__buffer_dispose(buffer);
}

void hub__conn_deflate(const hub_conn_t *conn, hub__run_t *run, uint32_t start)
{
    const hub_deflate_options_t *options = &hub__conn_seat(conn)->endpoint->options.deflate;
    hub__worker_t *worker = hub__conn_worker(conn);
    char *frame = run->base + start, *deflated;
    size_t before, after, header;

    if (conn->window == HUB__WINDOW_NONE)
        return;
    header = hub__frame_split(frame, &before);
    if (before < options->min_bytes ||
        (deflated = hub__buffer_try_reserve(&worker->deflated, before)) == NULL)
        return;
    after = hub__deflate(&worker->deflater, conn->window, (int)options->level,
                         hub_str_n(frame + header, before), deflated);
    if (after != 0) {
        header = hub__frame_header(frame, (unsigned char)*frame | HUB__FRAME_RSV1, after);
        memcpy(frame + header, deflated, after);
        run->len = start + (uint32_t)(header + after);
    }
    HUB__STAT(&worker->stats, deflates_total);
    HUB__STAT_ADD(&worker->stats, deflate_bytes_in_total, before);
    HUB__STAT_ADD(&worker->stats, deflate_bytes_out_total, after != 0 ? after : before);
    trim(&worker->deflated);
}

/* NULL: no memory. */
static hub__inflater_t *inflater_of(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    if (conn->context_bits != 0) {
        if (conn->extra->inflater == NULL)
            conn->extra->inflater = hub__inflater_create(conn->context_bits);
        return conn->extra->inflater;
    }
    if (worker->inflater == NULL)
        worker->inflater = hub__inflater_create(HUB__WINDOW_BITS_MAX);
    else
        hub__inflater_forget(worker->inflater);
    return worker->inflater;
}

/* Who is over the rate of messages is told so, which takes reading the message; but a read can hold
 * a thousand that become the largest each. */
static bool is_over_rate(const hub_conn_t *conn)
{
    return hub__rate_wait_ms(conn->session.debts.messages,
                             &hub__conn_seat(conn)->host.rates.messages, 1) != 0;
}

/* What a message has become counts as said: it is as much work as if it had come like that. */
static void charge(hub_conn_t *conn, size_t before, size_t after)
{
    if (after > before)
        hub__rate_charge(&conn->session.debts.bytes, &hub__conn_seat(conn)->host.rates.bytes,
                         after - before);
}

static void close_bad(hub_conn_t *conn, hub_status_t err)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    char peer[HUB_LOG_FIELD];

    HUB__STAT(&worker->stats, inflates_bad_total);
    hub__source_is_conn(conn);
    hub_log_peer(HUB_LOG_WARN, "conn.inflate", "error=\"%s\" peer=%s", hub_status_text(err),
                 hub_log_escape(hub_conn_peer(conn), peer));
    hub__source_set(NULL, NULL);
    if (err == HUB_ETOOLARGE)
        hub__conn_want_close(conn, HUB_DISCONNECT_TOO_LARGE, 1009, HUB_STR("message too big"));
    else if (err == HUB_ENOMEM)
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
    else
        hub__conn_want_close(conn, HUB_DISCONNECT_PROTOCOL, 1007,
                             err == HUB_EUTF8 ? HUB_STR("text is not UTF-8")
                                              : HUB_STR("bad compressed data"));
}

void hub__conn_inflate(hub_conn_t *conn, hub_str_t payload, bool binary)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    hub__inflater_t *inflater = inflater_of(conn);
    size_t limit = hub__conn_limits(conn)->message_bytes;
    bool reduced = limit > OVER_RATE_BYTES && is_over_rate(conn);
    hub_status_t err = HUB_ENOMEM;

    HUB__STAT(&worker->stats, inflates_total);
    HUB__STAT_ADD(&worker->stats, inflate_bytes_in_total, payload.len);
    if (inflater != NULL)
        err = hub__inflate(inflater, payload, !binary, reduced ? OVER_RATE_BYTES : limit,
                           &worker->inflated);
    HUB__STAT_ADD(&worker->stats, inflate_bytes_out_total, worker->inflated.len);
    charge(conn, payload.len, worker->inflated.len);
    if (err == HUB_OK) {
        hub__conn_message(conn, hub__buffer_str(&worker->inflated), binary);
    } else if (err == HUB_ETOOLARGE && reduced) {
        hub__conn_over_rate(conn, false);
        hub__conn_want_close(conn, HUB_DISCONNECT_LIMIT, 1008, HUB_STR("too many messages"));
    } else {
        close_bad(conn, err);
    }
    trim(&worker->inflated);
}

void hub__compression_dispose(hub__worker_t *worker)
{
    hub__deflater_dispose(&worker->deflater);
    hub__inflater_destroy(worker->inflater);
    worker->inflater = NULL;
    hub__buffer_dispose(&worker->deflated);
    hub__buffer_dispose(&worker->inflated);
}
