/* bench/load/output.h - what was found, for people or for machines. */
#pragma once

#include "bench/load/load.h"

void output_print(const load_t *load);
