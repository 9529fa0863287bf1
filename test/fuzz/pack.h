/* test/fuzz/pack.h - many small inputs in one text file, an input a line.
 *
 * Printable bytes stand for themselves; \\ \n \r \t and \xHH for all others. Lines that begin with
 * '#' are comments, so an input that does is written \x23. Whoever cannot read or understand a
 * file is told so and the process ends. */
#pragma once

#include "bus/buffer.h"

/* The whole file; its base to be freed. */
hub_str_t pack_read(const char *path);

/* The next input of a packed text, which is shortened by its line. `buffer` has room for the text;
 * `*line` counts lines. False: there is none. */
bool pack_next(hub_str_t *text, size_t *line, char *buffer, hub_str_t *ret_input);

/* Appends the line of one input. */
void pack_append(hub__buffer_t *text, hub_str_t input);
