/* SPDX-License-Identifier: MIT */
/* libpq's asynchronous half, made safe to wait for. */
#include "bus/postgres_link.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* What must not depend on who set what for this role or database:
 * - Names are found in pg_catalog alone, else anybody's better fitting function would be called.
 * - Nobody's isolation but this makes messages fail that another session read about.
 * - Plans are made while the table is next to empty, and kept when it is not: so never one that
 *   reads all of it.
 * - Who waits for a lock does not notice that we are gone, and sessions pile up behind it. */
static const char session_sql[] = "SET search_path = pg_catalog, pg_temp;"
                                  "SET default_transaction_isolation = 'read committed';"
                                  "SET enable_seqscan = off; SET enable_bitmapscan = off;"
                                  "SET jit = off;"
                                  "SET plan_cache_mode = force_generic_plan;"
                                  "SET lock_timeout = %u";

/* The first line says it all; the others name lines of the server's source, and hints. */
static int first_line(const char *text)
{
    return text == NULL ? 0 : (int)strcspn(text, "\n");
}

bool hub__postgres_link_fail(const hub__postgres_link_t *link, const PGresult *result,
                             hub_error_t *error)
{
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (text == NULL && link->last_words[0] != '\0')
        text = link->last_words;
    if (text == NULL)
        text = link->conn == NULL ? "no memory" : PQerrorMessage(link->conn);
    if (text[0] == '\0')
        text = "an answer that fits no question";
    hub_error_set(error, HUB_ESYSTEM, 0, "%s: %s%s%.*s", link->use, state == NULL ? "" : state,
                  state == NULL ? "" : " ", first_line(text), text);
    return false;
}

/* What the server says without having been asked. */
static void on_notice(void *user, const PGresult *result)
{
    hub__postgres_link_t *link = user;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (severity == NULL || state == NULL || text == NULL ||
        (strcmp(severity, "FATAL") != 0 && strcmp(severity, "PANIC") != 0))
        return;
    snprintf(link->last_words, sizeof(link->last_words), "%s %s", state, text);
}

bool hub__postgres_await(const char *use, hub__courier_t *courier, int fd, short events,
                         uint64_t deadline_ms, short *ret_revents, hub_error_t *error)
{
    for (;;) {
        uint64_t now = hub__courier_now_ms();

        if (now >= deadline_ms) {
            hub_error_set(error, HUB_ETIMEOUT, 0, "%s: no answer in time", use);
            return false;
        }
        *ret_revents = (short)hub__courier_wait(courier, fd, events, (int)(deadline_ms - now));
        if (*ret_revents != 0)
            return true;
        if (hub__courier_take(courier).stop) { /* it is not open, so there are no orders */
            hub_error_set(error, HUB_ECANCELLED, 0, "%s: the bus is closed", use);
            return false;
        }
    }
}

static bool await(hub__postgres_link_t *link, hub__courier_t *courier, short events,
                  uint64_t deadline_ms, short *ret_revents, hub_error_t *error)
{
    return hub__postgres_await(link->use, courier, PQsocket(link->conn), events, deadline_ms,
                               ret_revents, error);
}

static bool flush(hub__postgres_link_t *link, hub_error_t *error)
{
    int left = PQflush(link->conn);

    if (left < 0)
        return hub__postgres_link_fail(link, NULL, error);
    link->unsent = left > 0;
    return true;
}

bool hub__postgres_link_sent(hub__postgres_link_t *link, bool taken, hub_error_t *error)
{
    if (!taken)
        return hub__postgres_link_fail(link, NULL, error);
    if (!link->busy)
        link->moved_ms = hub__courier_now_ms();
    link->busy = true;
    return flush(link, error);
}

short hub__postgres_link_events(const hub__postgres_link_t *link)
{
    return link->unsent ? POLLIN | POLLOUT : POLLIN;
}

bool hub__postgres_link_move(hub__postgres_link_t *link, short revents, hub_error_t *error)
{
    link->moved_ms = hub__courier_now_ms();
    if ((revents & ~POLLOUT) != 0) {
        if (!PQconsumeInput(link->conn)) {
            PQfreemem(PQnotifies(link->conn)); /* reads what came before the end */
            return hub__postgres_link_fail(link, NULL, error);
        }
    }
    return !link->unsent || flush(link, error);
}

/* Takes what has come; `ret_last` is the last result. An answer of COPY would come for ever. */
static bool collect(hub__postgres_link_t *link, bool *ret_all, PGresult **ret_last,
                    hub_error_t *error)
{
    while (!*ret_all && !PQisBusy(link->conn)) {
        PGresult *result = PQgetResult(link->conn);

        *ret_all = result == NULL;
        if (result == NULL)
            break;
        PQclear(*ret_last);
        *ret_last = result;
        if (PQresultStatus(result) == PGRES_COPY_IN || PQresultStatus(result) == PGRES_COPY_OUT ||
            PQresultStatus(result) == PGRES_COPY_BOTH)
            return hub__postgres_link_fail(link, result, error);
    }
    return true;
}

PGresult *hub__postgres_link_ask(hub__postgres_link_t *link, hub__courier_t *courier,
                                 const char *sql, uint64_t deadline_ms, hub_error_t *error)
{
    PGresult *last = NULL;
    bool good = hub__postgres_link_sent(link, PQsendQuery(link->conn, sql), error), all = false;
    short revents;

    while (good && (good = collect(link, &all, &last, error)) && !all) {
        good =
            await(link, courier, hub__postgres_link_events(link), deadline_ms, &revents, error) &&
            hub__postgres_link_move(link, revents, error);
    }
    link->busy = false;
    if (good && PQresultStatus(last) != PGRES_COMMAND_OK && PQresultStatus(last) != PGRES_TUPLES_OK)
        good = hub__postgres_link_fail(link, last, error);
    if (good)
        return last;
    PQclear(last);
    return NULL;
}

static bool connect_polled(hub__postgres_link_t *link, hub__courier_t *courier,
                           uint64_t deadline_ms, hub_error_t *error)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    short revents;

    while (status != PGRES_POLLING_OK) {
        if (status == PGRES_POLLING_FAILED)
            return hub__postgres_link_fail(link, NULL, error);
        if (!await(link, courier, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms,
                   &revents, error))
            return false;
        status = PQconnectPoll(link->conn);
    }
    return true;
}

static bool set_session(hub__postgres_link_t *link, hub__courier_t *courier, unsigned lock_ms,
                        uint64_t deadline_ms, hub_error_t *error)
{
    char sql[sizeof(session_sql) + 16];
    PGresult *result;

    snprintf(sql, sizeof(sql), session_sql, lock_ms);
    result = hub__postgres_link_ask(link, courier, sql, deadline_ms, error);
    PQclear(result);
    return result != NULL;
}

bool hub__postgres_link_open(hub__postgres_link_t *link, hub__courier_t *courier,
                             const char *const *names, const char *const *values, unsigned lock_ms,
                             uint64_t deadline_ms, hub_error_t *error)
{
    *link = (hub__postgres_link_t){.use = link->use};
    link->conn = PQconnectStartParams(names, values, 0);
    if (link->conn == NULL || PQstatus(link->conn) == CONNECTION_BAD)
        return hub__postgres_link_fail(link, NULL, error);
    PQsetNoticeReceiver(link->conn, on_notice, link);  /* libpq's would write to stderr */
    PQsetErrorVerbosity(link->conn, PQERRORS_VERBOSE); /* with the SQLSTATE */
    if (!connect_polled(link, courier, deadline_ms, error))
        return false;
    if (PQsetnonblocking(link->conn, 1) != 0)
        return hub__postgres_link_fail(link, NULL, error);
    return set_session(link, courier, lock_ms, deadline_ms, error);
}

void hub__postgres_link_close(hub__postgres_link_t *link)
{
    PQfinish(link->conn);
    *link = (hub__postgres_link_t){.use = link->use};
}
