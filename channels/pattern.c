/* SPDX-License-Identifier: MIT */
/* Patterns. A source is cut into tokens, which decide the order of specificity, and put together
 * again as one anchored PCRE2 expression, which decides what matches. Where each plain parameter is
 * followed by ':', '/', a catch-all or the end, it can only take everything up to there: such a
 * pattern is matched by hand, at a third of the price, and PCRE2's answer for it is the test's.
 *
 * The expressions in constraints come from a configuration, so they are not trusted: what PCRE2
 * would let reach beyond its own parentheses is refused before it is pasted between ours. */
#include "channels/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/json.h"

#define MATCH_LIMIT 10000
#define DEPTH_LIMIT 2000
#define HEAP_LIMIT_KIB 1024
#define JIT_STACK_START ((size_t)32 * 1024)
#define JIT_STACK_MAX ((size_t)1024 * 1024)
#define PARENS_LIMIT 32

/* a literal before, between and behind the parameters, and a catch-all without a name */
#define TOKENS_MAX (2 * HUB__PATTERN_PARAMS_MAX + 2)

/* PCRE2_NO_AUTO_CAPTURE: the only groups that capture are ours, which have names. */
#define COMPILE_OPTIONS                                                                            \
    (PCRE2_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE |               \
     PCRE2_DOLLAR_ENDONLY)

/* The prefix ends `prefix_offset` bytes into the literal `prefix_token`, or before that parameter.
 */
struct hub__pattern {
    char *source;
    size_t len;
    pcre2_code *code;
    bool by_hand; /* matched without PCRE2 */
    uint8_t prefix_group;
    uint8_t param_count;
    uint8_t param_groups[HUB__PATTERN_PARAMS_MAX];
    uint8_t param_tokens[HUB__PATTERN_PARAMS_MAX];
    size_t prefix_token, prefix_offset;
    size_t token_count;
    hub__token_t tokens[];
};

struct hub__match_scratch {
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *stack; /* NULL: the 32 KiB that PCRE2 takes from the thread's own */
};

/* One source on its way to tokens. */
struct parser {
    hub_str_t text;
    size_t prefix_len;
    size_t at;
    size_t token_count;
    size_t param_count;
    hub__token_t tokens[TOKENS_MAX];
    hub_error_t *error;
};

const char *hub__pattern_quote(hub_str_t source, char buffer[HUB__PATTERN_QUOTED])
{
    const char *more = "";
    size_t len = source.len, room = HUB__PATTERN_QUOTED - sizeof("\"…\"");

    if (len > room) {
        more = "…";
        /* not within a character */
        for (len = room; len > 0 && ((uint8_t)source.base[len] & 0xc0) == 0x80; len--)
            ;
    }
    (void)snprintf(buffer, HUB__PATTERN_QUOTED, "\"%.*s%s\"", (int)len, len == 0 ? "" : source.base,
                   more);
    return buffer;
}

static hub_status_t fail(const struct parser *parser, hub_status_t status, size_t offset,
                         const char *format, ...) HUB_PRINTF(4, 5);

static hub_status_t fail(const struct parser *parser, hub_status_t status, size_t offset,
                         const char *format, ...)
{
    char quoted[HUB__PATTERN_QUOTED], detail[160];
    va_list args;

    va_start(args, format);
    if (vsnprintf(detail, sizeof(detail), format, args) < 0)
        detail[0] = '\0';
    va_end(args);
    return hub_error_set(parser->error, status, offset, "pattern %s, offset %zu: %s",
                         hub__pattern_quote(parser->text, quoted), offset, detail);
}

static hub_status_t fail_pcre2(const struct parser *parser, size_t offset, int code)
{
    PCRE2_UCHAR message[128] = "";

    (void)pcre2_get_error_message(code, message, sizeof(message));
    return fail(parser, HUB_ESYNTAX, offset, "%s", (const char *)message);
}

static bool is_name_char(char c, bool first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static bool is_alphanumeric(char c)
{
    return c != '_' && is_name_char(c, false);
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static char char_at(hub_str_t text, size_t at)
{
    return at < text.len ? text.base[at] : '\0';
}

static const hub__token_t *find_param(const struct parser *parser, hub_str_t name)
{
    for (size_t i = 0; i < parser->token_count; i++) {
        const hub__token_t *token = &parser->tokens[i];

        if (token->name.base != NULL && hub_str_equals(token->name, name))
            return token;
    }
    return NULL;
}

static void add_token(struct parser *parser, hub__token_kind_t kind, hub_str_t text, hub_str_t name,
                      size_t start)
{
    parser->tokens[parser->token_count++] =
        (hub__token_t){.kind = kind, .text = text, .name = name, .start = start};
}

static hub_status_t add_param(struct parser *parser, hub__token_kind_t kind, hub_str_t text,
                              hub_str_t name, size_t start)
{
    if (find_param(parser, name) != NULL)
        return fail(parser, HUB_ESYNTAX, start + 1, "the parameter {%.*s} is there already",
                    name.len > 64 ? 64 : (int)name.len, name.base);
    if (parser->param_count == HUB__PATTERN_PARAMS_MAX)
        return fail(parser, HUB_ELIMIT, start, "at most %d parameters", HUB__PATTERN_PARAMS_MAX);
    parser->param_count++;
    add_token(parser, kind, text, name, start);
    return HUB_OK;
}

/* Behind "{name:": up to the brace that closes the parameter. */
static hub_status_t parse_constraint(struct parser *parser, hub_str_t name, size_t start)
{
    hub_str_t text = parser->text;
    size_t begin = ++parser->at, depth = 1;

    for (; parser->at < text.len; parser->at++) {
        if (text.base[parser->at] == '{')
            depth++;
        else if (text.base[parser->at] == '}' && --depth == 0)
            break;
    }
    if (depth > 0)
        return fail(parser, HUB_ESYNTAX, start, "this '{' is not closed");
    if (parser->at == begin)
        return fail(parser, HUB_ESYNTAX, begin, "the expression is empty");
    text = hub_str_n(text.base + begin, parser->at - begin);
    parser->at++;
    return add_param(parser, HUB__TOKEN_CONSTRAINED, text, name, start);
}

static hub_status_t parse_param(struct parser *parser)
{
    hub_str_t none = {0}, name, text = parser->text;
    size_t start = parser->at++;
    char next;

    while (is_name_char(char_at(text, parser->at), parser->at == start + 1))
        parser->at++;
    name = hub_str_n(text.base + start + 1, parser->at - start - 1);
    if (parser->at == text.len)
        return fail(parser, HUB_ESYNTAX, start, "this '{' is not closed");
    if (name.len == 0)
        return fail(parser, HUB_ESYNTAX, start + 1,
                    "a parameter needs a name: letters, '_', digits");
    next = text.base[parser->at];
    if (next == ':')
        return parse_constraint(parser, name, start);
    if (next == '}') {
        parser->at++;
        return add_param(parser, HUB__TOKEN_PLAIN, none, name, start);
    }
    if (next == '*' && char_at(text, parser->at + 1) == '}') {
        parser->at += 2;
        return add_param(parser, HUB__TOKEN_CATCH_ALL, none, name, start);
    }
    return fail(parser, HUB_ESYNTAX, parser->at,
                "expected '}', ':' or '*}' behind a parameter's name");
}

static void parse_literal(struct parser *parser)
{
    size_t start = parser->at;

    while (parser->at < parser->text.len && !is_one_of(parser->text.base[parser->at], "{}*"))
        parser->at++;
    add_token(parser, HUB__TOKEN_LITERAL, hub_str_n(parser->text.base + start, parser->at - start),
              (hub_str_t){0}, start);
}

static hub_status_t parse_token(struct parser *parser)
{
    hub_str_t none = {0};

    if (parser->token_count > 0 &&
        parser->tokens[parser->token_count - 1].kind == HUB__TOKEN_CATCH_ALL)
        return fail(parser, HUB_ESYNTAX, parser->at, "nothing may follow a catch-all");
    switch (parser->text.base[parser->at]) {
    case '{':
        return parse_param(parser);
    case '}':
        return fail(parser, HUB_ESYNTAX, parser->at, "a '}' without its '{'");
    case '*':
        add_token(parser, HUB__TOKEN_CATCH_ALL, none, none, parser->at++);
        return HUB_OK;
    default:
        parse_literal(parser);
        return HUB_OK;
    }
}

static hub_status_t parse(struct parser *parser)
{
    while (parser->at < parser->text.len) {
        const hub__token_t *token = &parser->tokens[parser->token_count];
        hub_status_t status = parse_token(parser);

        if (status != HUB_OK)
            return status;
        if (token->kind != HUB__TOKEN_LITERAL && token->start < parser->prefix_len &&
            parser->at > parser->prefix_len)
            return fail(parser, HUB_ESYNTAX, token->start, "the prefix ends within this parameter");
    }
    return HUB_OK;
}

/* "(?" and what may follow: a plain group, an atomic one, lookaround, options of the group. No
 * option that changes how the rest is read: 'x' would let a comment hide our parenthesis, 'n' make
 * groups capture, 'J' double their names. */
static bool is_closed_group(hub_str_t text, size_t at)
{
    char next = char_at(text, at);

    if (next == '<')
        return is_one_of(char_at(text, at + 1), "=!");
    if (is_one_of(next, ":=!>"))
        return true;
    while (is_one_of(char_at(text, at), "ims-"))
        at++;
    return is_one_of(char_at(text, at), ":)");
}

/* Reads with less context than PCRE2 does, and so refuses a little more: each backslash with the
 * character behind it is one step for both, because the escapes that take the next backslash as
 * text (\Q and \c) and the comments are refused. */
static hub_status_t check_closed(const struct parser *parser, const hub__token_t *token)
{
    hub_str_t text = token->text;
    size_t base = (size_t)(text.base - parser->text.base);

    for (size_t i = 0; i < text.len; i++) {
        char next = char_at(text, i + 1);

        if (text.base[i] == '\\') {
            if (is_alphanumeric(next) && !is_one_of(next, "dDwWsShHvVbBpPxontrfea0"))
                return fail(parser, HUB_ESYNTAX, base + i,
                            "\\%c is not allowed in an expression here", next);
            i++;
        } else if (text.base[i] == '(' && next == '*') {
            return fail(parser, HUB_ESYNTAX, base + i, "(* is not allowed in an expression here");
        } else if (text.base[i] == '(' && next == '?' && !is_closed_group(text, i + 2)) {
            return fail(parser, HUB_ESYNTAX, base + i,
                        "this kind of (? is not allowed in an expression here");
        }
    }
    return HUB_OK;
}

/* What PCRE2 keeps for good at a program's start is no peer's choice. */
static void *allocate(size_t size, void *user)
{
    (void)user;
    return hub__alloc(size);
}

static void deallocate(void *ptr, void *user)
{
    (void)user;
    free(ptr);
}

static pcre2_code *compile_code(hub_str_t text, uint32_t options, uint32_t parens_limit,
                                int *ret_code, size_t *ret_offset)
{
    pcre2_general_context *general = pcre2_general_context_create(allocate, deallocate, NULL);
    pcre2_compile_context *context = pcre2_compile_context_create(general);
    pcre2_code *code;

    (void)pcre2_set_parens_nest_limit(context, parens_limit);
    code = pcre2_compile((PCRE2_SPTR)text.base, text.len, options | COMPILE_OPTIONS, ret_code,
                         ret_offset, context);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return code;
}

/* Compiled alone first: what is a whole expression by itself, with every parenthesis and class
 * closed, is still one between ours; and PCRE2's offset then is one in the source. */
static hub_status_t check_constraint(const struct parser *parser, const hub__token_t *token)
{
    size_t base = (size_t)(token->text.base - parser->text.base), offset = 0;
    hub_status_t status = check_closed(parser, token);
    pcre2_code *code;
    int error = 0;

    if (status != HUB_OK)
        return status;
    code = compile_code(token->text, 0, PARENS_LIMIT - 1, &error, &offset);
    if (code == NULL)
        return fail_pcre2(parser, base + offset, error);
    pcre2_code_free(code);
    return HUB_OK;
}

static hub_status_t check_constraints(const struct parser *parser)
{
    for (size_t i = 0; i < parser->token_count; i++) {
        const hub__token_t *token = &parser->tokens[i];
        hub_status_t status = HUB_OK;

        if (token->kind == HUB__TOKEN_CONSTRAINED)
            status = check_constraint(parser, token);
        if (status != HUB_OK)
            return status;
    }
    return HUB_OK;
}

/* Byte by byte instead of \Q…\E, which a literal "\E" would leave. */
static void append_literal(hub__buffer_t *regex, hub_str_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.base[i];

        if (byte < 0x20 || byte == 0x7f) {
            hub__buffer_printf(regex, "\\x%02x", byte);
            continue;
        }
        if (byte < 0x80 && !is_alphanumeric((char)byte))
            HUB__APPEND_LITERAL(regex, "\\");
        hub__buffer_append(regex, hub_str_n(&text.base[i], 1));
    }
}

static void append_param(hub__buffer_t *regex, const hub__token_t *token, size_t group)
{
    if (token->name.base != NULL)
        hub__buffer_printf(regex, "(?<g%zu>", group);
    if (token->kind == HUB__TOKEN_CONSTRAINED)
        hub__buffer_append(regex, token->text);
    else if (token->kind == HUB__TOKEN_PLAIN)
        HUB__APPEND_LITERAL(regex, "[^:/\\x00-\\x1f\\x7f]+"); /* hub__pattern_is_stop() */
    else
        HUB__APPEND_LITERAL(regex, "(?s:.*)");
    if (token->name.base != NULL)
        HUB__APPEND_LITERAL(regex, ")");
}

/* Writes the whole expression and notes which group is what. */
static void append_tokens(hub__buffer_t *regex, hub__pattern_t *pattern)
{
    uint8_t groups = 0, params = 0;

    for (size_t i = 0; i < pattern->token_count; i++) {
        const hub__token_t *token = &pattern->tokens[i];
        bool is_literal = token->kind == HUB__TOKEN_LITERAL;
        size_t done = 0;

        if (i == pattern->prefix_token) {
            done = pattern->prefix_offset;
            if (is_literal)
                append_literal(regex, hub_str_n(token->text.base, done));
            pattern->prefix_group = ++groups;
            HUB__APPEND_LITERAL(regex, "(?<prefix>)");
        }
        if (token->name.base != NULL) {
            pattern->param_groups[params] = ++groups;
            pattern->param_tokens[params++] = (uint8_t)i;
        }
        if (is_literal)
            append_literal(regex, hub_str_n(token->text.base + done, token->text.len - done));
        else
            append_param(regex, token, groups);
    }
    pattern->param_count = params;
}

/* Whether the only thing that a parameter can take is everything up to the next ':' or '/'. */
static bool can_match_by_hand(const struct parser *parser)
{
    for (size_t i = 0; i < parser->token_count; i++) {
        const hub__token_t *token = &parser->tokens[i];
        const hub__token_t *next = i + 1 < parser->token_count ? token + 1 : NULL;

        if (token->kind == HUB__TOKEN_CONSTRAINED)
            return false;
        if (token->kind != HUB__TOKEN_PLAIN || next == NULL || next->kind == HUB__TOKEN_CATCH_ALL)
            continue;
        if (next->kind != HUB__TOKEN_LITERAL || !is_one_of(next->text.base[0], ":/"))
            return false;
    }
    return true;
}

/* Takes the parser's text. */
static hub__pattern_t *make_pattern(const struct parser *parser, char *source)
{
    hub__pattern_t *pattern =
        hub__alloc_zeroed(sizeof(*pattern) + parser->token_count * sizeof(pattern->tokens[0]));
    size_t token = parser->token_count - 1;

    pattern->source = source;
    pattern->len = parser->text.len;
    pattern->by_hand = can_match_by_hand(parser);
    pattern->token_count = parser->token_count;
    memcpy(pattern->tokens, parser->tokens, parser->token_count * sizeof(pattern->tokens[0]));
    while (pattern->tokens[token].start > parser->prefix_len)
        token--;
    pattern->prefix_token = token;
    pattern->prefix_offset = parser->prefix_len - pattern->tokens[token].start;
    return pattern;
}

static hub_status_t compile_pattern(const struct parser *parser, hub__pattern_t *pattern)
{
    hub__buffer_t regex = {0};
    size_t offset = 0;
    int error = 0;

    append_tokens(&regex, pattern);
    pattern->code = compile_code(hub__buffer_str(&regex), PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                                 PARENS_LIMIT, &error, &offset);
    hub__buffer_dispose(&regex);
    /* each part has compiled, so it is the whole that is wrong: no offset would help */
    if (pattern->code == NULL)
        return fail_pcre2(parser, 0, error);
    /* a system may forbid memory that is both written and run: then PCRE2 interprets */
    if (!pattern->by_hand)
        (void)pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
    return HUB_OK;
}

static hub_status_t check_text(const struct parser *parser)
{
    size_t valid = parser->text.len;

    if (parser->text.len == parser->prefix_len)
        return fail(parser, HUB_EINVAL, parser->prefix_len, "it is empty");
    if (parser->text.len > HUB__PATTERN_BYTES_MAX)
        return fail(parser, HUB_ELIMIT, HUB__PATTERN_BYTES_MAX, "at most %d bytes",
                    HUB__PATTERN_BYTES_MAX);
    while (!hub_utf8_valid(hub_str_n(parser->text.base, valid)))
        valid--;
    if (valid < parser->text.len)
        return fail(parser, HUB_EUTF8, valid, "not valid UTF-8");
    return HUB_OK;
}

hub_status_t hub__pattern_compile(hub_str_t prefix, hub_str_t source, hub__pattern_t **ret_pattern,
                                  hub_error_t *error)
{
    struct parser parser = {.prefix_len = prefix.len, .error = error};
    hub__pattern_t *pattern;
    hub__buffer_t text = {0};
    hub_status_t status;

    hub__buffer_append(&text, prefix);
    hub__buffer_append(&text, source);
    parser.text = hub__buffer_str(&text);
    status = check_text(&parser);
    if (status == HUB_OK)
        status = parse(&parser);
    if (status == HUB_OK)
        status = check_constraints(&parser);
    if (status != HUB_OK) {
        hub__buffer_dispose(&text);
        return status;
    }
    pattern = make_pattern(&parser, text.base);
    status = compile_pattern(&parser, pattern);
    if (status == HUB_OK)
        *ret_pattern = pattern;
    else
        hub__pattern_destroy(pattern);
    return status;
}

void hub__pattern_destroy(hub__pattern_t *pattern)
{
    if (pattern == NULL)
        return;
    pcre2_code_free(pattern->code);
    free(pattern->source);
    free(pattern);
}

hub_str_t hub__pattern_source(const hub__pattern_t *pattern)
{
    return hub_str_n(pattern->source, pattern->len);
}

hub_str_t hub__pattern_literal_prefix(const hub__pattern_t *pattern)
{
    const hub__token_t *first = &pattern->tokens[0];

    return first->kind == HUB__TOKEN_LITERAL ? first->text : hub_str_n(pattern->source, 0);
}

bool hub__pattern_is_literal(const hub__pattern_t *pattern)
{
    return pattern->token_count == 1 && pattern->tokens[0].kind == HUB__TOKEN_LITERAL;
}

size_t hub__pattern_param_count(const hub__pattern_t *pattern)
{
    return pattern->param_count;
}

hub_str_t hub__pattern_param_name(const hub__pattern_t *pattern, size_t index)
{
    return pattern->tokens[pattern->param_tokens[index]].name;
}

size_t hub__pattern_param_index(const hub__pattern_t *pattern, hub_str_t name)
{
    for (size_t i = 0; i < pattern->param_count; i++) {
        if (hub_str_equals(hub__pattern_param_name(pattern, i), name))
            return i;
    }
    return SIZE_MAX;
}

const hub__token_t *hub__pattern_tokens(const hub__pattern_t *pattern, size_t *ret_count)
{
    *ret_count = pattern->token_count;
    return pattern->tokens;
}

static hub__token_kind_t kind_at(const hub__pattern_t *pattern, size_t index)
{
    return index < pattern->token_count ? pattern->tokens[index].kind : HUB__TOKEN_END;
}

/* Where one literal goes on and the other one has ended, what follows the other is no literal: so
 * the longer one is the more specific. */
static int compare_literals(hub_str_t left, hub_str_t right)
{
    int order = memcmp(left.base, right.base, left.len < right.len ? left.len : right.len);

    if (order != 0 || left.len == right.len)
        return order;
    return left.len > right.len ? -1 : 1;
}

int hub__pattern_compare(const hub__pattern_t *left, const hub__pattern_t *right,
                         bool *ret_conflict)
{
    *ret_conflict = false;
    for (size_t i = 0;; i++) {
        hub__token_kind_t kind = kind_at(left, i);
        int order = (int)kind - (int)kind_at(right, i);

        if (order == 0 && kind == HUB__TOKEN_LITERAL)
            order = compare_literals(left->tokens[i].text, right->tokens[i].text);
        if (order != 0)
            return order;
        if (kind == HUB__TOKEN_END ||
            (kind == HUB__TOKEN_CONSTRAINED &&
             !hub_str_equals(left->tokens[i].text, right->tokens[i].text)))
            break;
    }
    *ret_conflict = true;
    return 0;
}

bool hub__pattern_equals(const hub__pattern_t *left, const hub__pattern_t *right)
{
    if (left->token_count != right->token_count)
        return false;
    for (size_t i = 0; i < left->token_count; i++) {
        if (left->tokens[i].kind != right->tokens[i].kind ||
            !hub_str_equals(left->tokens[i].text, right->tokens[i].text))
            return false;
    }
    return true;
}

hub__match_scratch_t *hub__match_scratch_create(void)
{
    hub__match_scratch_t *scratch = hub__alloc_zeroed(sizeof(*scratch));
    pcre2_general_context *general = pcre2_general_context_create(allocate, deallocate, NULL);

    scratch->context = pcre2_match_context_create(general);
    scratch->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, general);
    pcre2_general_context_free(general);
    /* not by allocate(): the interpreter's heap is taken while a peer joins, and may fail */
    scratch->data = pcre2_match_data_create(HUB__PATTERN_PARAMS_MAX + 2, NULL);
    if (scratch->data == NULL) {
        fputs("pcre2_match_data_create: out of memory\n", stderr);
        abort();
    }
    (void)pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
    (void)pcre2_set_depth_limit(scratch->context, DEPTH_LIMIT);
    (void)pcre2_set_heap_limit(scratch->context, HEAP_LIMIT_KIB);
    if (scratch->stack != NULL)
        pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
    return scratch;
}

void hub__match_scratch_destroy(hub__match_scratch_t *scratch)
{
    if (scratch == NULL)
        return;
    pcre2_match_data_free(scratch->data);
    pcre2_jit_stack_free(scratch->stack);
    pcre2_match_context_free(scratch->context);
    free(scratch);
}

static hub__span_t span_of(size_t start, size_t end)
{
    return (hub__span_t){.start = (uint16_t)start, .end = (uint16_t)end};
}

/* A constraint such as [0-9]* matches the empty text, and a parameter never is that. */
static bool has_empty_constraint(const hub__pattern_t *pattern, const hub__captures_t *captures)
{
    for (size_t i = 0; i < pattern->param_count; i++) {
        if (captures->spans[i].start == captures->spans[i].end &&
            pattern->tokens[pattern->param_tokens[i]].kind == HUB__TOKEN_CONSTRAINED)
            return true;
    }
    return false;
}

static hub_status_t match_by_pcre2(const hub__pattern_t *pattern, hub_str_t topic, uint32_t options,
                                   hub__match_scratch_t *scratch, hub__captures_t *ret_captures)
{
    hub__captures_t captures = {.count = pattern->param_count};
    const size_t *spans = pcre2_get_ovector_pointer(scratch->data);
    int found = pcre2_match(pattern->code, (PCRE2_SPTR)(topic.len == 0 ? "" : topic.base),
                            topic.len, 0, options, scratch->data, scratch->context);

    if (found == PCRE2_ERROR_NOMATCH)
        return HUB_ENOTFOUND;
    if (found < 0)
        return HUB_ELIMIT;
    captures.prefix_len = (uint16_t)spans[2 * pattern->prefix_group];
    for (size_t i = 0; i < pattern->param_count; i++) {
        size_t group = pattern->param_groups[i];

        captures.spans[i] = span_of(spans[2 * group], spans[2 * group + 1]);
    }
    if (has_empty_constraint(pattern, &captures))
        return HUB_ENOTFOUND;
    *ret_captures = captures;
    return HUB_OK;
}

/* The end of what `token` takes from `at` on; SIZE_MAX where it takes nothing. */
static size_t take(const hub__token_t *token, hub_str_t topic, size_t at)
{
    size_t end = at;

    switch (token->kind) {
    case HUB__TOKEN_LITERAL:
        return topic.len - at >= token->text.len &&
                       memcmp(topic.base + at, token->text.base, token->text.len) == 0
                   ? at + token->text.len
                   : SIZE_MAX;
    case HUB__TOKEN_PLAIN:
        while (end < topic.len && !hub__pattern_is_stop(topic.base[end]))
            end++;
        return end > at ? end : SIZE_MAX;
    default:
        return topic.len;
    }
}

static hub_status_t match_by_hand(const hub__pattern_t *pattern, hub_str_t topic,
                                  hub__captures_t *ret_captures)
{
    hub__captures_t captures = {0};
    size_t at = 0;

    for (size_t i = 0; i < pattern->token_count; i++) {
        const hub__token_t *token = &pattern->tokens[i];
        size_t end = take(token, topic, at);

        if (end == SIZE_MAX)
            return HUB_ENOTFOUND;
        if (i == pattern->prefix_token)
            captures.prefix_len = (uint16_t)(at + pattern->prefix_offset);
        if (token->name.base != NULL)
            captures.spans[captures.count++] = span_of(at, end);
        at = end;
    }
    if (at != topic.len)
        return HUB_ENOTFOUND;
    *ret_captures = captures;
    return HUB_OK;
}

hub_status_t hub__pattern_match(const hub__pattern_t *pattern, hub_str_t topic,
                                hub__match_scratch_t *scratch, hub__captures_t *ret_captures)
{
    if (topic.len > HUB__TOPIC_BYTES_MAX)
        return HUB_ELIMIT;
    if (pattern->by_hand)
        return match_by_hand(pattern, topic, ret_captures);
    return match_by_pcre2(pattern, topic, 0, scratch, ret_captures);
}

hub_status_t hub__pattern_match_reference(const hub__pattern_t *pattern, hub_str_t topic,
                                          hub__match_scratch_t *scratch,
                                          hub__captures_t *ret_captures)
{
    if (topic.len > HUB__TOPIC_BYTES_MAX)
        return HUB_ELIMIT;
    return match_by_pcre2(pattern, topic, PCRE2_NO_JIT, scratch, ret_captures);
}
