/* bus/line.h - private: one event of the log as one line of JSON. */
#pragma once

#include "bus/base.h"

#define HUB__LINE_TEXT 1024
/* Each byte of a text takes six at most, and so does each pair's frame. */
#define HUB__LINE_BYTES ((size_t)6 * HUB__LINE_TEXT + 512)

/* Writes {"time":…,"level":…,"event":…,"fields":{…}} and a line end, of key=value pairs of at most
 * HUB__LINE_TEXT bytes. A value is what the text shows between its quotes, escapes and all, so it
 * is as safe to print as that; whole numbers are numbers. What is no pair is the field "text".
 * Returns the length. */
size_t hub__line_json(const char *time, const char *level, const char *event, const char *text,
                      char line[HUB__LINE_BYTES]);
