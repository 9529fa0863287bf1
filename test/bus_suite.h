/* test/bus_suite.h - what every bus must do, whatever carries it: one suite that takes the way to
 * open a bus as its parameter. A new backend passes it as it stands. */
#pragma once

#include "bus/bus.h"

struct CMUnitTest; /* cmocka.h */

typedef struct bus_suite_backend {
    const char *name; /* for the report */
    /* A place where buses may meet: a broker that was started, or nothing. NULL is allowed. */
    void *(*start)(void);
    void (*stop)(void *world);
    /* Opens a bus there and waits until it is up. `options` is completed with the backend's. */
    hub_bus_t *(*open)(void *world, const hub_bus_options_t *options);
    /* Before the cases are run: may put others, which skip, in their place. NULL is allowed. */
    void (*need)(struct CMUnitTest *tests, size_t count);
    bool shared; /* two buses opened in one world hear each other */
} bus_suite_backend_t;

/* The number of failed cases. */
int bus_suite_run(const bus_suite_backend_t *backend);
