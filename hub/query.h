/* hub/query.h - private: what is asked of the others at a venue: who is there, and what was missed.
 *
 * Everybody is asked when a venue begins and when something was lost; one alone where its numbers
 * show a hole. What is missing is stale: whoever could answer and does not within a beat and two
 * seconds has nothing there. Pure. Loop thread. */
#pragma once

#include "hub/tracker.h"

/* Asks who is there: everybody, or one. Where nobody can be reached, everybody is asked later. */
void hub__query_ask(hub__venue_t *venue, uint64_t owner, bool fresh);
/* What could not be asked when it should have been. */
void hub__query_ask_later(hub__venue_t *venue);

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
