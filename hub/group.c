/* SPDX-License-Identifier: MIT */
/* The members of a topic that speak one wire format, in an array that a publish walks over, and
 * beside it their seats. */
#include "hub/internal.h"

#include <stdlib.h>

/* Moves all to a block for so many. False: no memory, nothing is changed. */
static bool group_resize(hub__group_t *group, uint32_t capacity)
{
    hub__group_t wider = {.count = group->count, .capacity = capacity, .run = group->run};

    wider.members = hub__peer_alloc(capacity * (sizeof(*wider.members) + sizeof(uint32_t)));
    if (wider.members == NULL)
        return false;
    if (group->count != 0) {
        memcpy(wider.members, group->members, group->count * sizeof(*wider.members));
        memcpy(hub__group_seats(&wider), hub__group_seats(group), group->count * sizeof(uint32_t));
    }
    hub__peer_free(group->members);
    *group = wider;
    return true;
}

/* There are many small topics: 4, 10, 19, 32, … */
static uint32_t roomy(uint32_t count)
{
    return count + count / 2 + 4;
}

bool hub__group_add(hub__group_t *group, hub_member_t *member)
{
    if (group->count == group->capacity && !group_resize(group, roomy(group->count)))
        return false;
    member->place = group->count++;
    group->members[member->place] = member;
    hub__group_seats(group)[member->place] = ((hub_conn_t *)member->session)->slot | HUB__SEAT_ODD;
    return true;
}

/* The last one takes its place. */
void hub__group_remove(hub__group_t *group, const hub_member_t *member)
{
    uint32_t last = --group->count;

    hub__group_seats(group)[member->place] = hub__group_seats(group)[last];
    group->members[member->place] = group->members[last];
    group->members[last]->place = member->place;
    if (group->count == 0) {
        hub__peer_free(group->members);
        group->members = NULL;
        group->capacity = 0;
    } else if (group->capacity > 2 * roomy(group->count)) {
        (void)group_resize(group, roomy(group->count)); /* else it stays as it is */
    }
}

unsigned hub__group_index(const hub_member_t *member)
{
    unsigned window = ((const hub_conn_t *)member->session)->window;

    return window * HUB__DIALECT_COUNT + member->session->dialect->index;
}

hub__group_t *hub__group_of(const hub_member_t *member)
{
    return hub__topic_group(member->topic, hub__group_index(member));
}

void hub__group_set_taken(hub_member_t *member, uint32_t bytes)
{
    member->taken = bytes;
    if (bytes != 0)
        hub__group_seats(hub__group_of(member))[member->place] |= HUB__SEAT_ODD;
}

void hub__group_make_even(hub__group_t *group, uint32_t place)
{
    hub_member_t *member = group->members[place];

    member->taken = 0;
    if (member->state == HUB__MEMBER_JOINED)
        hub__group_seats(group)[place] &= ~HUB__SEAT_ODD;
}
