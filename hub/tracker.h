/* hub/tracker.h - private: what one worker knows of who is where, on behalf of one hub.
 *
 * A venue is one topic: its roster, what members hold there, and the way of all that to members and
 * to the other workers and nodes. Each owns its own trackings, numbers its deltas, and gives its
 * whole state to whoever asks; so nobody is asked about what is not his, and join and leave of one
 * member can't change places. Pure: acts through a table of functions, and time is passed in. Loop
 * thread. */
#pragma once

#include "channels/replica.h"
#include "hub/metrics.h"
#include "hub/timer.h"

typedef struct hub__tracker hub__tracker_t;
typedef struct hub__venue hub__venue_t;
typedef struct hub__stay hub__stay_t;
typedef struct hub__peer hub__peer_t;

/* A question to all that are at a venue. Owned by the tracker, until it is answered or freed. */
typedef struct hub__query {
    struct hub__query *next, **prev;
    hub__tracker_t *tracker;
    hub__venue_t *venue; /* NULL: gone meanwhile */
} hub__query_t;

/* None may call back into the tracker, but publish() may deliver to others, and within tell() and
 * tell_state() hooks and filters of the program may track, untrack and wish. */
typedef struct hub__tracker_io {
    /* To the other workers and nodes at the venue, NULL: to all. In order. With a `query`:
     * hub__query_answered() follows on a later turn, once everybody in this process has answered;
     * not where it fails. */
    hub_status_t (*publish)(hub__tracker_t *tracker, hub__venue_t *venue, hub__replica_kind_t kind,
                            hub_str_t payload, hub__query_t *query);
    /* What others publish there comes to hub__tracker_receive(). Venue NULL: what is for all. Where
     * it begins to come later only, hub__tracker_ready() follows. */
    hub_status_t (*subscribe)(hub__tracker_t *tracker, hub__venue_t *venue);
    void (*unsubscribe)(hub__tracker_t *tracker, hub__venue_t *venue);
    /* Whether, as far as is known, what others publish comes here: else nobody is silent. */
    bool (*hears)(hub__tracker_t *tracker);
    /* To all members of this worker. */
    void (*tell)(hub__tracker_t *tracker, hub__venue_t *venue, hub_str_t event, hub_str_t payload);
    /* To those in `wishes`, who are taken out. */
    void (*tell_state)(hub__tracker_t *tracker, hub__venue_t *venue, hub_str_t payload);
    /* hub__tracker_settle() is wanted at the end of the turn. */
    void (*schedule)(hub__tracker_t *tracker);
    /* It has settled for long enough: the rest can wait for the next turn. */
    bool (*is_late)(hub__tracker_t *tracker);
    void (*timer_arm)(hub__tracker_t *tracker, hub__timer_t *timer, uint64_t due_ms);
    void (*timer_disarm)(hub__tracker_t *tracker, hub__timer_t *timer);
    uint64_t (*wall_us)(hub__tracker_t *tracker);
    /* The question that a message brought is answered when this is given back. */
    void *(*retain_ack)(void *ack);
    void (*release_ack)(void *ack);
} hub__tracker_io_t;

struct hub__tracker {
    const hub__tracker_io_t *io;
    void *user;
    const uint64_t *now_ms;
    hub_stats_t *stats;
    uint64_t owner; /* 1 to HUB__PRESENCE_NUMBER_MAX, random */
    uint64_t number, clock;
    uint64_t beats; /* in which others could be heard */
    uint32_t beat_ms;
    size_t chunk_bytes; /* of rows in one message, before the last one */
    size_t row_bytes;   /* of a row */
    bool alone;         /* there is nobody to tell */
    bool remote;        /* what is told may be lost without a word */
    bool beating, stopped;
    bool scheduled;
    bool telling; /* a hook that changes something then is told of at the end of the turn */
    hub__table_t venues;
    hub__peer_t *peers;
    size_t peer_count;
    bool turned_away; /* there was no room for one */
    hub__venue_t *due_first, **due_last;
    hub__timer_t beat;
    hub__query_t *queries;
    /* venues whose question waits for its turn; see query.h */
    hub__venue_t *asks_first, **asks_last;
    size_t asking, asking_max;
    uint32_t ask_pause_ms; /* before the next try, since the last one failed; grows */
    hub__timer_t ask_timer;
    hub__buffer_t payload, joins, leaves, meta;
    hub__buffer_t news; /* to members: hooks may track, and so publish, while it is being told */
};

/* What a member has to do with a venue. Embedded by its owner. */
typedef struct hub__attendance {
    hub__venue_t *venue;
    hub__stay_t *stays;
    uint32_t stay_count;
    struct hub__attendance *next, **prev; /* among those who wait for the state; `prev` NULL: not */
} hub__attendance_t;

/* A key that a member holds, or held a moment ago. */
struct hub__stay {
    hub__stay_t *next; /* of its member; in grace, of its key */
    hub__attendance_t *attendance;
    hub__venue_t *venue;
    hub__tracking_t *tracking;
    hub__stay_t *grace_next, *grace_prev; /* attendance NULL: its leave is kept back */
    uint64_t grace_due_ms;
};

struct hub__venue {
    hub__table_node_t node; /* in its tracker, by topic */
    hub__tracker_t *tracker;
    hub__roster_t *roster;
    hub__share_t *own;
    hub__attendance_t *wishes; /* who waits for the state */
    hub__stay_t *grace_first, *grace_last;
    size_t stays;      /* those in grace, too */
    void *sub;         /* of the io */
    unsigned openings; /* by the topic, and by each attendance */
    hub__venue_t *due_next;
    hub__timer_t timer;
    hub__query_t *query;
    uint64_t told_ms;        /* when members were told last */
    uint64_t stale_ms;       /* who has not answered by then is not there any more; 0: all have */
    uint64_t retry_ms;       /* 0: now */
    uint64_t sync_ms;        /* who has not answered by then is not waited for */
    uint64_t gap_ms;         /* when everybody was asked last since something was lost */
    uint64_t ask_ms;         /* when the question is put that came too soon; 0: there is none */
    uint64_t asked_ms;       /* when the last one was put */
    uint64_t check_ms;       /* when it is put again to those who have not answered; 0: it is not */
    uint32_t pause_ms;       /* before the last try to reach the others again; grows */
    hub__tracking_t *cursor; /* of the state that is being sent */
    void **acks;
    size_t ack_count, ack_capacity;
    uint8_t checks; /* left */
    bool ever_told;
    bool due;
    bool synced;     /* everybody in this process has been heard, or had time enough */
    bool owes_state; /* somebody asked for it */
    bool unreached;  /* what we told may have reached nobody elsewhere */
    bool refused;    /* nor has the question, so nobody can have answered */
    bool sending, is_first;
    bool asks;                            /* everybody, in its next turn */
    bool asking;                          /* it does, or has, and nobody has answered yet */
    hub__venue_t *asks_next, **asks_prev; /* `asks_prev` NULL: it waits for nothing */
    uint16_t topic_len;
    char topic[];
};

typedef struct hub__tracker_options {
    const hub__tracker_io_t *io;
    void *user;
    const uint64_t *now_ms;
    hub_stats_t *stats;
    uint64_t owner;
    uint32_t beat_ms;     /* 0 means 10,000 */
    size_t largest_bytes; /* of a message; SIZE_MAX: any */
    bool alone;
    bool remote;
    size_t asking_max; /* venues at once whose members' lists are asked for anew; 0 means 256 */
} hub__tracker_options_t;

hub__tracker_t *hub__tracker_create(const hub__tracker_options_t *options);
/* All that was told of has left, the others hear; nothing more is told to anybody. Once. */
void hub__tracker_stop(hub__tracker_t *tracker);
/* Forgets everything but the questions that are still out. */
void hub__tracker_close(hub__tracker_t *tracker);
/* Closed, and no answer will come any more. */
void hub__tracker_destroy(hub__tracker_t *tracker);

/* Does what is due; more may be due after it. */
void hub__tracker_settle(hub__tracker_t *tracker);
/* A message of somebody else, venue NULL: to all. `ack` may be NULL. */
void hub__tracker_receive(hub__tracker_t *tracker, hub__venue_t *venue, uint64_t owner,
                          hub_str_t event, hub_str_t payload, void *ack);
/* Messages were lost. */
void hub__tracker_gap(hub__venue_t *venue);
/* What others say comes here only from now on: answers may have been missed. */
void hub__tracker_ready(hub__venue_t *venue);
/* `reached`: it went to other nodes as well. */
void hub__query_answered(hub__query_t *query, bool reached);

/* The venue of a topic, made where there is none. `options` outlive it. NULL: no memory, or the
 * tracker is closed. It goes by itself once it is neither open nor used. */
hub__venue_t *hub__tracker_venue(hub__tracker_t *tracker, hub_str_t topic,
                                 const hub_presence_options_t *options);
static inline hub_str_t hub__venue_topic(const hub__venue_t *venue)
{
    return hub_str_n(venue->topic, venue->topic_len);
}
/* Its topic has members on this worker, or somebody attends, from here to there. */
void hub__venue_open(hub__venue_t *venue);
void hub__venue_close(hub__venue_t *venue);
/* Where its options ask for that: what there is to tell is told now, not at the end of the turn. */
void hub__venue_tell_at_once(hub__venue_t *venue);
/* Writes the list as it is. */
void hub__venue_list(hub__venue_t *venue, hub__buffer_t *ret_payload);

/* Opens the venue, until the end. */
void hub__attendance_begin(hub__attendance_t *attendance, hub__venue_t *venue);
/* Errors as in hub/presence.h. */
hub_status_t hub__attendance_track(hub__attendance_t *attendance, hub_str_t key,
                                   hub_payload_t meta);
hub_status_t hub__attendance_update(hub__attendance_t *attendance, hub_str_t key,
                                    hub_payload_t meta);
hub_status_t hub__attendance_untrack(hub__attendance_t *attendance, hub_str_t key);
/* The state is wanted: it comes with the next news. */
void hub__attendance_wish(hub__attendance_t *attendance);
/* It has it, or does not want it any more. */
void hub__attendance_unwish(hub__attendance_t *attendance);
/* The member is gone. `may_return`: its leaves are kept back for the grace. */
void hub__attendance_end(hub__attendance_t *attendance, bool may_return);

/* ---- shared by tracker.c, peer.c, query.c and venue.c ---- */

#define HUB__TRACKER_BEAT_MS 10000
#define HUB__TRACKER_RETRY_MS 1000
#define HUB__TRACKER_SYNC_MS 1000
#define HUB__TRACKER_FIRST_PAUSE_MS                                                                \
    50 /* a bus that comes back tells gaps before it takes anything */

/* Something is to be told, or to be done now. */
void hub__venue_wake(hub__venue_t *venue);
/* What is due of it; it may be gone afterwards. */
void hub__venue_run(hub__venue_t *venue);
void hub__venue_destroy(hub__venue_t *venue);
/* A tracking of another owner has come: who holds the same key in grace lets go. */
void hub__venue_met(hub__venue_t *venue, hub_str_t key);

/* To the others at a venue, NULL: to all; `query` as in the table of functions. */
hub_status_t hub__tracker_publish(hub__tracker_t *tracker, hub__venue_t *venue,
                                  hub__replica_kind_t kind, const hub__replica_t *replica,
                                  hub__query_t *query);
/* When to try again what could not be published. */
uint64_t hub__tracker_next_try_ms(hub__venue_t *venue);
/* Listens to the others, and lets them know that it lives. Neither does anything twice. */
void hub__tracker_begin(hub__tracker_t *tracker);
/* Tells the others what changed of ours since members were told last; `end`: and that it was the
 * last. */
void hub__tracker_send_changes(hub__venue_t *venue, bool end);
/* Goes on with the state that somebody asked for. */
void hub__tracker_send_state(hub__venue_t *venue);
void hub__tracker_forget_state(hub__venue_t *venue);
