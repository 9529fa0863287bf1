/* test/assembly.h - trackers of several workers and nodes in a world of the test's own: letters
 * instead of a bus, a clock that moves when it is told to, and members who keep the list that they
 * are told, as clients do.
 *
 * Letters of one tracker to another stay in order; everything else may happen in any order. A
 * member that is told of what it knows already, or of the leave of what it does not, fails the
 * case. */
#pragma once

#include <jansson.h>

#include "hub/tracker.h"

#define ASSEMBLY_NODES 6
#define ASSEMBLY_TOPICS 3
#define ASSEMBLY_GUESTS 16 /* of a node */
#define ASSEMBLY_BEAT_MS 1000

typedef struct assembly assembly_t;

typedef struct attendee {
    hub__attendance_t attendance; /* first */
    bool present;
    int topic;
    json_t *view; /* key -> phx_ref -> meta; NULL: no state yet */
} attendee_t;

/* Makes `count` trackers, `per_process` of them in one process. */
assembly_t *assembly_create(int count, int per_process, const hub_presence_options_t *options);
void assembly_destroy(assembly_t *assembly);

/* Somebody comes to a topic, and wants the state or not. NULL: the node is full or dead. */
attendee_t *assembly_come(assembly_t *assembly, int node, int topic, bool wants_state);
void assembly_go(assembly_t *assembly, attendee_t *attendee, bool may_return);
/* Anybody who is there; NULL: nobody. */
attendee_t *assembly_anybody(assembly_t *assembly, uint64_t draw);

/* Whether a turn is over as soon as one topic has had its turn. */
void assembly_hurry(assembly_t *assembly, bool hurries);
/* The end of a turn of one tracker. False: it had nothing to do. */
bool assembly_turn(assembly_t *assembly, int node);
void assembly_pass(assembly_t *assembly, uint64_t ms);
/* Its wall clock is so far ahead of the others. */
void assembly_skew(assembly_t *assembly, int node, uint64_t hours);
/* Hands over one letter, whichever `draw` picks; false: there is none. Lost ones become gaps. */
bool assembly_deliver(assembly_t *assembly, uint64_t draw, bool lose);
/* The next letter from one to the other is gone, and nobody will notice; false: there is none. */
bool assembly_vanish(assembly_t *assembly, int from, int to);
/* How many letters are on their way from one to the other. */
size_t assembly_waiting(const assembly_t *assembly, int from, int to);
/* All letters, turns and timers until nothing moves, and `ms` more. */
void assembly_settle(assembly_t *assembly, uint64_t ms);

/* All trackers of its process are gone without a word, or after one. */
void assembly_kill(assembly_t *assembly, int node);
void assembly_stop(assembly_t *assembly, int node);
/* It does nothing, until it is thawed. */
void assembly_freeze(assembly_t *assembly, int node, bool frozen);
/* The bus takes nothing of what it says, and tells nobody; until it does. */
void assembly_refuse(assembly_t *assembly, int node, bool refused);
/* What it says reaches only its own process, as with a bus that is degraded; the other way is open.
 */
void assembly_isolate(assembly_t *assembly, int node, bool isolated);
/* The broker is away for all of its process: what is on its way is lost, nothing comes or goes
 * until it is back, and then there is a gap on each topic. */
void assembly_cut(assembly_t *assembly, int node, bool cut);
bool assembly_is_cut(const assembly_t *assembly, int node);
/* A dead one begins anew, as another owner. */
void assembly_revive(assembly_t *assembly, int node);
bool assembly_is_alive(const assembly_t *assembly, int node);

/* Everybody who has a state sees exactly what the living hold; all lists are the same. */
void assembly_check(assembly_t *assembly);
/* Everybody's diffs add up to the list of its node; also where that is a sample. */
void assembly_check_views(assembly_t *assembly);
/* Letters handed over so far, those of heartbeats left out. */
size_t assembly_letters(const assembly_t *assembly);
/* How often a node tried in vain to say something, beats left out. */
size_t assembly_refusals(const assembly_t *assembly, int node);
/* The list of a node as text with sorted keys, to be freed; references as '*'. */
char *assembly_list(assembly_t *assembly, int node, int topic);
const hub_stats_t *assembly_stats(const assembly_t *assembly, int node);
hub__tracker_t *assembly_tracker(assembly_t *assembly, int node);
hub__venue_t *assembly_venue(assembly_t *assembly, int node, int topic);
