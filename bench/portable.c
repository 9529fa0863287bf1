/* SPDX-License-Identifier: MIT */
/* The scanner once more, under other names, as it is compiled for other machines. */
#define HUB_PLAIN_PORTABLE
#define hub__plain_skip_long portable_skip_long
#define hub__plain_skip_blocks portable_skip_blocks
#define hub_json_scan portable_scan
#define hub_json_open portable_open
#define hub_json_next portable_next
#define hub_json_unescape portable_unescape
#define hub_utf8_valid portable_utf8_valid
#include "bus/json.c"
#include "bus/plain.c"

#include "bench/portable.h"

hub_status_t portable_json_scan(hub_str_t text)
{
    return portable_scan(text, 0, NULL, NULL);
}
