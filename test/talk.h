/* test/talk.h - one client's session in a world of the test's own: no sockets, no threads, and a
 * clock that moves when it is told to.
 *
 * Whatever the session does to the world becomes a line of text, so that a case is a conversation:
 * what was said, and what was heard. */
#pragma once

#include "hub/session.h"

#define TALK_CHANNELS 8
#define TALK_MEMBERS 64

enum { NATIVE = HUB__DIALECT_NATIVE, V1 = HUB__DIALECT_PHOENIX1, V2 = HUB__DIALECT_PHOENIX2 };

typedef struct talk talk_t;

struct talk {
    hub__session_t session; /* first */
    hub__session_host_t host;
    hub_limits_t limits;
    hub_stats_t stats;
    uint64_t now_ms;
    uint32_t next_serial;
    hub_member_t *joining;
    hub__wheel_t *wheel;
    hub__router_t *router;
    hub__envelope_scratch_t scratch;
    hub__channel_t *channels[TALK_CHANNELS];
    hub__route_source_t sources[TALK_CHANNELS];
    size_t channel_count;
    hub__buffer_t heard;
    hub_member_t *subscribed[TALK_MEMBERS];
    size_t subscribed_count;
    hub__job_t *jobs[TALK_MEMBERS]; /* in the pool, oldest first */
    size_t job_count;

    /* what a case may set */
    bool turn_goes_on;             /* nothing that was put off is done before talk_turn() */
    bool tells_subscriptions;      /* they become lines, too */
    size_t over[2];                /* messages and joins that were over their rate */
    unsigned tells_hooks;          /* a bit for each hook that becomes a line */
    hub_status_t subscribe_status; /* what the world answers */
    hub_status_t offload_status;
    bool awaits; /* joins wait for talk_ready() */
    hub_status_t (*on_hook)(talk_t *talk, hub_hook_event_t *event); /* may be NULL */
    /* A frame in its wire format, when it is made. `bytes` is borrowed. May be NULL. */
    void (*on_frame)(talk_t *talk, hub_str_t bytes, bool binary);
};

/* Limits are the defaults; change them before talk_begin(). */
void talk_init(talk_t *talk, int dialect);
/* Declares a channel; `prefix` NULL: none. */
void talk_channel(talk_t *talk, const char *prefix, const hub_channel_options_t *options);
void talk_begin(talk_t *talk);
/* Ends what has not ended, and checks that nothing is left of it. */
void talk_end(talk_t *talk);

/* The client says something, in its format. Refs are JSON tokens, NULL: none. The bytes are gone
 * when it returns. */
void talk_say(talk_t *talk, const char *join_ref, const char *ref, const char *topic,
              const char *event, const char *payload);
void talk_say_raw(talk_t *talk, hub_str_t bytes, bool binary);
/* The topic stands, if it has a member. */
void talk_ready(talk_t *talk, const char *topic);
/* The end of a turn: what was put off is done. */
void talk_turn(talk_t *talk);
/* Time passes, each timer at its time. */
void talk_pass(talk_t *talk, uint64_t ms);
/* The oldest job: runs its work unless it was cancelled, and brings it back. */
void talk_finish_job(talk_t *talk);
void talk_tell(talk_t *talk, const char *format, ...) HUB_PRINTF(2, 3);

/* Everything since the last time: a line for each, quotes written as '. A frame of the session's
 * reads "reply TOPIC REF/JOIN_REF STATUS RESPONSE", "push TOPIC JOIN_REF EVENT PAYLOAD",
 * "broadcast TOPIC EVENT PAYLOAD", "close TOPIC JOIN_REF" or "error TOPIC JOIN_REF"; '-' is what is
 * absent, and a binary payload is hexadecimal behind a #. */
#define assert_heard(talk, lines) talk_assert_heard((talk), (lines), __FILE__, __LINE__)
void talk_assert_heard(talk_t *talk, const char *lines, const char *file, int line);
void talk_forget(talk_t *talk);

/* The response of a native join reply. */
#define JOINED(topic) "{'topic':'" topic "','already_joined':false,'replay_supported':false}"
#define ALREADY(topic) "{'topic':'" topic "','already_joined':true,'replay_supported':false}"
/* The response of a native refusal. */
#define REFUSAL(code, message) "{'code':'" code "','message':'" message "','detail':{}}"
#define REFUSAL_WITH(code, message, detail)                                                        \
    "{'code':'" code "','message':'" message "','detail':" detail "}"
#define NOT_JOINED REFUSAL("not_joined", "Topic not joined")
#define NO_TOPIC REFUSAL("topic_not_found", "Topic not found")
#define NO_EVENT REFUSAL("event_not_found", "Event not found")
#define BUSY REFUSAL("busy", "Busy")
