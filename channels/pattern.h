/* channels/pattern.h - private: "room:{id}" compiled, its parameters, its place in the order of
 * specificity.
 *
 *     literal text      matches itself; any characters but '{' '}' and '*'
 *     {name}            one or more characters other than ':', '/' and control characters (which
 *                       no topic has: that is checked elsewhere, and here once more)
 *     {name:regex}      what the PCRE2 expression matches (no ':' or '/' rule); an empty match is
 *                       no match; its braces must balance
 *     {name*}           last only: any characters, also none
 *     *                 last only: the same without a name, as Phoenix writes it
 *
 * Names are [A-Za-z_][A-Za-z0-9_]*, unique within a pattern. The whole topic must match: anchored
 * at both ends, so "room:1\n" is not "room:{id}".
 *
 * An expression is a closed box: it can't reach into the rest of the pattern, or change how that
 * is read. So it has characters, classes, groups (none captures), alternatives, quantifiers,
 * lookaround and (?i), (?m), (?s), (?-…), but no named groups, back references, recursion,
 * conditions, branch resets, verbs, callouts, comments, \Q…\E, \K, \G, \A, \z, \Z, \c, \C, \N, \R
 * or \X. "(*" and "(?" are read like that everywhere but behind a backslash: a class of '(' and '*'
 * is [*(].
 *
 * A pattern is immutable once compiled; matching needs a scratch of the calling thread. */
#pragma once

#include "bus/base.h"

#define HUB__PATTERN_BYTES_MAX 1024
#define HUB__PATTERN_PARAMS_MAX 16
#define HUB__TOPIC_BYTES_MAX 1024

typedef struct hub__pattern hub__pattern_t;
typedef struct hub__match_scratch hub__match_scratch_t;

/* What a pattern is made of. The kinds stand in the order of specificity; END is no token but the
 * place behind the last one. */
typedef enum hub__token_kind {
    HUB__TOKEN_LITERAL,
    HUB__TOKEN_CONSTRAINED,
    HUB__TOKEN_PLAIN,
    HUB__TOKEN_END,
    HUB__TOKEN_CATCH_ALL,
} hub__token_kind_t;

typedef struct hub__token {
    hub__token_kind_t kind;
    hub_str_t text; /* a literal's bytes, as many as stand together; a constraint's expression */
    hub_str_t name; /* of a parameter; absent: a literal, or '*' */
    size_t start;   /* within the source */
} hub__token_t;

/* A parameter's span within the topic. */
typedef struct hub__span {
    uint16_t start, end;
} hub__span_t;

typedef struct hub__captures {
    uint16_t prefix_len; /* bytes of the topic that the include prefix took */
    uint8_t count;
    hub__span_t spans[HUB__PATTERN_PARAMS_MAX]; /* in the order of hub__pattern_param_name() */
} hub__captures_t;

/* Compiles `prefix` followed by `source` (both pattern fragments, copied; `prefix` may be absent,
 * and must not end within a parameter). Errors name the pattern and the offset within the
 * concatenation: HUB_ESYNTAX for a stray or unclosed brace, an unnamed or repeated parameter,
 * something behind a catch-all, an expression that PCRE2 refuses (its message is in the error) or
 * that is no closed box; HUB_EUTF8; HUB_ELIMIT for a pattern that is too long or has too many
 * parameters; HUB_EINVAL for an empty `source`. */
HUB_MUST_USE hub_status_t hub__pattern_compile(hub_str_t prefix, hub_str_t source,
                                               hub__pattern_t **ret_pattern, hub_error_t *error);
/* NULL is allowed. */
void hub__pattern_destroy(hub__pattern_t *pattern);

hub_str_t hub__pattern_source(const hub__pattern_t *pattern); /* prefix and source as one text */
/* The literal text before the first parameter. */
hub_str_t hub__pattern_literal_prefix(const hub__pattern_t *pattern);
bool hub__pattern_is_literal(const hub__pattern_t *pattern);
size_t hub__pattern_param_count(const hub__pattern_t *pattern);
hub_str_t hub__pattern_param_name(const hub__pattern_t *pattern, size_t index);
/* SIZE_MAX where there is none of this name. */
size_t hub__pattern_param_index(const hub__pattern_t *pattern, hub_str_t name);
/* Borrowed from the pattern. No two literals stand side by side: they are one. */
const hub__token_t *hub__pattern_tokens(const hub__pattern_t *pattern, size_t *ret_count);

/* Room for one pattern in a message, its quotes and its NUL. */
#define HUB__PATTERN_QUOTED 96
/* Writes `source` in double quotes, cut with "…" where it is too long. Returns `buffer`. */
const char *hub__pattern_quote(hub_str_t source, char buffer[HUB__PATTERN_QUOTED]);

/* The order of specificity (negative: `left` is more specific), decided token by token from the
 * left at the first place where they differ: literal text, constrained parameter, plain parameter,
 * the end of the pattern, catch-all. Names of parameters do not count. Zero with `*ret_conflict`
 * set: cannot be told apart (equal, or two different constraints at one place). Where two different
 * literal texts meet the order is that of their bytes. */
int hub__pattern_compare(const hub__pattern_t *left, const hub__pattern_t *right,
                         bool *ret_conflict);
/* Whether they are the same but for the names of their parameters. */
bool hub__pattern_equals(const hub__pattern_t *left, const hub__pattern_t *right);

/* What ends a plain parameter. */
static inline bool hub__pattern_is_stop(char c)
{
    return c == ':' || c == '/' || (uint8_t)c < 0x20 || c == 0x7f;
}

hub__match_scratch_t *hub__match_scratch_create(void);
/* NULL is allowed. */
void hub__match_scratch_destroy(hub__match_scratch_t *scratch);

/* HUB_OK, HUB_ENOTFOUND, or HUB_ELIMIT when PCRE2 gave up (match 10,000, depth 2,000, heap 1 MiB)
 * or failed in any other way, or the topic is longer than HUB__TOPIC_BYTES_MAX: then the caller
 * must deny and not try a wider pattern. `topic` is valid UTF-8: the caller has checked it. */
HUB_MUST_USE hub_status_t hub__pattern_match(const hub__pattern_t *pattern, hub_str_t topic,
                                             hub__match_scratch_t *scratch,
                                             hub__captures_t *ret_captures);
/* The same result by PCRE2's interpreter, also where hub__pattern_match() needs no PCRE2 or uses
 * compiled code: what that is tested against. What counts towards the limits is up to PCRE2, so the
 * two may give up at different expressions. */
HUB_MUST_USE hub_status_t hub__pattern_match_reference(const hub__pattern_t *pattern,
                                                       hub_str_t topic,
                                                       hub__match_scratch_t *scratch,
                                                       hub__captures_t *ret_captures);
