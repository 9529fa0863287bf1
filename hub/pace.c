/* SPDX-License-Identifier: MIT */
/* How much a client may say: what becomes of one that is over its rates. Messages and joins are
 * refused, and messages without end close; control frames close at once, since nobody could be
 * told; for bytes nothing is refused, they wait in the kernel and then at the client. */
#include <stdlib.h>

#include "hub/internal.h"

static const hub__rates_t *rates_of(const hub_conn_t *conn)
{
    return &hub__conn_seat(conn)->host.rates;
}

static void log_once(const hub_conn_t *conn, const char *what)
{
    char id[HUB_CONN_ID_TEXT];

    hub_log_peer(HUB_LOG_WARN, "conn.over_rate", "conn=%s what=%s",
                 hub_conn_id_format(hub_conn_id(conn), id), what);
}

static void count(hub_conn_t *conn, bool of_join)
{
    hub_stats_t *stats = &hub__conn_worker(conn)->stats;

    if (of_join)
        HUB__STAT(stats, rate_joins_refused_total);
    else
        HUB__STAT(stats, rate_messages_refused_total);
}

void hub__conn_over_rate(hub_conn_t *conn, bool of_join)
{
    hub__conn_extra_t *extra = hub__conn_extra(conn);
    hub__over_verdict_t verdict;

    count(conn, of_join);
    if (extra == NULL) {
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
        return;
    }
    verdict = hub__over_add(&extra->over[of_join], hub__conn_worker(conn)->now_ms);
    if (verdict == HUB__OVER_BEGINS)
        log_once(conn, of_join ? "joins" : "messages");
    /* a raw route has no word for a refusal, and a message must not be lost without one */
    if (hub__conn_root(conn) == NULL || (verdict == HUB__OVER_TOO_LONG && !of_join))
        hub__conn_want_close(conn, HUB_DISCONNECT_LIMIT, 1008, HUB_STR("too many messages"));
}

bool hub__conn_take_control(hub_conn_t *conn)
{
    if (hub__rate_take(&conn->session.debts.controls, &rates_of(conn)->controls))
        return true;
    HUB__STAT(&hub__conn_worker(conn)->stats, rate_controls_closed_total);
    log_once(conn, "controls");
    hub__conn_want_close(conn, HUB_DISCONNECT_LIMIT, 1008, HUB_STR("too many control frames"));
    return false;
}

void hub__conn_expect_control(hub_conn_t *conn)
{
    hub__rate_credit(&conn->session.debts.controls, &rates_of(conn)->controls);
}

static uint32_t wait_of(const hub_conn_t *conn)
{
    return hub__rate_wait_ms(conn->session.debts.bytes, &rates_of(conn)->bytes, 0);
}

uint64_t hub__conn_readable_at(const hub_conn_t *conn)
{
    uint64_t now_ms = hub__conn_worker(conn)->now_ms;

    return now_ms - (uint32_t)((uint32_t)now_ms - conn->last_seen) + wait_of(conn);
}

bool hub__conn_charge(hub_conn_t *conn, size_t bytes)
{
    hub__rate_charge(&conn->session.debts.bytes, &rates_of(conn)->bytes, bytes);
    if (wait_of(conn) == 0)
        return false;
    HUB__STAT(&hub__conn_worker(conn)->stats, read_pauses_total);
    return true;
}

/* Of the two that have something to pause. */
static const hub__transport_t *transport_of(const hub_conn_t *conn)
{
    return conn->is_tls ? &hub__websocket_tls : &hub__websocket;
}

void hub__conn_pace(hub_conn_t *conn, size_t bytes)
{
    if (!hub__conn_is_open(conn) || conn->paused || !hub__conn_charge(conn, bytes))
        return;
    conn->paused = true;
    transport_of(conn)->pause(conn, true);
    hub__conn_rearm(conn);
}

/* What it could not say meanwhile is not held against it. */
void hub__conn_resume(hub_conn_t *conn)
{
    if (!conn->paused)
        return;
    conn->paused = false;
    hub__conn_seen(conn);
    if (conn->unfinished)
        hub__frame_reader_stamp(&conn->reader, conn->last_seen);
    transport_of(conn)->pause(conn, false);
}
