/* SPDX-License-Identifier: MIT */

/* Tens of thousands of deadlines are armed, moved and nearly always disarmed before they are due,
 * so all of that must cost a few instructions and no memory. A timer lies at the level of the
 * highest base-64 digit in which its due time differs from the wheel's time, in the slot of that
 * digit. So a level's slots are all ahead of the wheel's own digit, and everything at a lower level
 * is due before anything at a higher one: the next slot is found by one bit scan per level. */

#include "hub/timer.h"

#include <assert.h>
#include <stdlib.h>

#include "bus/buffer.h"

#define DIGIT_BITS 6
#define SLOTS (1 << DIGIT_BITS)
#define LEVELS 11 /* 66 bits: any time has a place */

struct hub__wheel {
    uint64_t now_ms; /* everything due until then has left the slots */
    size_t count;    /* armed, wherever they are */
    bool running;
    hub__timer_t *passed;      /* armed for a time that had passed: for the next run */
    hub__timer_t *firing;      /* of the current run, in order */
    uint64_t occupied[LEVELS]; /* bit n: slot n is not empty */
    hub__timer_t *slots[LEVELS][SLOTS];
};

static void link_at(hub__timer_t **head, hub__timer_t *timer)
{
    timer->next = *head;
    timer->prev = head;
    if (timer->next != NULL)
        timer->next->prev = &timer->next;
    *head = timer;
}

static void unlink_timer(hub__timer_t *timer)
{
    *timer->prev = timer->next;
    if (timer->next != NULL)
        timer->next->prev = timer->prev;
    timer->prev = NULL;
    timer->next = NULL;
}

/* Only for a time ahead of the wheel's. */
static void place(hub__wheel_t *wheel, hub__timer_t *timer)
{
    unsigned highest_bit = 63 - (unsigned)__builtin_clzll(timer->due_ms ^ wheel->now_ms);
    unsigned level = highest_bit / DIGIT_BITS;
    unsigned slot = (unsigned)(timer->due_ms >> (level * DIGIT_BITS)) % SLOTS;

    wheel->occupied[level] |= UINT64_C(1) << slot;
    link_at(&wheel->slots[level][slot], timer);
}

/* The slot that `prev` is the head of, if any, may have become empty. */
static void slot_left(hub__wheel_t *wheel, hub__timer_t **prev)
{
    uintptr_t offset = (uintptr_t)prev - (uintptr_t)&wheel->slots[0][0];
    size_t index = offset / sizeof(hub__timer_t *);

    if (offset < sizeof(wheel->slots) && *prev == NULL)
        wheel->occupied[index / SLOTS] &= ~(UINT64_C(1) << index % SLOTS);
}

/* The earliest slot that is not empty, and when it begins. False: all are empty. */
static bool next_slot(const hub__wheel_t *wheel, unsigned *ret_level, unsigned *ret_slot,
                      uint64_t *ret_begin_ms)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        unsigned shift = level * DIGIT_BITS;
        uint64_t above = shift + DIGIT_BITS < 64 ? UINT64_MAX << (shift + DIGIT_BITS) : 0;

        if (wheel->occupied[level] == 0)
            continue;
        *ret_level = level;
        *ret_slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
        *ret_begin_ms = (wheel->now_ms & above) | (uint64_t)*ret_slot << shift;
        return true;
    }
    return false;
}

/* Moves a slot's timers to where they belong now that the wheel's time is the slot's beginning:
 * those due then behind `tail`, the others to a lower level. Returns the new tail. */
static hub__timer_t **empty_slot(hub__wheel_t *wheel, unsigned level, unsigned slot,
                                 hub__timer_t **tail)
{
    hub__timer_t *timer;

    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    while ((timer = wheel->slots[level][slot]) != NULL) {
        unlink_timer(timer);
        if (timer->due_ms == wheel->now_ms) {
            link_at(tail, timer);
            tail = &timer->next;
        } else {
            place(wheel, timer);
        }
    }
    return tail;
}

/* Everything due until `now_ms` goes to `firing`, before any callback can arm something new. */
static void collect_due(hub__wheel_t *wheel, uint64_t now_ms)
{
    hub__timer_t **tail = &wheel->firing;
    unsigned level, slot;
    uint64_t begin_ms;

    while (wheel->passed != NULL) {
        hub__timer_t *timer = wheel->passed;

        unlink_timer(timer);
        link_at(tail, timer);
        tail = &timer->next;
    }
    while (next_slot(wheel, &level, &slot, &begin_ms) && begin_ms <= now_ms) {
        wheel->now_ms = begin_ms;
        tail = empty_slot(wheel, level, slot, tail);
    }
    wheel->now_ms = now_ms;
}

hub__wheel_t *hub__wheel_create(uint64_t now_ms)
{
    hub__wheel_t *wheel = hub__alloc_zeroed(sizeof(*wheel));

    wheel->now_ms = now_ms;
    return wheel;
}

void hub__wheel_destroy(hub__wheel_t *wheel)
{
    assert(wheel == NULL || wheel->count == 0);
    free(wheel);
}

void hub__timer_disarm(hub__wheel_t *wheel, hub__timer_t *timer)
{
    hub__timer_t **prev = timer->prev;

    if (prev == NULL)
        return;
    unlink_timer(timer);
    slot_left(wheel, prev);
    wheel->count--;
}

void hub__timer_arm(hub__wheel_t *wheel, hub__timer_t *timer, uint64_t due_ms)
{
    hub__timer_disarm(wheel, timer);
    timer->due_ms = due_ms;
    wheel->count++;
    if (due_ms <= wheel->now_ms)
        link_at(&wheel->passed, timer);
    else
        place(wheel, timer);
}

size_t hub__wheel_run(hub__wheel_t *wheel, uint64_t now_ms)
{
    size_t fired = 0;
    hub__timer_t *timer;

    assert(!wheel->running);
    if (now_ms < wheel->now_ms)
        return 0;
    wheel->running = true;
    collect_due(wheel, now_ms);
    while ((timer = wheel->firing) != NULL) {
        hub__timer_disarm(wheel, timer);
        fired++;
        timer->on_due(timer, now_ms);
    }
    wheel->running = false;
    return fired;
}

uint64_t hub__wheel_next(const hub__wheel_t *wheel)
{
    unsigned level, slot;
    uint64_t begin_ms;

    if (wheel->passed != NULL)
        return wheel->now_ms;
    return next_slot(wheel, &level, &slot, &begin_ms) ? begin_ms : UINT64_MAX;
}

size_t hub__wheel_count(const hub__wheel_t *wheel)
{
    return wheel->count;
}
