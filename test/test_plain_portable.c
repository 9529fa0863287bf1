/* SPDX-License-Identifier: MIT */
/* All cases of test_plain.c, as it is compiled for machines without vector instructions. */
#define HUB_PLAIN_PORTABLE
#define hub__plain_skip_long portable_skip_long
#define hub__plain_skip_blocks portable_skip_blocks
#include "bus/plain.c"
#include "test/test_plain.c"
