/* hub/timer.h - private: deadlines of one worker, on CLOCK_MONOTONIC.
 *
 * A hierarchical wheel of one-millisecond ticks: arming, moving and disarming cost the same however
 * many there are, and an idle wheel costs nothing. Pure: the worker passes the time in and asks
 * when to wake. Loop thread. */
#pragma once

#include "bus/base.h"

typedef struct hub__timer hub__timer_t;
typedef void (*hub__timer_cb)(hub__timer_t *timer, uint64_t now_ms);

/* Embedded by its owner; zeroed storage is an unarmed timer. Never fires early. */
struct hub__timer {
    hub__timer_t *next;
    hub__timer_t **prev; /* NULL: not armed */
    uint64_t due_ms;
    hub__timer_cb on_due;
};

typedef struct hub__wheel hub__wheel_t;

hub__wheel_t *hub__wheel_create(uint64_t now_ms);
/* No timer may be armed. NULL is allowed. */
void hub__wheel_destroy(hub__wheel_t *wheel);
/* Arms or moves. A time that has passed fires at the next hub__wheel_run(). */
void hub__timer_arm(hub__wheel_t *wheel, hub__timer_t *timer, uint64_t due_ms);
/* Nothing happens where it is not armed. */
void hub__timer_disarm(hub__wheel_t *wheel, hub__timer_t *timer);
static inline bool hub__timer_is_armed(const hub__timer_t *timer)
{
    return timer->prev != NULL;
}
/* Fires everything due at `now_ms`, in order of due time by tick (a time that had passed when it
 * was armed counts as the wheel's time then; the order within a tick is open); each is disarmed
 * before its callback, which may arm or disarm any timer and free its own. A timer armed inside for
 * a time that has passed fires in the next run. Not from inside a callback. Time never goes back;
 * if it seems to, nothing happens. Returns the number fired. */
size_t hub__wheel_run(hub__wheel_t *wheel, uint64_t now_ms);
/* When to call hub__wheel_run() next at the latest; UINT64_MAX when nothing is armed. May be early
 * (a cascade is due), never late. */
uint64_t hub__wheel_next(const hub__wheel_t *wheel);
size_t hub__wheel_count(const hub__wheel_t *wheel);
