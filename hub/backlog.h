/* hub/backlog.h - private: messages of one member that its connection has no room for now, and what
 * its channel's policy drops of them. Pure: no socket, no clock. Everything here belongs to one
 * worker. */
#pragma once

#include "bus/table.h"
#include "channels/channel.h"
#include "hub/outbox.h"

#define HUB__KEY_NONE UINT64_C(0) /* an ordinary message */
#define HUB__KEY_FIXED UINT64_MAX /* replies, presence: never dropped */

/* Resolved: none is zero. */
typedef struct hub__backlog_limits {
    hub_slow_policy_t policy;
    size_t bytes, messages;
    uint32_t age_ms; /* UINT32_MAX: off */
} hub__backlog_limits_t;

typedef struct hub__backlog_item {
    hub__table_node_t node; /* of those with a key, which is its hash */
    struct hub__backlog_item *next, **prev;
    hub__run_t *run; /* retained */
    uint32_t start, end;
    uint32_t since_ms;
    uint32_t missed; /* messages missing right before it */
} hub__backlog_item_t;

/* Zeroed storage is an empty one. */
typedef struct hub__backlog {
    hub__backlog_item_t *first, **last; /* last NULL: never used */
    hub__table_t keys;
    size_t bytes, fixed_bytes;
    uint32_t count, fixed_count; /* count and bytes without the fixed ones */
    uint32_t missed_first;       /* before all that wait */
    uint32_t missed_last;        /* behind all that wait */
} hub__backlog_t;

typedef enum hub__backlog_verdict {
    HUB__BACKLOG_KEPT,
    HUB__BACKLOG_DROPPED, /* the new one */
    HUB__BACKLOG_FULL,    /* and it must not be dropped: the connection is to end */
    HUB__BACKLOG_NO_MEMORY,
} hub__backlog_verdict_t;

/* Called with each message that is dropped, the new one among them. */
typedef void (*hub__backlog_drop_cb)(hub__run_t *run, void *user);

/* Adds one whole frame; a small piece of a large run is copied. What finds nothing waiting is
 * always kept, whatever its size. */
hub__backlog_verdict_t hub__backlog_add(hub__backlog_t *backlog,
                                        const hub__backlog_limits_t *limits, hub__run_t *run,
                                        uint32_t start, uint32_t end, uint64_t key, uint32_t now_ms,
                                        hub__backlog_drop_cb on_drop, void *user);
/* Drops what is older than its age, under a policy that drops the old. */
void hub__backlog_expire(hub__backlog_t *backlog, const hub__backlog_limits_t *limits,
                         uint32_t now_ms, hub__backlog_drop_cb on_drop, void *user);
/* Drops all that may be dropped. */
void hub__backlog_drop(hub__backlog_t *backlog, hub__backlog_drop_cb on_drop, void *user);
/* Takes the first one out, with the number of those missing before it; owned by the caller
 * (hub__backlog_item_free). NULL: none waits, and so many are missing at the end. */
hub__backlog_item_t *hub__backlog_next(hub__backlog_t *backlog, uint32_t *ret_missed);
void hub__backlog_item_free(hub__backlog_item_t *item);
/* Forgets everything. */
void hub__backlog_dispose(hub__backlog_t *backlog, hub__backlog_drop_cb on_drop, void *user);

static inline size_t hub__backlog_bytes(const hub__backlog_t *backlog)
{
    return backlog->bytes + backlog->fixed_bytes;
}
