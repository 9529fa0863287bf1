/* SPDX-License-Identifier: MIT */
/* One text file instead of hundreds of small ones: git shows what changed, and a grep finds an
 * input.
 */
#include "test/fuzz/pack.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

hub_str_t pack_read(const char *path)
{
    hub__buffer_t bytes = {0};
    FILE *file = fopen(path, "rbe");
    char block[65536];
    size_t got;

    if (file == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    while ((got = fread(block, 1, sizeof(block), file)) != 0)
        hub__buffer_append(&bytes, hub_str_n(block, got));
    fclose(file);
    if (bytes.base == NULL)
        bytes.base = hub__alloc(1);
    return hub__buffer_str(&bytes);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape behind its backslash. Returns what is left to skip; 0: there is no such escape. */
static size_t unescape(hub_str_t rest, char *ret_byte)
{
    static const char names[] = "\\nrt", bytes[] = "\\\n\r\t";
    const char *name = rest.len == 0 ? NULL : memchr(names, rest.base[0], sizeof(names) - 1);

    if (name != NULL) {
        *ret_byte = bytes[name - names];
        return 1;
    }
    if (rest.len < 3 || rest.base[0] != 'x' || digit(rest.base[1]) < 0 || digit(rest.base[2]) < 0)
        return 0;
    *ret_byte = (char)(digit(rest.base[1]) << 4 | digit(rest.base[2]));
    return 3;
}

static size_t unpack(hub_str_t packed, size_t line, char *buffer)
{
    size_t len = 0;

    for (size_t i = 0; i != packed.len; ++len) {
        size_t skip = 0;

        buffer[len] = packed.base[i++];
        if (buffer[len] != '\\')
            continue;
        skip = unescape(hub_str_n(packed.base + i, packed.len - i), &buffer[len]);
        if (skip == 0) {
            fprintf(stderr, "pack: line %zu, byte %zu: no escape\n", line, i);
            exit(EXIT_FAILURE);
        }
        i += skip;
    }
    return len;
}

bool pack_next(hub_str_t *text, size_t *line, char *buffer, hub_str_t *ret_input)
{
    while (text->len != 0) {
        const char *end = memchr(text->base, '\n', text->len);
        size_t len = end == NULL ? text->len : (size_t)(end - text->base);
        hub_str_t packed = hub_str_n(text->base, len);

        text->base += len + (end != NULL);
        text->len -= len + (end != NULL);
        ++*line;
        if (len != 0 && packed.base[0] == '#')
            continue;
        *ret_input = hub_str_n(buffer, unpack(packed, *line, buffer));
        return true;
    }
    return false;
}

void pack_append(hub__buffer_t *text, hub_str_t input)
{
    for (size_t i = 0; i != input.len; ++i) {
        char c = input.base[i];

        if (c == '\n' || c == '\r' || c == '\t' || c == '\\')
            hub__buffer_printf(text, "\\%c",
                               c == '\n'   ? 'n'
                               : c == '\r' ? 'r'
                               : c == '\t' ? 't'
                                           : '\\');
        else if (c < ' ' || c > '~' || (i == 0 && c == '#'))
            hub__buffer_printf(text, "\\x%02x", (unsigned)(uint8_t)c);
        else
            hub__buffer_append(text, hub_str_n(&c, 1));
    }
    HUB__APPEND_LITERAL(text, "\n");
}
