/* SPDX-License-Identifier: MIT */
/* Messages of all publishers are counted through, so that an order is a list of numbers, and where
 * a message stands in one an array. */
#include "test/one_order.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"

/* What a member heard in one join of a topic. */
struct sequence {
    uint32_t member;
    size_t *numbers; /* of the messages, counted through over all publishers */
    size_t count;
};

static void add_sequences(const history_t *history, uint32_t topic, uint32_t member,
                          const size_t *first, hub__buffer_t *ret_all)
{
    const history_member_t *it = &history->member[member];
    struct sequence sequence = {.member = member};

    for (size_t i = 0; i <= it->count; i++) {
        const history_event_t *event = &it->events[i];
        const history_publish_t *publish;

        if (i == it->count || event->kind == HISTORY_JOINED) {
            if (sequence.count > 0)
                hub__buffer_append(ret_all, hub_str_n((const char *)&sequence, sizeof(sequence)));
            sequence = (struct sequence){.member = member};
        } else if (event->kind == HISTORY_MESSAGE && event->topic == topic &&
                   event->publisher < history->publishers) {
            publish = history_find(history, event->publisher, topic, event->number);
            if (publish == NULL || history_outcome(publish) == HISTORY_KEPT)
                continue; /* in an order of its node's own */
            if ((sequence.count & (sequence.count - 1)) == 0)
                sequence.numbers = hub__realloc(sequence.numbers, (2 * sequence.count + 1) *
                                                                      sizeof(*sequence.numbers));
            sequence.numbers[sequence.count++] = first[event->publisher] + event->number - 1;
        }
    }
}

/* Whether what both heard, in the order of `other`, goes up in that of `one`: `place`, from 1. */
static bool agree(const struct sequence *other, const size_t *place)
{
    size_t last = 0;

    for (size_t i = 0; i < other->count; i++) {
        size_t at = place[other->numbers[i]];

        if (at != 0 && at < last)
            return false;
        last = at != 0 ? at : last;
    }
    return true;
}

/* Lays each two beside each other. */
static size_t compare_all(const struct sequence *sequences, size_t count, size_t *place,
                          uint32_t topic, char *ret_first)
{
    size_t broken = 0;

    for (size_t i = 0; i < count; i++) {
        const struct sequence *one = &sequences[i];

        for (size_t k = 0; k < one->count; k++)
            place[one->numbers[k]] = k + 1;
        for (size_t k = i + 1; k < count; k++) {
            if (!agree(&sequences[k], place) && broken++ == 0)
                snprintf(ret_first, ONE_ORDER_TEXT, "topic %u, members %u and %u", topic,
                         one->member, sequences[k].member);
        }
        for (size_t k = 0; k < one->count; k++)
            place[one->numbers[k]] = 0;
    }
    return broken;
}

size_t one_order_broken(const history_t *history, uint32_t topic, char ret_first[ONE_ORDER_TEXT])
{
    size_t *first, *place, count, broken;
    hub__buffer_t all = {0};
    struct sequence *sequences;

    if (!history->ordered[topic])
        return 0;
    first = hub__alloc_zeroed((history->publishers + 1) * sizeof(*first));
    for (uint32_t i = 0; i < history->publishers; i++)
        first[i + 1] = first[i] + history_said(history, i, topic)->count;
    for (uint32_t i = 0; i < history->members; i++)
        add_sequences(history, topic, i, first, &all);
    sequences = (struct sequence *)(void *)all.base;
    count = all.len / sizeof(*sequences);
    place = hub__alloc_zeroed((first[history->publishers] + 1) * sizeof(*place));
    broken = compare_all(sequences, count, place, topic, ret_first);
    for (size_t i = 0; i < count; i++)
        free(sequences[i].numbers);
    free(place);
    free(first);
    hub__buffer_dispose(&all);
    return broken;
}
