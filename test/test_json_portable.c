/* SPDX-License-Identifier: MIT */
/* All cases of test_json.c, with the scanner as it is compiled for machines without vector
 * instructions, under names of its own. */
#define HUB_PLAIN_PORTABLE
#define hub_json_scan portable_json_scan
#define hub_json_open portable_json_open
#define hub_json_next portable_json_next
#define hub_json_unescape portable_json_unescape
#define hub_utf8_valid portable_utf8_valid
#define hub__plain_skip_long portable_skip_long
#define hub__plain_skip_blocks portable_skip_blocks
#include "bus/json.c"
#include "bus/plain.c"
#include "test/test_json.c"
