/* SPDX-License-Identifier: MIT */
/* The scanner that every message passes through once. It reads each byte once and keeps nothing
 * but a bit per open bracket, so its cost is that of looking at the bytes; most of these lie in
 * strings, where many are looked at together.
 *
 * The functions take the place to read from and return the place behind what they read, or NULL
 * after they have noted the first byte that no continuation could make right. A place at the end
 * of the text reads as NUL, which is wrong everywhere outside of strings: so the end needs no check
 * of its own there, and an early end is reported at the length of the text. */
#include "bus/json.h"

#include "bus/plain.h"

struct scan {
    const uint8_t *start, *end;
    const uint8_t *wrong; /* with `status`, where it failed */
    hub_status_t status;
    bool escaped; /* the last string had a backslash in it */
};

static const uint8_t *fail(struct scan *scan, hub_status_t status, const uint8_t *wrong)
{
    scan->status = status;
    scan->wrong = wrong;
    return NULL;
}

/* An absent text has no address to count from. */
static const uint8_t *first_byte(hub_str_t text)
{
    return (const uint8_t *)(text.base == NULL ? "" : text.base);
}

static inline unsigned peek(const struct scan *scan, const uint8_t *at)
{
    return at < scan->end ? *at : 0;
}

static inline bool is_digit(unsigned byte)
{
    return byte - '0' < 10;
}

/* Skips the characters beyond ASCII that stand here, byte by byte as in table 3-7 of the Unicode
 * standard: only the second byte has bounds that depend on the first. */
static const uint8_t *read_multibyte(struct scan *scan, const uint8_t *at)
{
    const uint8_t *end = scan->end;

    while (at < end && *at >= 0x80) {
        unsigned lead = *at;
        unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;

        if (lead < 0xC2 || lead > 0xF4)
            return fail(scan, HUB_EUTF8, at);
        for (at++; more > 0; more--, at++) {
            if (at == end || *at < low || *at > high)
                return fail(scan, HUB_EUTF8, at);
            low = 0x80;
            high = 0xBF;
        }
    }
    return at;
}

static inline bool is_hex(unsigned byte)
{
    return is_digit(byte) || (byte | 0x20) - 'a' < 6;
}

static const uint8_t *read_escape(struct scan *scan, const uint8_t *at)
{
    scan->escaped = true;
    at++;
    switch (peek(scan, at)) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return at + 1;
    case 'u':
        at++;
        for (int i = 0; i < 4; i++, at++) {
            if (!is_hex(peek(scan, at)))
                return fail(scan, HUB_ESYNTAX, at);
        }
        return at;
    default:
        return fail(scan, HUB_ESYNTAX, at);
    }
}

static const uint8_t *read_string(struct scan *scan, const uint8_t *at)
{
    scan->escaped = false;
    at++;
    while (at != NULL) {
        unsigned byte;

        at = hub__plain_skip(scan->start, at, scan->end);
        byte = peek(scan, at);
        if (byte == '"')
            return at + 1;
        if (byte == '\\')
            at = read_escape(scan, at);
        else if (byte >= 0x80)
            at = read_multibyte(scan, at);
        else
            return fail(scan, HUB_ESYNTAX, at);
    }
    return NULL;
}

static inline const uint8_t *read_digits(struct scan *scan, const uint8_t *at)
{
    if (!is_digit(peek(scan, at)))
        return fail(scan, HUB_ESYNTAX, at);
    do
        at++;
    while (is_digit(peek(scan, at)));
    return at;
}

static const uint8_t *read_number(struct scan *scan, const uint8_t *at)
{
    if (*at == '-')
        at++;
    if (peek(scan, at) == '0')
        at++; /* nothing follows a leading zero */
    else
        at = read_digits(scan, at);
    if (at != NULL && peek(scan, at) == '.')
        at = read_digits(scan, at + 1);
    if (at != NULL && (peek(scan, at) | 0x20) == 'e') {
        at++;
        if (peek(scan, at) == '+' || peek(scan, at) == '-')
            at++;
        at = read_digits(scan, at);
    }
    return at;
}

static const uint8_t *read_word(struct scan *scan, const uint8_t *at, const char *word)
{
    for (; *word != '\0'; word++, at++) {
        if (peek(scan, at) != (unsigned char)*word)
            return fail(scan, HUB_ESYNTAX, at);
    }
    return at;
}

static inline bool is_space(unsigned byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static inline const uint8_t *skip_space(const struct scan *scan, const uint8_t *at)
{
    while (is_space(peek(scan, at)))
        at++;
    return at;
}

/* A value that is neither array nor object. */
static const uint8_t *read_scalar(struct scan *scan, const uint8_t *at, hub_json_kind_t *ret_kind)
{
    switch (peek(scan, at)) {
    case '"':
        *ret_kind = HUB_JSON_STRING;
        return read_string(scan, at);
    case 't':
        *ret_kind = HUB_JSON_TRUE;
        return read_word(scan, at, "true");
    case 'f':
        *ret_kind = HUB_JSON_FALSE;
        return read_word(scan, at, "false");
    case 'n':
        *ret_kind = HUB_JSON_NULL;
        return read_word(scan, at, "null");
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        *ret_kind = HUB_JSON_NUMBER;
        return read_number(scan, at);
    default:
        return fail(scan, HUB_ESYNTAX, at);
    }
}

/* A key and its colon; returns the place of the value. `*ret_end` is the end of the key. */
static inline const uint8_t *read_key(struct scan *scan, const uint8_t *at, const uint8_t **ret_end)
{
    if (peek(scan, at) != '"')
        return fail(scan, HUB_ESYNTAX, at);
    at = read_string(scan, at);
    if (at == NULL)
        return NULL;
    *ret_end = at;
    at = skip_space(scan, at);
    if (peek(scan, at) != ':')
        return fail(scan, HUB_ESYNTAX, at);
    return skip_space(scan, at + 1);
}

/* The open brackets, a bit each: set for an object. */
struct nesting {
    uint64_t objects[HUB_JSON_DEPTH_MAX / 64];
    size_t depth;
};

static inline void nesting_push(struct nesting *nesting, bool object)
{
    uint64_t *word = &nesting->objects[nesting->depth / 64];
    unsigned bit = nesting->depth % 64;

    *word = (*word & ~(UINT64_C(1) << bit)) | ((uint64_t)object << bit);
    nesting->depth++;
}

/* Whether the innermost bracket is an object's. */
static inline bool nesting_top(const struct nesting *nesting)
{
    size_t top = nesting->depth - 1;

    return (nesting->objects[top / 64] >> (top % 64)) & 1;
}

/* An array or an object with all that is in it. */
static const uint8_t *read_container(struct scan *scan, const uint8_t *at, size_t max_depth)
{
    struct nesting nesting = {{0}, 0};
    const uint8_t *key_end;
    bool object = false;

    for (;;) {
        unsigned byte = peek(scan, at);

        /* here stands a value */
        if (byte == '{' || byte == '[') {
            if (nesting.depth == max_depth)
                return fail(scan, HUB_EDEPTH, at);
            object = byte == '{';
            nesting_push(&nesting, object);
            at = skip_space(scan, at + 1);
            if (peek(scan, at) != (object ? '}' : ']')) {
                if (object && (at = read_key(scan, at, &key_end)) == NULL)
                    return NULL;
                continue;
            }
        } else {
            hub_json_kind_t kind;

            at = read_scalar(scan, at, &kind);
            if (at == NULL)
                return NULL;
            at = skip_space(scan, at);
        }

        /* here stands a comma, or as many brackets as end together */
        while (peek(scan, at) == (object ? '}' : ']')) {
            at++;
            if (--nesting.depth == 0)
                return at;
            object = nesting_top(&nesting);
            at = skip_space(scan, at);
        }
        if (peek(scan, at) != ',')
            return fail(scan, HUB_ESYNTAX, at);
        at = skip_space(scan, at + 1);
        if (object && (at = read_key(scan, at, &key_end)) == NULL)
            return NULL;
    }
}

static const uint8_t *read_value(struct scan *scan, const uint8_t *at, size_t max_depth,
                                 hub_json_value_t *ret_value)
{
    const uint8_t *start = at;
    unsigned byte = peek(scan, at);
    hub_json_kind_t kind;

    if (byte == '{' || byte == '[') {
        kind = byte == '{' ? HUB_JSON_OBJECT : HUB_JSON_ARRAY;
        at = read_container(scan, at, max_depth);
    } else {
        at = read_scalar(scan, at, &kind);
    }
    if (at == NULL)
        return NULL;
    ret_value->raw = hub_str_n((const char *)start, (size_t)(at - start));
    ret_value->kind = kind;
    ret_value->escaped = kind == HUB_JSON_STRING && scan->escaped;
    return at;
}

static size_t depth_limit(size_t max_depth)
{
    if (max_depth == 0)
        return HUB_JSON_DEPTH_DEFAULT;
    return max_depth < HUB_JSON_DEPTH_MAX ? max_depth : HUB_JSON_DEPTH_MAX;
}

static hub_status_t describe(const struct scan *scan, size_t offset, size_t max_depth,
                             hub_error_t *error)
{
    if (scan->status == HUB_EDEPTH)
        return hub_error_set(error, HUB_EDEPTH, offset, "JSON nested deeper than %zu at byte %zu",
                             max_depth, offset);
    if (scan->status == HUB_EUTF8)
        return hub_error_set(error, HUB_EUTF8, offset, "JSON is not valid UTF-8 at byte %zu",
                             offset);
    if (scan->wrong == scan->end)
        return hub_error_set(error, HUB_ESYNTAX, offset, "JSON ends too early at byte %zu", offset);
    return hub_error_set(error, HUB_ESYNTAX, offset, "JSON has a wrong byte 0x%02x at byte %zu",
                         *scan->wrong, offset);
}

hub_status_t hub_json_scan(hub_str_t text, size_t max_depth, hub_json_value_t *ret_value,
                           hub_error_t *error)
{
    const uint8_t *start = first_byte(text), *at;
    struct scan scan = {.start = start, .end = start + text.len};
    hub_json_value_t value;

    max_depth = depth_limit(max_depth);
    at = read_value(&scan, skip_space(&scan, start), max_depth, &value);
    if (at != NULL) {
        at = skip_space(&scan, at);
        if (at != scan.end)
            at = fail(&scan, HUB_ESYNTAX, at);
    }
    if (at == NULL)
        return describe(&scan, (size_t)(scan.wrong - start), max_depth, error);
    if (ret_value != NULL)
        *ret_value = value;
    return HUB_OK;
}

/* The text is cut at the wrong byte, so that a further call can't go on behind it. */
static hub_status_t cursor_fail(hub_json_cursor_t *cursor, const struct scan *scan)
{
    cursor->offset = (size_t)(scan->wrong - first_byte(cursor->text));
    cursor->text.len = cursor->offset;
    return scan->status;
}

/* `at` is behind the last bracket. */
static hub_status_t cursor_end(hub_json_cursor_t *cursor, struct scan *scan, const uint8_t *at)
{
    at = skip_space(scan, at);
    if (at != scan->end) {
        fail(scan, HUB_ESYNTAX, at);
        return cursor_fail(cursor, scan);
    }
    cursor->offset = cursor->text.len;
    cursor->container = HUB_JSON_NULL; /* nothing more to read */
    return HUB_ENOTFOUND;
}

hub_status_t hub_json_open(hub_json_cursor_t *cursor, hub_str_t text, hub_json_kind_t container,
                           size_t max_depth)
{
    const uint8_t *start = first_byte(text), *at;
    struct scan scan = {.start = start, .end = start + text.len};

    *cursor = (hub_json_cursor_t){
        .text = text, .max_depth = depth_limit(max_depth), .container = container, .first = true};
    at = skip_space(&scan, start);
    if (peek(&scan, at) != (container == HUB_JSON_OBJECT ? '{' : '[')) {
        fail(&scan, HUB_ESYNTAX, at);
        return cursor_fail(cursor, &scan);
    }
    cursor->offset = (size_t)(at + 1 - start);
    return HUB_OK;
}

hub_status_t hub_json_next(hub_json_cursor_t *cursor, hub_json_value_t *ret_key,
                           hub_json_value_t *ret_value)
{
    const uint8_t *start = first_byte(cursor->text), *at, *key_start, *key_end = NULL;
    struct scan scan = {.start = start, .end = start + cursor->text.len};
    bool object = cursor->container == HUB_JSON_OBJECT, key_escaped;

    if (cursor->container == HUB_JSON_NULL)
        return HUB_ENOTFOUND;
    at = skip_space(&scan, start + cursor->offset);
    if (peek(&scan, at) == (object ? '}' : ']'))
        return cursor_end(cursor, &scan, at + 1);
    if (!cursor->first) {
        if (peek(&scan, at) != ',') {
            fail(&scan, HUB_ESYNTAX, at);
            return cursor_fail(cursor, &scan);
        }
        at = skip_space(&scan, at + 1);
    }
    key_start = at;
    if (object && (at = read_key(&scan, at, &key_end)) == NULL)
        return cursor_fail(cursor, &scan);
    key_escaped = scan.escaped;
    at = read_value(&scan, at, cursor->max_depth - 1, ret_value);
    if (at == NULL)
        return cursor_fail(cursor, &scan);
    if (object)
        *ret_key = (hub_json_value_t){
            .raw = hub_str_n((const char *)key_start, (size_t)(key_end - key_start)),
            .kind = HUB_JSON_STRING,
            .escaped = key_escaped};
    cursor->first = false;
    cursor->offset = (size_t)(at - start);
    return HUB_OK;
}

/* Where hub_json_unescape() reads and writes. */
struct unescape {
    const uint8_t *at, *end;
    char *to, *to_end;
};

static bool put(struct unescape *state, const void *bytes, size_t len)
{
    if ((size_t)(state->to_end - state->to) < len)
        return false;
    memcpy(state->to, bytes, len);
    state->to += len;
    return true;
}

static unsigned hex_value(unsigned byte)
{
    return is_digit(byte) ? byte - '0' : (byte | 0x20) - 'a' + 10;
}

/* Reads a backslash, 'u' and four digits; false if something else stands here. */
static bool read_unit(struct unescape *state, unsigned *ret_unit)
{
    unsigned unit = 0;

    if (state->end - state->at < 6 || state->at[0] != '\\' || state->at[1] != 'u')
        return false;
    for (int i = 2; i < 6; i++) {
        if (!is_hex(state->at[i]))
            return false;
        unit = unit << 4 | hex_value(state->at[i]);
    }
    state->at += 6;
    *ret_unit = unit;
    return true;
}

static size_t encode_utf8(unsigned code, uint8_t bytes[4])
{
    if (code < 0x80) {
        bytes[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        bytes[0] = (uint8_t)(0xC0 | code >> 6);
        bytes[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        bytes[0] = (uint8_t)(0xE0 | code >> 12);
        bytes[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        bytes[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    bytes[0] = (uint8_t)(0xF0 | code >> 18);
    bytes[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    bytes[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    bytes[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}

static hub_status_t unescape_unicode(struct unescape *state)
{
    unsigned code, low;
    uint8_t bytes[4];

    if (!read_unit(state, &code))
        return HUB_ESYNTAX;
    if (code >= 0xD800 && code <= 0xDFFF) {
        if (code >= 0xDC00 || !read_unit(state, &low) || low < 0xDC00 || low > 0xDFFF)
            return HUB_EUTF8;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    return put(state, bytes, encode_utf8(code, bytes)) ? HUB_OK : HUB_ETOOLARGE;
}

/* `state->at` is on a backslash. */
static hub_status_t unescape_one(struct unescape *state)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *name;

    if (state->end - state->at < 2)
        return HUB_ESYNTAX;
    if (state->at[1] == 'u')
        return unescape_unicode(state);
    name = memchr(names, state->at[1], sizeof(names) - 1);
    if (name == NULL)
        return HUB_ESYNTAX;
    state->at += 2;
    return put(state, &values[name - names], 1) ? HUB_OK : HUB_ETOOLARGE;
}

hub_status_t hub_json_unescape(hub_str_t raw, char *buffer, size_t size, size_t *ret_len)
{
    struct unescape state = {.to = buffer, .to_end = buffer + size};
    hub_status_t err = HUB_OK;

    if (raw.len < 2 || raw.base[0] != '"' || raw.base[raw.len - 1] != '"')
        return HUB_ESYNTAX;
    state.at = (const uint8_t *)raw.base + 1;
    state.end = (const uint8_t *)raw.base + raw.len - 1;
    while (state.at < state.end && err == HUB_OK) {
        const uint8_t *slash = memchr(state.at, '\\', (size_t)(state.end - state.at));
        const uint8_t *plain_end = slash == NULL ? state.end : slash;

        if (!put(&state, state.at, (size_t)(plain_end - state.at)))
            return HUB_ETOOLARGE;
        state.at = plain_end;
        if (slash != NULL)
            err = unescape_one(&state);
    }
    if (err == HUB_OK)
        *ret_len = (size_t)(state.to - buffer);
    return err;
}

bool hub_utf8_valid(hub_str_t text)
{
    const uint8_t *at = first_byte(text);
    struct scan scan = {.start = at, .end = at + text.len};

    while (at != NULL && (at = hub__ascii_skip(at, scan.end)) != scan.end)
        at = read_multibyte(&scan, at);
    return at != NULL;
}
