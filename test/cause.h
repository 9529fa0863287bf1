/* test/cause.h - what in a history explains what: faults explain outages, outages explain losses,
 * failures and gap notices. Pure. */
#pragma once

#include "test/history.h"

/* Whether a fault explains that what was sent by or to `node` at `at_us` is lost: its outage began
 * in one, and had not ended. What was sent up to `before_us` before the fault was under way. */
bool cause_loses(const history_t *history, uint32_t node, uint64_t at_us, uint64_t before_us);
/* Whether a fault was on, or was `around_us` before or behind. */
bool cause_is_fault(const history_t *history, uint64_t at_us, uint64_t around_us);
/* Whether the node had an outage at any time between. */
bool cause_is_out(const history_t *history, uint32_t node, uint64_t from_us, uint64_t to_us);
/* Connections that the node made in outages between. */
uint64_t cause_connections(const history_t *history, uint32_t node, uint64_t from_us,
                           uint64_t to_us);
/* Whether a member of the node asked in a fault, or up to `around_us` before or behind it, for a
 * join that the broker may not have confirmed until `to_us`, give or take the same. */
bool cause_waits(const history_t *history, uint32_t node, uint64_t asked_us, uint64_t to_us,
                 uint64_t around_us);
/* Whether a member of the node was about to join or to leave the topic at any time between: what
 * comes back then may find nobody here, or come before the broker has the subscription. */
bool cause_moved(const history_t *history, uint32_t node, uint32_t topic, uint64_t from_us,
                 uint64_t to_us);
/* Whether the outage began in a fault, or until `after_us` after its end. */
bool cause_explains(const history_t *history, const history_outage_t *outage, uint64_t after_us);
