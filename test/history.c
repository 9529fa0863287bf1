/* SPDX-License-Identifier: MIT */
/* Memory for the publishes is made beforehand: their completions come on other threads. */
#include "test/history.h"

#include "bus/buffer.h"

#include <stdlib.h>

#define EVENTS_FEW 256

history_t *history_create(uint32_t nodes, uint32_t topics, uint32_t publishers, uint32_t members,
                          uint32_t publishes_max)
{
    history_t *history = hub__alloc_zeroed(sizeof(*history));

    *history =
        (history_t){.nodes = nodes, .topics = topics, .publishers = publishers, .members = members};
    history->publisher_nodes = hub__alloc_zeroed(publishers * sizeof(uint32_t));
    history->ordered = hub__alloc_zeroed(topics * sizeof(bool));
    history->said = hub__alloc_zeroed(publishers * topics * sizeof(*history->said));
    history->member = hub__alloc_zeroed(members * sizeof(*history->member));
    for (uint32_t i = 0; i < publishers * topics; i++) {
        history->said[i].publishes = hub__alloc_zeroed(publishes_max * sizeof(history_publish_t));
        history->said[i].capacity = publishes_max;
    }
    return history;
}

void history_destroy(history_t *history)
{
    if (history == NULL)
        return;
    for (uint32_t i = 0; i < history->publishers * history->topics; i++)
        free(history->said[i].publishes);
    for (uint32_t i = 0; i < history->members; i++)
        free(history->member[i].events);
    free(history->publisher_nodes);
    free(history->ordered);
    free(history->said);
    free(history->member);
    free(history);
}

uint32_t history_say(history_t *history, uint32_t publisher, uint32_t topic, uint64_t now_us)
{
    history_said_t *said = history_said(history, publisher, topic);

    if (said->count == said->capacity)
        return 0;
    said->publishes[said->count].sent_us = now_us;
    return ++said->count;
}

void history_answer(history_t *history, uint32_t publisher, uint32_t topic, uint32_t number,
                    history_outcome_t outcome, hub_status_t status, uint64_t now_us)
{
    history_publish_t *publish = &history_said(history, publisher, topic)->publishes[number - 1];

    atomic_store(&publish->outcome, (int)outcome);
    atomic_store(&publish->status, (int)status);
    atomic_store(&publish->answered_us, now_us);
}

void history_add(history_t *history, uint32_t member, history_event_t event)
{
    history_member_t *it = &history->member[member];

    if (it->count == it->capacity) {
        it->capacity = it->capacity == 0 ? EVENTS_FEW : 2 * it->capacity;
        it->events = hub__realloc(it->events, it->capacity * sizeof(*it->events));
    }
    it->events[it->count++] = event;
}
