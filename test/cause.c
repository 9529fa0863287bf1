/* SPDX-License-Identifier: MIT */
/* Outages were seen from outside, by somebody who looks now and then: they begin up to one look too
 * soon and end up to one too late. */
#include "test/cause.h"

bool cause_explains(const history_t *history, const history_outage_t *outage, uint64_t after_us)
{
    for (size_t i = 0; i < history->fault_count; i++) {
        const history_fault_t *fault = &history->faults[i];

        if (outage->begin_us + HISTORY_LOOK_US >= fault->begin_us &&
            outage->begin_us <= fault->end_us + after_us)
            return true;
    }
    return false;
}

bool cause_loses(const history_t *history, uint32_t node, uint64_t at_us, uint64_t before_us)
{
    for (size_t i = 0; i < history->outage_count; i++) {
        const history_outage_t *outage = &history->outages[i];

        if (outage->node != node || at_us > outage->end_us)
            continue;
        for (size_t k = 0; k < history->fault_count; k++) {
            uint64_t begin_us = history->faults[k].begin_us;

            if (at_us + before_us >= begin_us && outage->begin_us + HISTORY_LOOK_US >= begin_us)
                return true;
        }
    }
    return false;
}

bool cause_is_fault(const history_t *history, uint64_t at_us, uint64_t around_us)
{
    for (size_t i = 0; i < history->fault_count; i++) {
        const history_fault_t *fault = &history->faults[i];

        if (at_us + around_us >= fault->begin_us && at_us <= fault->end_us + around_us)
            return true;
    }
    return false;
}

bool cause_is_out(const history_t *history, uint32_t node, uint64_t from_us, uint64_t to_us)
{
    for (size_t i = 0; i < history->outage_count; i++) {
        const history_outage_t *outage = &history->outages[i];

        if (outage->node == node && outage->begin_us <= to_us + HISTORY_LOOK_US &&
            outage->end_us >= from_us)
            return true; /* a backend may refuse before the core knows of it */
    }
    return false;
}

uint64_t cause_connections(const history_t *history, uint32_t node, uint64_t from_us,
                           uint64_t to_us)
{
    uint64_t count = 0;

    for (size_t i = 0; i < history->outage_count; i++) {
        const history_outage_t *outage = &history->outages[i];

        if (outage->node == node && outage->begin_us <= to_us && outage->end_us >= from_us)
            count += outage->connections;
    }
    return count;
}

/* What a fault did to the node ends with the last outage that began in it. */
static uint64_t end_of(const history_t *history, const history_fault_t *fault, uint32_t node)
{
    uint64_t end_us = fault->end_us;

    for (size_t i = 0; i < history->outage_count; i++) {
        const history_outage_t *outage = &history->outages[i];

        if (outage->node == node && outage->begin_us + HISTORY_LOOK_US >= fault->begin_us &&
            outage->end_us > end_us)
            end_us = outage->end_us;
    }
    return end_us;
}

bool cause_waits(const history_t *history, uint32_t node, uint64_t asked_us, uint64_t to_us,
                 uint64_t around_us)
{
    for (size_t i = 0; i < history->fault_count; i++) {
        const history_fault_t *fault = &history->faults[i];
        uint64_t end_us = end_of(history, fault, node);

        end_us = end_us > UINT64_MAX - around_us ? UINT64_MAX : end_us + around_us;
        if (asked_us + around_us >= fault->begin_us && asked_us <= end_us &&
            to_us >= fault->begin_us && to_us <= end_us)
            return true;
    }
    return false;
}

static bool moved(const history_member_t *member, uint32_t topic, uint64_t from_us, uint64_t to_us)
{
    uint64_t asked_us = UINT64_MAX;

    for (size_t i = 0; i < member->count; i++) {
        const history_event_t *event = &member->events[i];

        if (event->topic != topic)
            continue;
        if (event->kind == HISTORY_JOIN_ASKED || event->kind == HISTORY_LEAVE_ASKED)
            asked_us = event->at_us;
        if ((event->kind == HISTORY_JOINED || event->kind == HISTORY_LEFT) && asked_us <= to_us &&
            event->at_us >= from_us)
            return true;
    }
    return false;
}

bool cause_moved(const history_t *history, uint32_t node, uint32_t topic, uint64_t from_us,
                 uint64_t to_us)
{
    for (uint32_t i = 0; i < history->members; i++) {
        if (history->member[i].node == node && moved(&history->member[i], topic, from_us, to_us))
            return true;
    }
    return false;
}
