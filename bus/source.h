/* bus/source.h - private: whose doing it is what a thread logs, so that one peer can't take the
 * lines of all. */
#pragma once

#include "bus/base.h"

/* The peer's address, as in "127.0.0.1:40312", with room for it; empty: it is gone. */
#define HUB__SOURCE_TEXT 80
typedef hub_str_t (*hub__source_cb)(const void *who, char text[HUB__SOURCE_TEXT]);

/* hub_log_peer() on this thread counts for `who`, borrowed until another is set, and asks only when
 * it has a line. NULL: for nobody in particular. */
void hub__source_set(hub__source_cb ask, const void *who);
