/* bus/json.h - a single-pass scanner: validates RFC 8259 exactly, finds spans, allocates nothing.
 *
 * Iterative, so depth costs no stack. UTF-8 is checked (no overlong forms, no surrogates, nothing
 * above U+10FFFF). An escaped lone surrogate ("\ud800") is valid JSON by the grammar and passes
 * as it is, because payloads are relayed byte for byte; hub_json_unescape() refuses it, because no
 * UTF-8 can stand for it. Duplicate keys are the business of whoever reads the object. */
#pragma once

#include "bus/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hub_json_kind {
    HUB_JSON_NULL = 1,
    HUB_JSON_FALSE,
    HUB_JSON_TRUE,
    HUB_JSON_NUMBER,
    HUB_JSON_STRING,
    HUB_JSON_ARRAY,
    HUB_JSON_OBJECT,
} hub_json_kind_t;

/* One value inside a document. `raw` is the span of the whole value as it stands, quotes and
 * brackets included; borrowed from the document. */
typedef struct hub_json_value {
    hub_str_t raw;
    hub_json_kind_t kind;
    bool escaped; /* a string with at least one backslash in it */
} hub_json_value_t;

#define HUB_JSON_DEPTH_DEFAULT 64
#define HUB_JSON_DEPTH_MAX 256

/* Whether `text` is exactly one JSON value with nothing but white space around it. `max_depth`
 * counts nested arrays and objects: 1 allows `[]` but not `[[]]`; 0 means HUB_JSON_DEPTH_DEFAULT,
 * at most HUB_JSON_DEPTH_MAX. Errors: HUB_ESYNTAX, HUB_EUTF8, HUB_EDEPTH, each with the offset of
 * the first wrong byte (the length of the text where it ends too early). `ret_value` and `error`
 * may be NULL. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_json_scan(hub_str_t text, size_t max_depth,
                                                hub_json_value_t *ret_value, hub_error_t *error);

/* Reads the members of one object or the elements of one array in order, validating as it goes:
 *
 *     hub_json_cursor_t cursor;
 *     hub_json_value_t key, value;
 *     hub_json_open(&cursor, text, HUB_JSON_OBJECT, depth);
 *     while ((err = hub_json_next(&cursor, &key, &value)) == HUB_OK) ...
 *     if (err != HUB_ENOTFOUND) fail(cursor.offset);          // HUB_ENOTFOUND: the end, all was
 * valid
 *
 * The cursor is the caller's storage and borrows the text. */
typedef struct hub_json_cursor {
    hub_str_t text;
    size_t offset;    /* of the next byte to read; after an error, of the wrong one */
    size_t max_depth; /* may be set anew before each member, to at most HUB_JSON_DEPTH_MAX + 1 */
    hub_json_kind_t container;
    bool first;
} hub_json_cursor_t;

/* `container` is HUB_JSON_OBJECT or HUB_JSON_ARRAY. HUB_ESYNTAX where the text is something else.
 * Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_json_open(hub_json_cursor_t *cursor, hub_str_t text,
                                                hub_json_kind_t container, size_t max_depth);

/* The next member. In an array `ret_key` is untouched and may be NULL. HUB_ENOTFOUND after the last
 * one, once the closing bracket and the white space behind it were read; then, and only then, the
 * whole text was one valid value. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_json_next(hub_json_cursor_t *cursor,
                                                hub_json_value_t *ret_key,
                                                hub_json_value_t *ret_value);

/* The text of a JSON string (`raw` with its quotes, as a scan returned it) as UTF-8. Writes at most
 * `size` bytes, no NUL. HUB_ETOOLARGE where it does not fit, HUB_EUTF8 for a lone surrogate. A
 * string without escapes needs no copy: it is raw without its quotes. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_json_unescape(hub_str_t raw, char *buffer, size_t size,
                                                    size_t *ret_len);

/* Whether `text` is well-formed UTF-8. Any thread. */
HUB_API bool hub_utf8_valid(hub_str_t text);

#ifdef __cplusplus
}
#endif
