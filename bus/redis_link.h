/* bus/redis_link.h - private: one connection to Redis, on the thread of its owner, which nothing
 * that a broker says or leaves unsaid can hold or end.
 *
 * This is hiredis' context without blocking, and its reader; not its dispatcher
 * (redisAsyncContext), which in 0.14 ends the process by assert() when a broker says what it does
 * not expect, finds channels in a table whose collisions anyone can choose, and wants an allocation
 * for each PUBLISH. A function that returns false has filled `error`; the link is then only good
 * for closing. */
#pragma once

#include <hiredis/hiredis.h>

#include "bus/redis_options.h"

#define HUB__REDIS_QUOTE 160

typedef enum hub__redis_step {
    HUB__REDIS_AUTH,
    HUB__REDIS_SETNAME,
    HUB__REDIS_SELECT,
    HUB__REDIS_PING,
    HUB__REDIS_STEPS,
} hub__redis_step_t;

typedef struct hub__redis_link {
    const char *use; /* for errors: "subscriber" */
    /* A reply once the link is ready, borrowed. Must not close the link: false does. */
    bool (*on_reply)(void *user, const redisReply *reply, hub_error_t *error);
    void *user;
    const hub__redis_options_t *options;
    redisContext *context; /* NULL: closed */
    bool connected;
    bool ready;                          /* the broker has let us in */
    hub__redis_step_t next;              /* whose answer comes next, before it is ready */
    unsigned told;                       /* steps whose refusal was logged, one bit each */
    redisReplyObjectFunctions functions; /* hiredis' own, within bounds */
    const redisReplyObjectFunctions *before;
    const char *refused; /* what the bounds were passed with; NULL: nothing */
    size_t answer_bytes; /* of the strings of the answer that is being read */
    uint64_t writes;     /* since the start */
} hub__redis_link_t;

/* Begins to connect to the path of the options, else to `address`, which is no name. */
bool hub__redis_link_open(hub__redis_link_t *link, const char *address, hub_error_t *error);
/* At once. A closed one is allowed. */
void hub__redis_link_close(hub__redis_link_t *link);

int hub__redis_link_fd(const hub__redis_link_t *link);
/* What poll() shall wait for. */
short hub__redis_link_events(const hub__redis_link_t *link);
/* Connects, reads and calls on_reply, and writes, after poll(). */
bool hub__redis_link_move(hub__redis_link_t *link, short revents, hub_error_t *error);

/* Appends a command to what waits for hub__redis_link_flush(). */
bool hub__redis_link_command(hub__redis_link_t *link, int argc, const hub_str_t *argv,
                             hub_error_t *error);
size_t hub__redis_link_unsent(const hub__redis_link_t *link);
/* Writes what the socket takes. */
bool hub__redis_link_flush(hub__redis_link_t *link, hub_error_t *error);

/* "subscriber: " and the text, which is none of the broker's. Returns false. */
bool hub__redis_link_fail(const hub__redis_link_t *link, hub_error_t *error, const char *what);
/* The same with the text of a reply that is an error. */
bool hub__redis_link_fail_quoting(const hub__redis_link_t *link, hub_error_t *error,
                                  const redisReply *reply);
/* What a reply that is an error says, without the password. Returns `text`. */
const char *hub__redis_link_quote(const hub__redis_link_t *link, const redisReply *reply,
                                  char text[HUB__REDIS_QUOTE]);
/* Whether a reply is the error `code`, such as "NOPERM". */
bool hub__redis_is_error(const redisReply *reply, const char *code);
