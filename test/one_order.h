/* test/one_order.h - whether all members heard a topic in one order. Pure. */
#pragma once

#include "test/history.h"

#define ONE_ORDER_TEXT 100

/* So many pairs of joins, of any nodes, heard two messages in different orders; 0 for topics that
 * have no order. What is kept on its node (HISTORY_KEPT) is left out. `ret_first` says where. */
size_t one_order_broken(const history_t *history, uint32_t topic, char ret_first[ONE_ORDER_TEXT]);
