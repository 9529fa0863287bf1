/* bus/postgres_link.h - private: one connection to PostgreSQL on the thread of its owner, so that
 * nothing a server does or leaves undone can hold that thread.
 *
 * libpq is asked for nothing that waits: who waits is hub__postgres_await(), for the server, for
 * the courier, and never past a deadline. A function that returns false has filled `error`; the
 * connection is then only good for hub__postgres_link_close(). */
#pragma once

#include <libpq-fe.h>

#include "bus/courier.h"

typedef struct hub__postgres_link {
    const char *use;      /* for errors: "listen" */
    PGconn *conn;         /* NULL: none */
    bool busy;            /* an answer is to come */
    bool unsent;          /* something waits for the socket to take it */
    uint64_t moved_ms;    /* when it became busy, or a byte went either way since */
    char last_words[160]; /* what the server said when it ended the session; empty: nothing */
} hub__postgres_link_t;

/* Until the descriptor is ready for `events`. False: the deadline is past, or the courier is to
 * stop (HUB_ECANCELLED). */
bool hub__postgres_await(const char *use, hub__courier_t *courier, int fd, short events,
                         uint64_t deadline_ms, short *ret_revents, hub_error_t *error);
/* `names` and `values` as of PQconnectStartParams(). No statement waits longer than `lock_ms` for a
 * lock of somebody else. */
bool hub__postgres_link_open(hub__postgres_link_t *link, hub__courier_t *courier,
                             const char *const *names, const char *const *values, unsigned lock_ms,
                             uint64_t deadline_ms, hub_error_t *error);
/* Runs `sql`, many statements perhaps, waiting for its end. The result of the last one is owned by
 * the caller (PQclear); NULL: it failed. */
PGresult *hub__postgres_link_ask(hub__postgres_link_t *link, hub__courier_t *courier,
                                 const char *sql, uint64_t deadline_ms, hub_error_t *error);
/* Says goodbye, if the socket takes that at once. */
void hub__postgres_link_close(hub__postgres_link_t *link);

/* ---- while it is used without waiting ---- */

/* A query was handed to libpq: `taken` is what that returned. */
bool hub__postgres_link_sent(hub__postgres_link_t *link, bool taken, hub_error_t *error);
/* What poll() shall wait for. */
short hub__postgres_link_events(const hub__postgres_link_t *link);
/* Reads and writes what can be, after poll(). */
bool hub__postgres_link_move(hub__postgres_link_t *link, short revents, hub_error_t *error);
/* What is wrong: SQLSTATE and text of `result`, or of the connection where that is NULL. Returns
 * false. */
bool hub__postgres_link_fail(const hub__postgres_link_t *link, const PGresult *result,
                             hub_error_t *error);
