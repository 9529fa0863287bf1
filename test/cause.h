/* test/cause.h - what in a history explains what: faults explain outages, outages explain losses,
 * failures and gap notices. Pure. */
#pragma once

#include "test/history.h"

/* Whether a fault explains that what was sent by or to `node` at `at_us` is lost: its outage began
 * in one, and had not ended. What was sent up to `before_us` before the fault was under way. */
bool cause_loses(const history_t *history, uint32_t node, uint64_t at_us, uint64_t before_us);
/* Whether the node had an outage at any time between. */
bool cause_is_out(const history_t *history, uint32_t node, uint64_t from_us, uint64_t to_us);
/* How often a subscription of the node may have had to be told in that time that it does not know
 * what it missed: once for each connection made, and for each fault, where the broker took its time
 * to confirm it. */
uint64_t cause_gaps(const history_t *history, uint32_t node, uint64_t from_us, uint64_t to_us);
/* Whether a member of the node was about to leave the topic at any time between: nobody may be left
 * there who waits for what comes back. */
bool cause_left(const history_t *history, uint32_t node, uint32_t topic, uint64_t from_us,
                uint64_t to_us);
/* Whether the outage began in a fault, or until `after_us` after its end. */
bool cause_explains(const history_t *history, const history_outage_t *outage, uint64_t after_us);
