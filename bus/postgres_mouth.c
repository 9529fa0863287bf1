/* SPDX-License-Identifier: MIT */
/* In libpq's pipeline mode: all of a batch is sent before its first answer is read, and a batch
 * ends with a sync. The next one begins behind its answer, and is made of what came meanwhile: the
 * slower the server, the larger the transactions. */
#include "bus/postgres_mouth.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus/log.h"

#define BATCH_MAX 256
#define BATCH_BYTES_MAX (4u * 1024 * 1024) /* but for a single larger one */
#define CLEAR_ROWS "500"
#define CLEAR_ROWS_MAX 500
#define CLEAR_ALL_ROUNDS 256
#define CLEARS_PER_KEEP 4 /* so rows are at most a quarter older than they should be */

/* Who holds the lock clears; the others have nothing to do then. All learn which row is the first,
 * and begin there the next time: while somebody's transaction is old, the server has to pass over
 * every row that was deleted since that began, and publishes wait for that. */
static const char prepare_sql[] =
    "SET synchronous_commit = off;"
    "PREPARE sockethub_publish (text, bytea) AS SELECT sockethub.publish($1, $2);"
    "PREPARE sockethub_clear (bigint, bigint) AS"
    " WITH held AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(8317976349691373686) AS held),"
    " oldest AS MATERIALIZED (SELECT ctid, id, created FROM sockethub.messages WHERE id > $2"
    " ORDER BY id LIMIT " CLEAR_ROWS "),"
    " gone AS (DELETE FROM sockethub.messages WHERE ctid = ANY (ARRAY(SELECT ctid FROM oldest"
    " WHERE created < now() - $1 * interval '1 second' AND (SELECT held FROM held)))"
    " RETURNING id)"
    " SELECT count(*), (SELECT min(id) FROM oldest) FROM gone";

/* All of `from` before all of `to`. */
static void orders_put_back(hub__orders_t *from, hub__orders_t *to)
{
    if (from->first == NULL)
        return;
    *from->last = to->first;
    if (to->first == NULL)
        to->last = from->last;
    to->first = from->first;
    hub__orders_init(from);
}

bool hub__postgres_mouth_prepare(hub__postgres_mouth_t *mouth, hub__courier_t *courier,
                                 uint64_t deadline_ms, hub_error_t *error)
{
    PGresult *result;

    hub__orders_init(&mouth->waiting);
    hub__orders_init(&mouth->sent);
    mouth->most = BATCH_MAX;
    if (!hub__postgres_schema_check(&mouth->link, courier, deadline_ms, &mouth->clears, error))
        return false;
    result = hub__postgres_link_ask(&mouth->link, courier, prepare_sql, deadline_ms, error);
    PQclear(result);
    if (result == NULL)
        return false;
    if (!PQenterPipelineMode(mouth->link.conn))
        return hub__postgres_link_fail(&mouth->link, NULL, error);
    mouth->clear_ms = hub__courier_now_ms();
    if (!mouth->clears)
        hub_log_peer(HUB_LOG_WARN, "bus.not_cleared",
                     "backend=postgres what=\"the role may not DELETE from sockethub.messages\"");
    return true;
}

void hub__postgres_mouth_take(hub__postgres_mouth_t *mouth, hub__order_t *order)
{
    hub__orders_append(&mouth->waiting, order);
}

/* ---- out ---- */

static bool send_plain(PGconn *conn, const char *sql)
{
    return PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0);
}

static bool send_order(PGconn *conn, const hub__order_t *order)
{
    const char *values[] = {order->topic.base, order->bytes.base};
    int sizes[] = {0, (int)order->bytes.len};
    static const int formats[] = {0, 1};

    return PQsendQueryPrepared(conn, "sockethub_publish", 2, values, sizes, formats, 1);
}

static bool publish(hub__postgres_mouth_t *mouth, hub_error_t *error)
{
    PGconn *conn = mouth->link.conn;
    size_t bytes = 0;
    bool taken = send_plain(conn, "BEGIN");

    mouth->sent_count = 0;
    while (taken && mouth->waiting.first != NULL && mouth->sent_count < mouth->most &&
           (bytes == 0 || bytes + mouth->waiting.first->bytes.len <= BATCH_BYTES_MAX)) {
        hub__order_t *order = hub__orders_take(&mouth->waiting);

        bytes += order->bytes.len + order->topic.len;
        mouth->sent_count++;
        hub__orders_append(&mouth->sent, order);
        taken = send_order(conn, order);
    }
    mouth->doing = HUB__MOUTH_PUBLISHING;
    taken = taken && send_plain(conn, "COMMIT") && PQpipelineSync(conn);
    return hub__postgres_link_sent(&mouth->link, taken, error);
}

static bool undo(hub__postgres_mouth_t *mouth, hub_error_t *error)
{
    PGconn *conn = mouth->link.conn;

    mouth->doing = HUB__MOUTH_UNDOING;
    return hub__postgres_link_sent(&mouth->link,
                                   send_plain(conn, "ROLLBACK") && PQpipelineSync(conn), error);
}

static bool clear(hub__postgres_mouth_t *mouth, hub_error_t *error)
{
    char seconds[16], from[24];
    const char *values[] = {seconds, from};
    PGconn *conn = mouth->link.conn;
    bool taken;

    if (mouth->clear_ms != 0 && mouth->clear_round++ % CLEAR_ALL_ROUNDS == 0)
        mouth->clear_from = 0; /* a transaction that was long may have left a row behind */
    snprintf(seconds, sizeof(seconds), "%u", mouth->keep_seconds);
    snprintf(from, sizeof(from), "%lld", (long long)mouth->clear_from);
    mouth->clear_ms =
        hub__courier_now_ms() + (uint64_t)mouth->keep_seconds * 1000 / CLEARS_PER_KEEP;
    mouth->doing = HUB__MOUTH_CLEARING;
    taken = PQsendQueryPrepared(conn, "sockethub_clear", 2, values, NULL, NULL, 0) &&
            PQpipelineSync(conn);
    return hub__postgres_link_sent(&mouth->link, taken, error);
}

/* ---- answers ---- */

/* What concerns the message alone, or passes by: a row or a size that the server does not take
 * (classes 22, 23, 54), no room (53), another's transaction (40), a time limit (57014), a trigger
 * of somebody's (P0). All else, such as a missing table or privilege, or a lock that is not given
 * up (55P03), concerns all that follow. */
static bool is_refusal(const char *state)
{
    static const char *const classes[] = {"22", "23", "40", "53", "54", "P0"};

    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if (strncmp(state, classes[i], 2) == 0)
            return true;
    }
    return strcmp(state, "57014") == 0;
}

static bool take_error(hub__postgres_mouth_t *mouth, const PGresult *result, hub_error_t *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    hub__postgres_link_fail(&mouth->link, result, error);
    if (state == NULL || !is_refusal(state))
        return false;
    mouth->refused = true;
    mouth->why = *error;
    return true;
}

static void answer(hub__postgres_mouth_t *mouth, hub_status_t status)
{
    hub__order_t *order;

    if (status == HUB_OK && mouth->most < BATCH_MAX)
        mouth->most *= 2;
    while ((order = hub__orders_take(&mouth->sent)) != NULL) {
        hub_bus_remote_published(mouth->bus, order->token, status);
        free(order);
    }
}

/* Several are tried again, in halves; one that was alone has its answer. */
static void finish_refused(hub__postgres_mouth_t *mouth)
{
    char topic[HUB_LOG_FIELD], why[HUB_LOG_FIELD];

    if (mouth->sent_count > 1) {
        mouth->most = mouth->sent_count / 2;
        orders_put_back(&mouth->sent, &mouth->waiting);
        return;
    }
    hub_log_peer(HUB_LOG_WARN, "bus.refused", "backend=postgres topic=%s what=%s",
                 hub_log_escape(mouth->sent.first->topic, topic),
                 hub_log_escape(hub_str(mouth->why.text), why));
    answer(mouth, HUB_EREJECTED);
}

/* Numbers may have begun anew where there is no row at all. */
static void take_cleared(hub__postgres_mouth_t *mouth, const PGresult *result)
{
    if (atoi(PQgetvalue(result, 0, 0)) >= CLEAR_ROWS_MAX)
        mouth->clear_ms = 0;
    mouth->clear_from =
        PQgetisnull(result, 0, 1) ? 0 : strtoll(PQgetvalue(result, 0, 1), NULL, 10) - 1;
}

static void finish_clear(hub__postgres_mouth_t *mouth)
{
    char why[HUB_LOG_FIELD];

    if (mouth->refused)
        hub_log_peer(HUB_LOG_WARN, "bus.not_cleared", "backend=postgres what=%s",
                     hub_log_escape(hub_str(mouth->why.text), why));
}

/* The sync is back. */
static bool finish(hub__postgres_mouth_t *mouth, hub_error_t *error)
{
    bool refused = mouth->refused;

    mouth->link.busy = false;
    if (mouth->doing == HUB__MOUTH_CLEARING)
        finish_clear(mouth);
    else if (mouth->doing == HUB__MOUTH_PUBLISHING && refused)
        finish_refused(mouth);
    else if (mouth->doing == HUB__MOUTH_PUBLISHING)
        answer(mouth, HUB_OK);
    mouth->refused = false;
    mouth->doing = HUB__MOUTH_IDLE;
    if (PQtransactionStatus(mouth->link.conn) == PQTRANS_INERROR)
        return undo(mouth, error);
    return true;
}

static bool take_result(hub__postgres_mouth_t *mouth, PGresult *result, hub_error_t *error)
{
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        return finish(mouth, error);
    case PGRES_TUPLES_OK:
        if (mouth->doing == HUB__MOUTH_CLEARING && PQntuples(result) == 1)
            take_cleared(mouth, result);
        return true;
    case PGRES_COMMAND_OK:
    case PGRES_PIPELINE_ABORTED:
        return true;
    default:
        return take_error(mouth, result, error);
    }
}

/* Behind the results of each command there is a NULL; two together are the end of all commands,
 * which a sync should have been before. */
static bool take_results(hub__postgres_mouth_t *mouth, hub_error_t *error)
{
    bool ended = false;

    while (mouth->doing != HUB__MOUTH_IDLE && !PQisBusy(mouth->link.conn)) {
        PGresult *result = PQgetResult(mouth->link.conn);
        bool good = result == NULL || take_result(mouth, result, error);

        PQclear(result);
        if (!good)
            return false;
        if (result == NULL && ended) {
            hub_error_set(error, HUB_EPROTOCOL, 0, "%s: answers that fit no question",
                          mouth->link.use);
            return false;
        }
        ended = result == NULL;
    }
    return true;
}

bool hub__postgres_mouth_proceed(hub__postgres_mouth_t *mouth, hub_error_t *error)
{
    bool clear_first;

    if (!take_results(mouth, error))
        return false;
    if (PQstatus(mouth->link.conn) == CONNECTION_BAD)
        return hub__postgres_link_fail(&mouth->link, NULL, error);
    if (mouth->doing != HUB__MOUTH_IDLE)
        return true;
    clear_first = mouth->clears && mouth->clear_ms <= hub__courier_now_ms();
    if (clear_first && (mouth->waiting.first == NULL || !mouth->cleared_last)) {
        mouth->cleared_last = true;
        return clear(mouth, error);
    }
    mouth->cleared_last = false;
    return mouth->waiting.first == NULL || publish(mouth, error);
}

/* ---- the end ---- */

void hub__postgres_mouth_close(hub__postgres_mouth_t *mouth)
{
    hub__postgres_link_close(&mouth->link);
    hub__orders_clear(&mouth->waiting);
    hub__orders_clear(&mouth->sent);
    *mouth = (hub__postgres_mouth_t){.link.use = mouth->link.use,
                                     .bus = mouth->bus,
                                     .keep_seconds = mouth->keep_seconds,
                                     .clear_from = mouth->clear_from,
                                     .clear_round = mouth->clear_round};
}
