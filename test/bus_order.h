/* test/bus_order.h - what is published with HUB_MESSAGE_BUS_ORDER by several loops at once is heard
 * in one order by all of them. */
#pragma once

#include "bus/bus.h"

/* Two loops on each bus speak and listen; fails the case where two hear different things.
 */
void bus_order_run(hub_bus_t *const *buses, size_t count);
