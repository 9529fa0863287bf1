/* SPDX-License-Identifier: MIT */
/* Lines for machines. Callers write key=value pairs for people, and what they took from a peer
 * stands in quotes with its escapes; so there is one place that escapes, and this one only puts
 * other marks around it. Whatever the text is, the line is valid JSON. */
#include "bus/line.h"

#include <stdio.h>

#include "bus/json.h"

#define EVENT_LIMIT 64

typedef struct out {
    char *base;
    size_t len;
} out_t;

static void put(out_t *out, hub_str_t bytes)
{
    if (out->len + bytes.len > HUB__LINE_BYTES)
        return; /* never: see HUB__LINE_BYTES */
    memcpy(out->base + out->len, bytes.base, bytes.len);
    out->len += bytes.len;
}

/* How many bytes the character at the start takes; 0: it is none. */
static size_t character(hub_str_t str)
{
    unsigned char first = (unsigned char)str.base[0];
    size_t len = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;

    return len <= str.len && hub_utf8_valid(hub_str_n(str.base, len)) ? len : 0;
}

/* Bytes that are no UTF-8 come from a program that logs without hub_log_escape(). */
static void put_string(out_t *out, hub_str_t str)
{
    put(out, HUB_STR("\""));
    while (str.len > 0) {
        size_t len = character(str);
        unsigned char byte = (unsigned char)str.base[0];
        char piece[8];

        if (len == 0 || byte < 0x20)
            put(out, hub_str_n(piece, (size_t)snprintf(piece, sizeof(piece), "\\\\x%02X", byte)));
        else if (byte == '"' || byte == '\\')
            put(out, hub_str_n(piece, (size_t)snprintf(piece, sizeof(piece), "\\%c", byte)));
        else
            put(out, hub_str_n(str.base, len));
        len += len == 0;
        str = hub_str_n(str.base + len, str.len - len);
    }
    put(out, HUB_STR("\""));
}

static bool is_number(hub_str_t str)
{
    size_t at = str.len > 1 && str.base[0] == '-', digits = str.len - at;

    if (digits == 0 || digits > 15 || (digits > 1 && str.base[at] == '0'))
        return false;
    while (at < str.len && str.base[at] >= '0' && str.base[at] <= '9')
        at++;
    return at == str.len;
}

static bool is_key_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '.' || byte == '-';
}

/* The pair at the start of `text`; returns the rest of it, NULL where there is no pair. A quoted
 * value may end without its quote: the text was cut. */
static const char *take_pair(const char *text, hub_str_t *ret_key, hub_str_t *ret_value,
                             bool *ret_quoted)
{
    const char *at = text, *value;

    while (is_key_byte(*at))
        at++;
    if (at == text || *at != '=')
        return NULL;
    *ret_key = hub_str_n(text, (size_t)(at - text));
    value = ++at;
    *ret_quoted = *value == '"';
    if (*ret_quoted) {
        for (at = ++value; *at != '\0' && *at != '"'; at++)
            at += at[0] == '\\' && at[1] != '\0';
    } else {
        at += strcspn(at, " ");
    }
    *ret_value = hub_str_n(value, (size_t)(at - value));
    at += *ret_quoted && *at == '"';
    return *at == '\0' || *at == ' ' ? at : NULL;
}

static void put_fields(out_t *out, const char *text)
{
    const char *comma = "", *rest;
    hub_str_t key, value;
    bool quoted;

    while (*(text += strspn(text, " ")) != '\0') {
        put(out, hub_str(comma));
        comma = ",";
        if ((rest = take_pair(text, &key, &value, &quoted)) == NULL) {
            put(out, HUB_STR("\"text\":"));
            put_string(out, hub_str(text));
            return;
        }
        put_string(out, key);
        put(out, HUB_STR(":"));
        if (!quoted && is_number(value))
            put(out, value);
        else
            put_string(out, value);
        text = rest;
    }
}

size_t hub__line_json(const char *time, const char *level, const char *event, const char *text,
                      char line[HUB__LINE_BYTES])
{
    out_t out = {.base = line};

    put(&out, HUB_STR("{\"time\":"));
    put_string(&out, hub_str(time));
    put(&out, HUB_STR(",\"level\":"));
    put_string(&out, hub_str(level));
    put(&out, HUB_STR(",\"event\":"));
    put_string(&out, hub_str_n(event, strnlen(event, EVENT_LIMIT)));
    put(&out, HUB_STR(",\"fields\":{"));
    put_fields(&out, text);
    put(&out, HUB_STR("}}\n"));
    return out.len;
}
