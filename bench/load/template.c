/* SPDX-License-Identifier: MIT */
/* Every server has words of its own for join, leave and publish. Most of them differ in nothing but
 * those words, so that a text file is enough to judge one that this program has never heard of. */
#define _GNU_SOURCE
#include "bench/load/template.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/buffer.h"
#include "bench/options.h"

#define FILE_MAX (1u << 20)
#define COUNT_MAX 1000

typedef struct place {
    const char *name;
    size_t line;
} place_t;

typedef enum value_kind { VALUE_TEXT, VALUE_COUNT, VALUE_BOOL } value_kind_t;

typedef struct key {
    const char *name;
    value_kind_t kind;
    size_t offset;
    const char *help;
} template_key_t;

#define TEXT(name) #name, VALUE_TEXT, offsetof(template_t, name)
#define NUMBER(name) #name, VALUE_COUNT, offsetof(template_t, name)
#define BOOL(name) #name, VALUE_BOOL, offsetof(template_t, name)

static const template_key_t TEMPLATE_KEYS[] = {
    {TEXT(path), "of the request, where --url has none; with {topic}: connecting joins (/)"},
    {TEXT(publish_path), "the same for publishers (as path)"},
    {TEXT(subprotocol), "asked for when upgrading (none)"},
    {BOOL(binary), "yes: sends binary frames (no)"},
    {TEXT(payload), "what a message is, around {data} ({data})"},
    {NUMBER(greetings), "frames that the server sends first (0)"},
    {TEXT(hello), "said then (nothing)"},
    {NUMBER(hello_answers), "frames that answer it (0)"},
    {TEXT(hello_ok), "what the last of them contains (anything)"},
    {TEXT(join), "asks for membership (the path does)"},
    {NUMBER(join_answers), "frames that answer it (0)"},
    {TEXT(join_ok), "what the last of them contains (anything)"},
    {BOOL(barrier), "no: deliveries may overtake that answer (yes)"},
    {TEXT(leave), "ends it (nothing does)"},
    {NUMBER(leave_answers), "frames that answer it (0)"},
    {TEXT(leave_ok), "what the last of them contains (anything)"},
    {TEXT(publish), "to all members; required"},
    {NUMBER(publish_answers), "frames that answer it; any: whatever comes (0)"},
    {BOOL(publisher_joins), "yes: only members may publish, and they hear themselves (no)"},
    {TEXT(delivery), "how a delivery looks, around {payload} (learned from the first)"},
    {TEXT(echo), "answered to its sender; a topic of its own is joined before (not available)"},
    {TEXT(echo_delivery), "how that answer looks (as delivery)"},
    {TEXT(ping), "a message that asks for a sign of life (none)"},
    {TEXT(pong), "the sign"},
    {TEXT(ignore), "messages that begin so are nothing (none)"},
};
#define KEYS (sizeof(TEMPLATE_KEYS) / sizeof(*TEMPLATE_KEYS))

/* ---- values ---- */

static int hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
                                        : -1;
}

/* Reads what follows a backslash; returns how many characters of it. */
static size_t unescape(const place_t *place, const char *at, const char *end, char *ret_byte)
{
    static const char names[] = "rnts\\", bytes[] = "\r\n\t \\";
    const char *found = at != end ? strchr(names, *at) : NULL;

    if (found != NULL && *found != '\0') {
        *ret_byte = bytes[found - names];
        return 1;
    }
    if (end - at >= 3 && *at == 'x' && hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0) {
        *ret_byte = (char)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
        return 3;
    }
    options_fail("%s:%zu: '\\%.*s' is no escape: \\r \\n \\t \\s \\\\ or \\xHH", place->name,
                 place->line, at != end, at);
}

/* The placeholder at `at`, which is a brace; 0: it is only a brace. */
static size_t placeholder(const place_t *place, const char *at, const char *end, part_kind_t *ret)
{
    static const struct {
        const char *name;
        part_kind_t kind;
    } names[] = {{"{topic}", PART_TOPIC},  {"{payload}", PART_PAYLOAD},
                 {"{data}", PART_PAYLOAD}, {"{payload_bytes}", PART_PAYLOAD_BYTES},
                 {"{ref}", PART_REF},      {"{conn}", PART_CONN}};
    const char *last = at + 1;

    while (last != end && (islower((unsigned char)*last) || *last == '_'))
        ++last;
    if (last == end || *last != '}' || last == at + 1)
        return 0;
    for (size_t i = 0; i != sizeof(names) / sizeof(*names); ++i) {
        if (strncmp(at, names[i].name, (size_t)(last + 1 - at)) != 0 ||
            names[i].name[last + 1 - at] != '\0')
            continue;
        *ret = names[i].kind;
        return (size_t)(last + 1 - at);
    }
    options_fail(
        "%s:%zu: '%.*s' is no placeholder: {topic} {payload} {payload_bytes} {ref} {conn}, "
        "or {data} in payload",
        place->name, place->line, (int)(last + 1 - at), at);
}

/* A literal goes on until something else begins. */
static void add_part(text_t *text, part_kind_t kind, const char *bytes, size_t len)
{
    part_t *last = text->count != 0 ? &text->parts[text->count - 1] : NULL;

    if (kind == PART_LITERAL && last != NULL && last->kind == PART_LITERAL)
        last->len += len;
    else
        text->parts[text->count++] = (part_t){.kind = kind, .bytes = bytes, .len = len};
}

static void read_text(const place_t *place, const char *value, const char *end, text_t *text)
{
    size_t size = (size_t)(end - value) + 1;

    *text = (text_t){.bytes = load_calloc(size, 1), .parts = load_calloc(size, sizeof(part_t))};
    while (value != end) {
        part_kind_t kind = PART_LITERAL;
        size_t taken = *value == '{' ? placeholder(place, value, end, &kind) : 0;

        if (kind != PART_LITERAL) {
            add_part(text, kind, NULL, 0);
        } else {
            taken = 1;
            text->bytes[text->len] = *value;
            if (*value == '\\')
                taken += unescape(place, value + 1, end, &text->bytes[text->len]);
            add_part(text, PART_LITERAL, &text->bytes[text->len++], 1);
        }
        value += taken;
    }
}

static void read_count(const place_t *place, const template_key_t *key, const char *value,
                       size_t len, long *ret)
{
    char digits[8] = "", *end;

    if (len == 3 && memcmp(value, "any", 3) == 0 && strcmp(key->name, "publish_answers") == 0) {
        *ret = TEMPLATE_ANY;
        return;
    }
    memcpy(digits, value, len < sizeof(digits) ? len : sizeof(digits) - 1);
    *ret = strtol(digits, &end, 10);
    if (len == 0 || len >= sizeof(digits) || *end != '\0' || *ret < 0 || *ret > COUNT_MAX)
        options_fail("%s:%zu: %s '%.*s': not a whole number from 0 to %d", place->name, place->line,
                     key->name, (int)len, value, COUNT_MAX);
}

static void read_bool(const place_t *place, const template_key_t *key, const char *value,
                      size_t len, bool *ret)
{
    *ret = len == 3 && memcmp(value, "yes", 3) == 0;
    if (!*ret && !(len == 2 && memcmp(value, "no", 2) == 0))
        options_fail("%s:%zu: %s '%.*s': neither yes nor no", place->name, place->line, key->name,
                     (int)len, value);
}

/* ---- lines ---- */

static void read_value(template_t *template, const place_t *place, const template_key_t *key,
                       const char *value, const char *end)
{
    void *member = (char *)template + key->offset;

    if (key->kind == VALUE_TEXT)
        read_text(place, value, end, member);
    else if (key->kind == VALUE_COUNT)
        read_count(place, key, value, (size_t)(end - value), member);
    else
        read_bool(place, key, value, (size_t)(end - value), member);
}

static void skip_blanks(const char **at, const char **end)
{
    while (*at != *end && isspace((unsigned char)**at))
        ++*at;
    while (*end != *at && isspace((unsigned char)(*end)[-1]))
        --*end;
}

static const template_key_t *find_key(const place_t *place, const char *name, size_t len)
{
    for (size_t i = 0; i != KEYS; ++i)
        if (strlen(TEMPLATE_KEYS[i].name) == len && memcmp(TEMPLATE_KEYS[i].name, name, len) == 0)
            return &TEMPLATE_KEYS[i];
    options_fail("%s:%zu: there is no key '%.*s'; --help lists them", place->name, place->line,
                 (int)len, name);
}

static void read_line(template_t *template, const place_t *place, const char *at, const char *end,
                      bool *given)
{
    const char *equals, *name_end;
    const template_key_t *key;

    skip_blanks(&at, &end);
    if (at == end || *at == '#')
        return;
    equals = memchr(at, '=', (size_t)(end - at));
    if (equals == NULL)
        options_fail("%s:%zu: '%.*s' is not key = value", place->name, place->line, (int)(end - at),
                     at);
    name_end = equals;
    skip_blanks(&at, &name_end);
    key = find_key(place, at, (size_t)(name_end - at));
    if (given[key - TEMPLATE_KEYS])
        options_fail("%s:%zu: %s for the second time", place->name, place->line, key->name);
    given[key - TEMPLATE_KEYS] = true;
    ++equals;
    skip_blanks(&equals, &end);
    read_value(template, place, key, equals, end);
}

static size_t count_of(const text_t *text, part_kind_t kind)
{
    size_t count = 0;

    for (size_t i = 0; i != text->count; ++i)
        count += text->parts[i].kind == kind;
    return count;
}

bool text_has(const text_t *text, part_kind_t kind)
{
    return count_of(text, kind) != 0;
}

/* What no line alone can tell. */
static void check_whole(const template_t *template, const char *name)
{
    const struct {
        const char *key;
        const text_t *text;
        bool required;
    } carriers[] = {{"publish", &template->publish, true},
                    {"echo", &template->echo, false},
                    {"delivery", &template->delivery, false},
                    {"echo_delivery", &template->echo_delivery, false},
                    {"payload", &template->payload, false}};

    for (size_t i = 0; i != sizeof(carriers) / sizeof(*carriers); ++i) {
        bool set = text_is_set(carriers[i].text);

        if (!set && carriers[i].required)
            options_fail("%s: %s is missing", name, carriers[i].key);
        if (set && count_of(carriers[i].text, PART_PAYLOAD) != 1)
            options_fail("%s: %s does not have its payload exactly once", name, carriers[i].key);
    }
    if (text_is_set(&template->ping) && !text_is_set(&template->pong))
        options_fail("%s: there is a ping, but no pong", name);
    if (!text_is_set(&template->join) && !text_has(&template->path, PART_TOPIC))
        options_fail("%s: there is neither a join nor a {topic} in path", name);
}

void template_parse(template_t *ret_template, const char *name, const char *text)
{
    place_t place = {.name = name, .line = 1};
    bool given[KEYS] = {false};

    *ret_template = (template_t){.barrier = true};
    for (const char *end; *text != '\0'; text = *end != '\0' ? end + 1 : end, ++place.line) {
        end = strchrnul(text, '\n');
        read_line(ret_template, &place, text, end, given);
    }
    check_whole(ret_template, name);
}

void template_read(template_t *ret_template, const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = load_calloc(FILE_MAX + 1, 1);
    size_t len = file != NULL ? fread(text, 1, FILE_MAX, file) : 0;

    if (file == NULL || ferror(file))
        options_fail("--template %s: %s", path, strerror(errno));
    if (len == FILE_MAX || strlen(text) != len)
        options_fail("--template %s: %s", path, len == FILE_MAX ? "too long" : "has a NUL in it");
    fclose(file);
    template_parse(ret_template, path, text);
    free(text);
}

void template_dispose(template_t *template)
{
    for (size_t i = 0; i != KEYS; ++i) {
        text_t *text = (text_t *)(void *)((char *)template + TEMPLATE_KEYS[i].offset);

        if (TEMPLATE_KEYS[i].kind != VALUE_TEXT)
            continue;
        free(text->bytes);
        free(text->parts);
        *text = (text_t){.bytes = NULL};
    }
}

void template_print_keys(FILE *to)
{
    for (size_t i = 0; i != KEYS; ++i)
        fprintf(to, "  %-16s %s\n", TEMPLATE_KEYS[i].name, TEMPLATE_KEYS[i].help);
}
