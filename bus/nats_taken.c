/* SPDX-License-Identifier: MIT */
#include "bus/nats_taken.h"

#include <stdlib.h>

#define CAPACITY_FIRST 64

uint64_t hub__nats_taken_number(hub__nats_taken_t *taken)
{
    return ++taken->asked;
}

static bool make_room(hub__nats_taken_t *taken)
{
    size_t capacity = taken->capacity == 0 ? CAPACITY_FIRST : 2 * taken->capacity;
    uint64_t *words;

    if (taken->first == taken->end)
        taken->first = taken->end = 0;
    if (taken->end < taken->capacity)
        return true;
    words = realloc(taken->words, capacity * sizeof(*words));
    if (words == NULL)
        return false; /* then nobody knows */
    taken->words = words;
    taken->capacity = capacity;
    return true;
}

void hub__nats_taken_note(hub__nats_taken_t *taken, uint64_t number, hub__nats_word_t word)
{
    if (word == HUB__NATS_SILENT || number <= taken->noted || number > taken->asked)
        return;
    taken->noted = number;
    if (make_room(taken))
        taken->words[taken->end++] = 2 * number + (word == HUB__NATS_REFUSED);
}

hub__nats_word_t hub__nats_taken_word(hub__nats_taken_t *taken, uint64_t number)
{
    uint64_t word;

    while (taken->first < taken->end && taken->words[taken->first] / 2 < number)
        taken->first++;
    if (taken->first == taken->end || taken->words[taken->first] / 2 != number)
        return HUB__NATS_SILENT;
    word = taken->words[taken->first++];
    return word % 2 == 0 ? HUB__NATS_TAKEN : HUB__NATS_REFUSED;
}

void hub__nats_taken_dispose(hub__nats_taken_t *taken)
{
    free(taken->words);
    *taken = (hub__nats_taken_t){0};
}
