/* bench/portable.h - what machines without vector instructions run, beside what this one does. */
#pragma once

#include "bus/base.h"

/* hub_json_scan() without them; only whether the text is JSON. */
hub_status_t portable_json_scan(hub_str_t text);
