/* test/bus_storm.h - threads that publish, emit, subscribe, unsubscribe and fail at random, and a
 * model of what each subscription may hear. */
#pragma once

#include "bus/bus.h"

/* Fails the case at the first broken promise, naming the seed; SOCKETHUB_SEED repeats one. */
void bus_storm_run(hub_bus_t *bus);
