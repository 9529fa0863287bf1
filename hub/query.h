/* hub/query.h - private: what is asked of the others at a venue: who is there, and what was missed.
 *
 * Everybody is asked when a venue begins and when something was lost; one alone where its numbers
 * show a hole. What is missing is stale: whoever could answer and does not within a beat and two
 * seconds has nothing there.
 *
 * An outage is a loss on each of many thousand topics, at each node. So questions about losses wait
 * in line: a few hundred are out at once, and the next one goes when somebody has answered one, or
 * nobody has for a second. Where one does not get out, one alone is tried until it does. Pure. Loop
 * thread. */
#pragma once

#include "hub/tracker.h"

/* Asks who is there: everybody, or one. Where nobody can be reached, everybody is asked later. */
void hub__query_ask(hub__venue_t *venue, uint64_t owner, bool fresh);
/* Everybody is to be asked, when it is this venue's turn. */
void hub__query_line_up(hub__venue_t *venue);
/* It is. */
void hub__query_ask_in_turn(hub__venue_t *venue);
/* Somebody has answered: if nothing is missing any more, another venue may ask. */
void hub__query_heard(hub__venue_t *venue);
/* It asks no more. */
void hub__query_forget(hub__venue_t *venue);
/* Of the tracker's ask_timer: it is time to try again whether a question gets out. */
void hub__query_on_timer(hub__timer_t *timer, uint64_t now_ms);

/* The first word of somebody is not missed by anybody when it is lost: in so many milliseconds it
 * is asked for again. */
void hub__query_expect(hub__venue_t *venue, uint64_t after_ms);
/* Asks once more those who live and have not answered, if there are any. */
void hub__query_check(hub__venue_t *venue);

/* Something of this owner is missing. What is still to come of a state can't make it whole. */
void hub__query_set_stale(hub__venue_t *venue, hub__share_t *share);
void hub__query_mark_stale(hub__venue_t *venue); /* something of each of the others */
/* Something is missing, and it is asked for it, unless it was just now. */
void hub__query_ask_again(hub__venue_t *venue, hub__share_t *share);
/* Shares that nobody vouched for go. */
void hub__query_drop_stale(hub__venue_t *venue);
