/* test/exposition.h - reads Prometheus' text format 0.0.4 as strictly as its own parser and linter:
 * what is wrong fails the case, with the line. */
#pragma once

#include <stdint.h>

/* The whole of an answer: a line ends with a newline; a metric is a HELP, a TYPE (counter or gauge)
 * and then its samples, all in one place and each with labels of its own; counters, and no gauges,
 * end with _total; names are such as promtool's linter passes; values are whole numbers, but for
 * seconds. */
void exposition_check(const char *text);
/* The sample that stands so in `text`, "name" or "name{label=…}"; fails without. */
uint64_t exposition_value(const char *text, const char *sample);
