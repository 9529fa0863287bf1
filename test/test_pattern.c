/* SPDX-License-Identifier: MIT */
/* Patterns: what they match, what they refuse to be, and their order of specificity. Every match is
 * made twice, by hand or by compiled code and by PCRE2's interpreter; random patterns are also
 * matched by a third, naive way. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "channels/pattern.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SEED 0x5ca1ab1eU

static hub__match_scratch_t *scratch;

static int set_up(void **state)
{
    (void)state;
    scratch = hub__match_scratch_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub__match_scratch_destroy(scratch);
    return 0;
}

static hub__pattern_t *compile(const char *prefix, const char *source)
{
    hub__pattern_t *pattern = NULL;
    hub_error_t error = {0};

    if (hub__pattern_compile(hub_str(prefix), hub_str(source), &pattern, &error) != HUB_OK)
        fail_msg("%s", error.text);
    return pattern;
}

/* "id=1 page=2", or what else came of the match; behind an include prefix "5|id=1". */
static void render(const hub__pattern_t *pattern, hub_str_t topic, hub_status_t status,
                   const hub__captures_t *captures, hub__buffer_t *text)
{
    if (status != HUB_OK) {
        hub__buffer_printf(text, "%s", hub_status_name(status));
        return;
    }
    if (captures->prefix_len > 0)
        hub__buffer_printf(text, "%u|", captures->prefix_len);
    assert_int_equal(captures->count, hub__pattern_param_count(pattern));
    for (size_t i = 0; i < captures->count; i++) {
        hub__span_t span = captures->spans[i];
        hub_str_t name = hub__pattern_param_name(pattern, i);

        assert_true(span.start <= span.end && span.end <= topic.len);
        hub__buffer_printf(text, "%s%.*s=%.*s", i == 0 ? "" : " ", HUB_STR_ARG(name),
                           span.end - span.start, topic.base + span.start);
    }
}

/* A copy of the exact size lets the sanitizer see a byte read too far. */
static void check_match(const hub__pattern_t *pattern, const char *text, const char *expected)
{
    hub__captures_t captures = {0}, reference = {0};
    hub__buffer_t actual = {0}, by_reference = {0};
    size_t len = strlen(text);
    hub_str_t topic = hub_str_n(memcpy(hub__alloc(len), text, len), len);

    render(pattern, topic, hub__pattern_match(pattern, topic, scratch, &captures), &captures,
           &actual);
    render(pattern, topic, hub__pattern_match_reference(pattern, topic, scratch, &reference),
           &reference, &by_reference);
    HUB__APPEND_LITERAL(&actual, "\0");
    HUB__APPEND_LITERAL(&by_reference, "\0");
    if (strcmp(actual.base, expected) != 0 || strcmp(by_reference.base, expected) != 0)
        fail_msg("\"%.*s\" against \"%s\": \"%s\", by reference \"%s\", expected \"%s\"",
                 HUB_STR_ARG(hub__pattern_source(pattern)), text, actual.base, by_reference.base,
                 expected);
    hub__buffer_dispose(&actual);
    hub__buffer_dispose(&by_reference);
    free((void *)(uintptr_t)topic.base);
}

struct match_row {
    const char *prefix, *source, *topic, *expected;
};

static void check_matches(const struct match_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hub__pattern_t *pattern = compile(rows[i].prefix, rows[i].source);

        check_match(pattern, rows[i].topic, rows[i].expected);
        hub__pattern_destroy(pattern);
    }
}

static void a_pattern_matches_the_whole_topic_or_nothing(void **state)
{
    static const struct match_row rows[] = {
        {NULL, "system", "system", ""},
        {NULL, "system", "systems", "ENOTFOUND"},
        {NULL, "system", "syste", "ENOTFOUND"},
        {NULL, "system", "", "ENOTFOUND"},
        {NULL, "system", "system\n", "ENOTFOUND"},
        {NULL, "room:{id}", "room:1", "id=1"},
        {NULL, "room:{id}", "room:", "ENOTFOUND"},
        {NULL, "room:{id}", "room:a/b", "ENOTFOUND"},
        {NULL, "room:{id}", "room:a:b", "ENOTFOUND"},
        {NULL, "room:{id}", "xroom:a", "ENOTFOUND"},
        {NULL, "room:{id:[0-9]+}", "room:1\n", "ENOTFOUND"},
        {NULL, "room:{id:[0-9]+$}", "room:1\n", "ENOTFOUND"},
        {NULL, "room:{id:[0-9]+$}", "room:1", "id=1"},
        {NULL, "room:{id}/{page}", "room:a/b", "id=a page=b"},
        {NULL, "{a}", "h\xc3\xa9", "a=h\xc3\xa9"},
        {NULL, "{a}{b}", "xyz", "a=xy b=z"},
        {NULL, "{a}x{b}", "axbxc", "a=axb b=c"},
        {NULL, "{a}-{b*}", "p-q-r", "a=p-q b=r"},
        {NULL, "{a}{b*}", "pq:r", "a=pq b=:r"},
    };

    (void)state;
    check_matches(rows, COUNT(rows));
}

/* Whoever hands topics in has refused them already; this is the second lock. */
static void a_plain_parameter_takes_no_control_characters(void **state)
{
    static const struct match_row rows[] = {
        {NULL, "room:{id}", "room:1\n", "ENOTFOUND"},
        {NULL, "room:{id}", "room:\x1f", "ENOTFOUND"},
        {NULL, "room:{id}", "room:\x7f", "ENOTFOUND"},
        {NULL, "room:{id}", "room: ", "id= "},
        {NULL, "room:{id}*", "room:1\n2", "id=1"},
        {NULL, "{a}-{b}", "1\n-2", "ENOTFOUND"},
    };

    (void)state;
    check_matches(rows, COUNT(rows));
}

static void a_catch_all_takes_any_characters_also_none(void **state)
{
    static const struct match_row rows[] = {
        {NULL, "file:{path*}", "file:", "path="},
        {NULL, "file:{path*}", "file:a:b/c\nd", "path=a:b/c\nd"},
        {NULL, "file:{path*}", "file", "ENOTFOUND"},
        {NULL, "file:*", "file:", ""},
        {NULL, "file:*", "file:a:b/c\n", ""},
        {NULL, "*", "", ""},
        {NULL, "{all*}", "", "all="},
        {NULL, "{a:[0-9]+}*", "12x", "a=12"},
        {NULL, "{a:[0-9]+}{b*}", "1\n2", "a=1 b=\n2"},
    };

    (void)state;
    check_matches(rows, COUNT(rows));
}

static void a_constraint_keeps_to_its_place(void **state)
{
    static const struct match_row rows[] = {
        {NULL, "room:{id:[0-9]{2,4}}", "room:123", "id=123"},
        {NULL, "room:{id:[0-9]{2,4}}", "room:12345", "ENOTFOUND"},
        {NULL, "{a:x|y}:{b}", "y:1", "a=y b=1"},
        {NULL, "{a:x|y}:{b}", "x", "ENOTFOUND"},
        {NULL, "{a:(x)(y)}:{b:(z)}", "xy:z", "a=xy b=z"},
        {NULL, "{a:(?i)x}:x", "X:x", "a=X"},
        {NULL, "{a:(?i)x}:x", "X:X", "ENOTFOUND"},
        {NULL, "{a:(?i:x)y}", "Xy", "a=Xy"},
        {NULL, "{a:.*}:{b}", "p:q:r", "a=p:q b=r"},
        {NULL, "{a:(?s).+}", "p\nq", "a=p\nq"},
        {NULL, "{a:.+}", "p\nq", "ENOTFOUND"},
        {NULL, "{a:(?!admin)\\w+}", "admin", "ENOTFOUND"},
        {NULL, "{a:(?!admin)\\w+}", "user", "a=user"},
        {NULL, "{a:(?>x+)}x", "xxx", "ENOTFOUND"},
        {NULL, "{a:\\p{Lu}+}", "\xc3\x89", "a=\xc3\x89"},
        {NULL, "{a:[*(]+}", "(*", "a=(*"},
        {NULL, "{a:\\(*}", "((", "a=(("},
        {NULL, "{a:\\\\Q}", "\\Q", "a=\\Q"},
        {NULL, "{a:[]x]+}", "]x", "a=]x"},
        {NULL, "{a:#}b", "#b", "a=#"},
    };

    (void)state;
    check_matches(rows, COUNT(rows));
}

static void a_constraint_never_takes_nothing(void **state)
{
    static const struct match_row rows[] = {
        {NULL, "room:{id:[0-9]*}", "room:", "ENOTFOUND"},
        {NULL, "room:{id:[0-9]*}", "room:7", "id=7"},
        {NULL, "{a:x?}{b}", "y", "ENOTFOUND"},
        {NULL, "{a:(?=x)}x", "x", "ENOTFOUND"},
    };

    (void)state;
    check_matches(rows, COUNT(rows));
}

static void an_include_prefix_is_part_of_the_pattern(void **state)
{
    static const struct match_row rows[] = {
        {"admin:", "room:{id}", "admin:room:1", "6|id=1"},
        {"admin:", "room", "admin:room", "6|"},
        {"adm", "in:{id}", "admin:1", "3|id=1"},
        {"app:{app}:", "room:{id}", "app:shop:room:1", "9|app=shop id=1"},
        {"{app}", ":{id}", "shop:1", "4|app=shop id=1"},
        {"{app}", "{id}", "shop1", "4|app=shop id=1"},
        {"{app:[a-z]+}", "{id:.*}", "shop:1", "4|app=shop id=:1"},
        {"x:", "{rest*}", "x:", "2|rest="},
        {"x:", "*", "x:y", "2|"},
        {"h\xc3\xa9:", "{id}", "h\xc3\xa9:1", "4|id=1"},
        {"", "room:{id}", "room:1", "id=1"},
    };

    (void)state;
    check_matches(rows, COUNT(rows));
}

/* Each byte that may stand in a literal, between two parameters so that PCRE2 is asked too. */
static void check_literal_bytes(void)
{
    for (int byte = 1; byte < 0x80; byte++) {
        char source[] = {'{', 'a', '}', (char)byte, '\\', 'E', (char)byte, '\0'};
        char topic[] = {'p', (char)byte, '\\', 'E', (char)byte, '\0'};
        char other[] = {'p', (char)byte, '\\', 'E', (char)(byte == 'x' ? 'y' : 'x'), '\0'};
        hub__pattern_t *pattern;

        if (strchr("{}*", byte) != NULL)
            continue;
        pattern = compile(NULL, source);
        check_match(pattern, topic, "a=p");
        check_match(pattern, other, "ENOTFOUND");
        hub__pattern_destroy(pattern);
    }
}

static void literal_text_is_never_an_expression(void **state)
{
    static const struct match_row rows[] = {
        {NULL, "{a}.{b}", "x.y", "a=x b=y"},
        {NULL, "{a}.{b}", "xzy", "ENOTFOUND"},
        {NULL, "\\E.", "\\E.", ""},
        {NULL, "\\E.", "\\Ex", "ENOTFOUND"},
        {NULL, "{a}\\Q(", "x\\Q(", "a=x"},
        {NULL, "(?i)X", "(?i)X", ""},
        {NULL, "(?i)X{a:y}", "(?i)Xy", "a=y"},
        {NULL, "{a}|b", "b", "ENOTFOUND"},
        {NULL, "a+{b:c}", "aac", "ENOTFOUND"},
        {"\\", "E{a:x}", "\\Ex", "1|a=x"},
        {NULL, "[{a:b}]", "[b]", "a=b"},
    };

    (void)state;
    check_matches(rows, COUNT(rows));
    check_literal_bytes();
}

struct error_row {
    const char *prefix, *source;
    hub_status_t status;
    size_t offset;
    const char *text;
};

static void check_errors(const struct error_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hub__pattern_t *pattern = NULL;
        hub_error_t error = {0};
        hub_status_t status = hub__pattern_compile(hub_str(rows[i].prefix), hub_str(rows[i].source),
                                                   &pattern, &error);

        if (status != rows[i].status || error.offset != rows[i].offset ||
            strstr(error.text, rows[i].text) == NULL)
            fail_msg("\"%s\": %s, offset %zu, %s", rows[i].source, hub_status_name(status),
                     error.offset, error.text);
        assert_int_equal(error.status, status);
        assert_null(pattern);
    }
}

static void a_wrong_pattern_is_refused_with_its_offset(void **state)
{
    static const struct error_row rows[] = {
        {NULL, "room:{oops", HUB_ESYNTAX, 5, "pattern \"room:{oops\", offset 5: this '{' is not"},
        {NULL, "room:{", HUB_ESYNTAX, 5, "not closed"},
        {NULL, "room:{id:[0-9]{2}", HUB_ESYNTAX, 5, "not closed"},
        {NULL, "room:id}", HUB_ESYNTAX, 7, "without its '{'"},
        {NULL, "room:{}", HUB_ESYNTAX, 6, "needs a name"},
        {NULL, "room:{:x}", HUB_ESYNTAX, 6, "needs a name"},
        {NULL, "room:{*}", HUB_ESYNTAX, 6, "needs a name"},
        {NULL, "room:{1a}", HUB_ESYNTAX, 6, "needs a name"},
        {NULL, "room:{a-b}", HUB_ESYNTAX, 7, "expected '}'"},
        {NULL, "room:{a*b}", HUB_ESYNTAX, 7, "expected '}'"},
        {NULL, "{a}:{a}", HUB_ESYNTAX, 5, "{a} is there already"},
        {NULL, "{a}:{a*}", HUB_ESYNTAX, 5, "{a} is there already"},
        {"{a}:", "{a:x}", HUB_ESYNTAX, 5, "{a} is there already"},
        {NULL, "{a*}b", HUB_ESYNTAX, 4, "nothing may follow"},
        {NULL, "a*b", HUB_ESYNTAX, 2, "nothing may follow"},
        {NULL, "a**", HUB_ESYNTAX, 2, "nothing may follow"},
        {"a*", "b", HUB_ESYNTAX, 2, "nothing may follow"},
        {NULL, "{a:}", HUB_ESYNTAX, 3, "empty"},
        {NULL, "{a:[0-9}", HUB_ESYNTAX, 7, "missing terminating ]"},
        {NULL, "x{a:*}", HUB_ESYNTAX, 4, "quantifier"},
        {NULL, "{a:((((((((((((((((((((((((((((((((x))))))))))))))))))))))))))))))))}", HUB_ESYNTAX,
         35, "nested"},
        {NULL, "{a:(?:abcdefgh){2000}}{b:(?:abcdefgh){2000}}", HUB_ESYNTAX, 0, "too large"},
        {NULL, "", HUB_EINVAL, 0, "empty"},
        {"a:", "", HUB_EINVAL, 2, "empty"},
        {NULL, "ab\xff", HUB_EUTF8, 2, "UTF-8"},
        {"a\xc3", "\xa9\xff", HUB_EUTF8, 3, "UTF-8"},
        {"a{b", "}", HUB_ESYNTAX, 1, "prefix ends within"},
        {"{b:x", "y}", HUB_ESYNTAX, 0, "prefix ends within"},
    };

    (void)state;
    check_errors(rows, COUNT(rows));
}

/* Each of these is accepted by PCRE2, or would be once it stood between our parentheses. */
static void an_expression_that_could_leave_its_place_is_refused(void **state)
{
    static const struct error_row rows[] = {
        {NULL, "{a:x)(y}", HUB_ESYNTAX, 4, "parenthesis"},
        {NULL, "{a:x)|(?:y}", HUB_ESYNTAX, 4, "parenthesis"},
        {NULL, "{a:[x}:{b:]}", HUB_ESYNTAX, 5, "missing terminating ]"},
        {NULL, "{a:(}:{b:)}", HUB_ESYNTAX, 4, "parenthesis"},
        {NULL, "{a:\\Qx}", HUB_ESYNTAX, 3, "\\Q is not allowed"},
        {NULL, "{a:x\\E}", HUB_ESYNTAX, 4, "\\E is not allowed"},
        {NULL, "{a:x\\}", HUB_ESYNTAX, 5, "\\ at end of pattern"},
        {NULL, "{a:(?x)y#}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?ix)y}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?-n)(y)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?^)y}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?#)y}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?#\\)\\1}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?<b>y)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?P<b>y)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?'b'y)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?|(x)|(y))}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?C1)y}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?R)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?0)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?1)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?&g1)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(?(R)x|y)}", HUB_ESYNTAX, 3, "(? is not allowed"},
        {NULL, "{a:(*UCP)\\w}", HUB_ESYNTAX, 3, "(* is not allowed"},
        {NULL, "{a:(*LIMIT_MATCH=4000000000)x}", HUB_ESYNTAX, 3, "(* is not allowed"},
        {NULL, "{a:x(*ACCEPT)}:y", HUB_ESYNTAX, 4, "(* is not allowed"},
        {NULL, "{a:\\c\\(*ACCEPT)}", HUB_ESYNTAX, 3, "\\c is not allowed"},
        {NULL, "{a:x}{b:\\1}", HUB_ESYNTAX, 8, "\\1 is not allowed"},
        {NULL, "{a:\\g1}", HUB_ESYNTAX, 3, "\\g is not allowed"},
        {NULL, "{a:\\k{g1}}", HUB_ESYNTAX, 3, "\\k is not allowed"},
        {NULL, "{a:x\\K}", HUB_ESYNTAX, 4, "\\K is not allowed"},
        {NULL, "{a:\\C}", HUB_ESYNTAX, 3, "\\C is not allowed"},
    };

    (void)state;
    check_errors(rows, COUNT(rows));
}

/* `unit` `count` times, then `end`; to be freed. */
static char *repeat(const char *unit, size_t count, const char *end)
{
    hub__buffer_t text = {0};

    for (size_t i = 0; i < count; i++)
        hub__buffer_append(&text, hub_str(unit));
    hub__buffer_append(&text, hub_str_n(end, strlen(end) + 1));
    return text.base;
}

static hub_status_t compile_status(char *source)
{
    hub__pattern_t *pattern = NULL;
    hub_error_t error;
    hub_status_t status = hub__pattern_compile((hub_str_t){0}, hub_str(source), &pattern, &error);

    hub__pattern_destroy(pattern);
    free(source);
    return status;
}

static char *many_params(size_t count, const char *end)
{
    hub__buffer_t text = {0};

    for (size_t i = 0; i < count; i++)
        hub__buffer_printf(&text, ":{p%zu}", i);
    hub__buffer_append(&text, hub_str_n(end, strlen(end) + 1));
    return text.base;
}

static char *nested(size_t depth)
{
    char *open = repeat("(", depth, "x"), *close = repeat(")", depth, "");
    hub__buffer_t text = {0};

    hub__buffer_printf(&text, "{a:%s%s}", open, close);
    HUB__APPEND_LITERAL(&text, "\0");
    free(open);
    free(close);
    return text.base;
}

static void each_limit_holds_at_its_border(void **state)
{
    (void)state;
    assert_int_equal(compile_status(repeat("x", HUB__PATTERN_BYTES_MAX - 1, "")), HUB_OK);
    assert_int_equal(compile_status(repeat("x", HUB__PATTERN_BYTES_MAX, "")), HUB_OK);
    assert_int_equal(compile_status(repeat("x", HUB__PATTERN_BYTES_MAX + 1, "")), HUB_ELIMIT);
    assert_int_equal(compile_status(many_params(HUB__PATTERN_PARAMS_MAX - 1, "")), HUB_OK);
    assert_int_equal(compile_status(many_params(HUB__PATTERN_PARAMS_MAX, ":*")), HUB_OK);
    assert_int_equal(compile_status(many_params(HUB__PATTERN_PARAMS_MAX + 1, "")), HUB_ELIMIT);
    assert_int_equal(compile_status(nested(30)), HUB_OK);
    assert_int_equal(compile_status(nested(31)), HUB_OK);
    assert_int_equal(compile_status(nested(32)), HUB_ESYNTAX);
}

static void check_topic_length(const char *source, size_t len, const char *expected)
{
    hub__pattern_t *pattern = compile(NULL, source);
    char *topic = repeat("x", len, "");

    check_match(pattern, topic, expected);
    hub__pattern_destroy(pattern);
    free(topic);
}

static void a_topic_past_the_limit_is_denied(void **state)
{
    (void)state;
    check_topic_length("*", HUB__TOPIC_BYTES_MAX, "");
    check_topic_length("*", HUB__TOPIC_BYTES_MAX + 1, "ELIMIT");
    check_topic_length("{a:y}", HUB__TOPIC_BYTES_MAX, "ENOTFOUND");
    check_topic_length("{a:y}", HUB__TOPIC_BYTES_MAX + 1, "ELIMIT");
}

/* An expression that needs a step for each character stays well within the limits. */
static void a_long_topic_needs_no_more_than_the_limits(void **state)
{
    hub__pattern_t *pattern = compile(NULL, "{a:(?:x|y)+}*");
    hub__captures_t captures;
    char *topic = repeat("xy", HUB__TOPIC_BYTES_MAX / 2, "");

    (void)state;
    assert_int_equal(hub__pattern_match(pattern, hub_str(topic), scratch, &captures), HUB_OK);
    assert_int_equal(captures.spans[0].end, HUB__TOPIC_BYTES_MAX);
    assert_int_equal(hub__pattern_match_reference(pattern, hub_str(topic), scratch, &captures),
                     HUB_OK);
    hub__pattern_destroy(pattern);
    free(topic);
}

/* The rows' patterns against "x", so many times, and "!z". */
static void check_repeated(const struct match_row *rows, size_t count, size_t times)
{
    char *topic = repeat("x", times, "!z");

    for (size_t i = 0; i < count; i++) {
        hub__pattern_t *pattern = compile(rows[i].prefix, rows[i].source);

        check_match(pattern, topic, rows[i].expected);
        hub__pattern_destroy(pattern);
    }
    free(topic);
}

/* Each ends in two letters: for one alone PCRE2 would look ahead and be done. */
static void an_evil_expression_is_given_up(void **state)
{
    static const struct match_row rows[] = {
        {NULL, "{a:(x+x+)+[yw]}", "", "ELIMIT"},    {NULL, "{a:(x*)*[yw]}", "", "ELIMIT"},
        {NULL, "{a:(x|x)+[yw]}", "", "ELIMIT"},     {NULL, "{a:(x|xx)+[yw]}", "", "ELIMIT"},
        {NULL, "{a:(.*?x){11}[yw]}", "", "ELIMIT"}, {NULL, "{a}{b}{c}{d}{e}!", "", "ELIMIT"},
    };

    (void)state;
    check_repeated(rows, COUNT(rows), 200);
}

/* PCRE2's own limit of ten million would let this go on to its end. */
static void no_match_takes_more_than_ten_thousand_steps(void **state)
{
    static const struct match_row few[] = {{NULL, "{a:(x+x+)+[yw]}", "", "ENOTFOUND"}};
    static const struct match_row many[] = {{NULL, "{a:(x+x+)+[yw]}", "", "ELIMIT"}};

    (void)state;
    check_repeated(few, 1, 6);
    check_repeated(many, 1, 18);
}

static void a_pattern_knows_its_parts(void **state)
{
    hub__pattern_t *pattern = compile("app:{app}:", "room:{id:[0-9]+}");
    hub__pattern_t *literal = compile(NULL, "system"), *parameter = compile(NULL, "{a}:b");

    (void)state;
    assert_true(
        hub_str_equals(hub__pattern_source(pattern), HUB_STR("app:{app}:room:{id:[0-9]+}")));
    assert_true(hub_str_equals(hub__pattern_literal_prefix(pattern), HUB_STR("app:")));
    assert_true(hub_str_equals(hub__pattern_literal_prefix(literal), HUB_STR("system")));
    assert_int_equal(hub__pattern_literal_prefix(parameter).len, 0);
    assert_false(hub__pattern_is_literal(pattern));
    assert_true(hub__pattern_is_literal(literal));
    assert_int_equal(hub__pattern_param_count(pattern), 2);
    assert_int_equal(hub__pattern_param_index(pattern, HUB_STR("id")), 1);
    assert_true(hub__pattern_param_index(pattern, HUB_STR("i")) == SIZE_MAX);
    assert_true(hub_str_equals(hub__pattern_param_name(pattern, 0), HUB_STR("app")));
    hub__pattern_destroy(pattern);
    hub__pattern_destroy(literal);
    hub__pattern_destroy(parameter);
    hub__pattern_destroy(NULL);
    hub__match_scratch_destroy(NULL);
}

static void a_long_pattern_is_quoted_up_to_a_whole_character(void **state)
{
    char quoted[HUB__PATTERN_QUOTED], *source = repeat("\xc3\xa9", 60, "");
    char *even = repeat("\xc3\xa9", 45, "\xe2\x80\xa6\""), *odd;

    (void)state;
    assert_string_equal(hub__pattern_quote(HUB_STR("room:{id}"), quoted), "\"room:{id}\"");
    assert_string_equal(hub__pattern_quote(hub_str(source), quoted) + 1, even);
    source[1] = 'x'; /* from here on every character lies one byte off */
    odd = repeat("\xc3\xa9", 44, "\xe2\x80\xa6\"");
    assert_string_equal(hub__pattern_quote(hub_str(source + 1), quoted) + 2, odd);
    free(source);
    free(even);
    free(odd);
}

enum expected_order { BEFORE = -1, CONFLICT = 0 };

struct order_row {
    const char *left, *right;
    enum expected_order order;
};

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

static void check_orders(const struct order_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hub__pattern_t *left = compile(NULL, rows[i].left), *right = compile(NULL, rows[i].right);
        bool conflict = false, reverse_conflict = false;
        int order = sign(hub__pattern_compare(left, right, &conflict));
        int reverse = sign(hub__pattern_compare(right, left, &reverse_conflict));

        if (order != (int)rows[i].order || reverse != -order || conflict != (order == 0) ||
            reverse_conflict != conflict)
            fail_msg("\"%s\" against \"%s\": %d, reverse %d, conflict %d", rows[i].left,
                     rows[i].right, order, reverse, conflict);
        hub__pattern_destroy(left);
        hub__pattern_destroy(right);
    }
}

static void the_first_difference_decides_the_order(void **state)
{
    static const struct order_row rows[] = {
        {"room:lobby", "room:{id}", BEFORE},
        {"room:{id}", "{a}:{b}", BEFORE},
        {"room:{id:[0-9]+}", "room:{id}", BEFORE},
        {"room:{id}", "room:", BEFORE},
        {"room:{id}", "room:*", BEFORE},
        {"room:", "room:{rest*}", BEFORE},
        {"room:{id}", "*", BEFORE},
        {"ab{x}", "a{x}", BEFORE},
        {"ab", "a{x}", BEFORE},
        {"ab", "a", BEFORE},
        {"a{x}:b", "a{x}:{y}", BEFORE},
        {"a{x}:b", "a{y}", BEFORE},
        {"a{x:1}", "a{x}:very:literal", BEFORE},
        {"a{x:1}:z", "a{x:1}:{y:2}", BEFORE},
        {"a:{x*}", "b", BEFORE},
        {"a{x}b", "a{x}c", BEFORE},
        {"a{x}", "a{y}", CONFLICT},
        {"a", "a", CONFLICT},
        {"a*", "a{x*}", CONFLICT},
        {"a{x:1}", "a{y:2}", CONFLICT},
        {"a{x:1}:b", "a{y:2}:{z}", CONFLICT},
        {"a{x:1}", "a{y:1}", CONFLICT},
    };

    (void)state;
    check_orders(rows, COUNT(rows));
}

static void check_equal(const char *left, const char *right, bool expected)
{
    hub__pattern_t *one = compile(NULL, left), *other = compile(NULL, right);

    assert_int_equal(hub__pattern_equals(one, other), expected);
    assert_int_equal(hub__pattern_equals(other, one), expected);
    hub__pattern_destroy(one);
    hub__pattern_destroy(other);
}

static void names_do_not_make_patterns_different(void **state)
{
    (void)state;
    check_equal("a{x}:{y:1}", "a{p}:{q:1}", true);
    check_equal("a*", "a{x*}", true);
    check_equal("a{x}:{y:1}", "a{x}:{y:2}", false);
    check_equal("a{x}", "a{x:1}", false);
    check_equal("a{x}", "a{x}b", false);
    check_equal("a", "b", false);
}

static uint32_t random_state;

static size_t pick(size_t count)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % count;
}

static void append_random(hub__buffer_t *text, const char *const *pieces, size_t count)
{
    hub__buffer_append(text, hub_str(pieces[pick(count)]));
}

/* Up to six tokens over a small alphabet, so that many topics match. */
static char *random_pattern(bool constraints)
{
    static const char *const literals[] = {"a", "b", ":", "/", "ab", "a:", ":b", "\xc3\xa9", "."};
    static const char *const expressions[] = {"a+",    "[ab]*",     ".",
                                              "[^:]+", "(?:a|ab)+", "b|\xc3\xa9"};
    size_t tokens = 1 + pick(6);
    hub__buffer_t text = {0};

    for (size_t i = 0; i < tokens; i++) {
        size_t kind = pick(constraints ? 6 : 4);

        if (kind < 2) {
            append_random(&text, literals, COUNT(literals));
        } else if (kind < 4) {
            hub__buffer_printf(&text, "{p%zu}", i);
        } else {
            hub__buffer_printf(&text, "{p%zu:", i);
            append_random(&text, expressions, COUNT(expressions));
            HUB__APPEND_LITERAL(&text, "}");
        }
    }
    if (pick(5) == 0)
        hub__buffer_append(&text, pick(2) == 0 ? HUB_STR("*") : HUB_STR("{rest*}"));
    HUB__APPEND_LITERAL(&text, "\0");
    return text.base;
}

static char *random_topic(void)
{
    static const char *const pieces[] = {"a", "b", "ab", "a", "b", ":", "/", "\xc3\xa9", ".", "\n"};
    size_t count = pick(9);
    hub__buffer_t text = {0};

    for (size_t i = 0; i < count; i++)
        append_random(&text, pieces, COUNT(pieces));
    HUB__APPEND_LITERAL(&text, "\0");
    return text.base;
}

/* As the tokens read, each parameter as long as the rest allows. No constraints. */
static bool model_match(const hub__token_t *tokens, size_t count, hub_str_t topic, size_t at,
                        hub__captures_t *captures)
{
    size_t end = at, index = captures->count;

    if (count == 0)
        return at == topic.len;
    if (tokens->kind == HUB__TOKEN_LITERAL)
        return hub_str_starts_with(hub_str_n(topic.base + at, topic.len - at), tokens->text) &&
               model_match(tokens + 1, count - 1, topic, at + tokens->text.len, captures);
    while (end < topic.len &&
           (tokens->kind == HUB__TOKEN_CATCH_ALL || strchr(":/\n", topic.base[end]) == NULL))
        end++;
    captures->count = (uint8_t)(index + (tokens->name.base != NULL));
    for (; end > at || tokens->kind == HUB__TOKEN_CATCH_ALL; end--) {
        captures->spans[index] = (hub__span_t){(uint16_t)at, (uint16_t)end};
        if (((uint8_t)topic.base[end] & 0xc0) != 0x80 &&
            model_match(tokens + 1, count - 1, topic, end, captures))
            return true;
        if (end == at)
            break;
    }
    captures->count = (uint8_t)index;
    return false;
}

static size_t check_against_model(const hub__pattern_t *pattern, bool constraints)
{
    size_t matches = 0;

    for (int i = 0; i < 20; i++) {
        hub__captures_t captures = {0}, other = {0};
        char *topic = random_topic();
        hub_status_t status = hub__pattern_match(pattern, hub_str(topic), scratch, &captures);
        hub__buffer_t text = {0};
        size_t count;
        const hub__token_t *tokens = hub__pattern_tokens(pattern, &count);

        render(pattern, hub_str(topic), status, &captures, &text);
        HUB__APPEND_LITERAL(&text, "\0");
        check_match(pattern, topic, text.base);
        if (!constraints) {
            bool found = model_match(tokens, count, hub_str(topic), 0, &other);

            assert_int_equal(status, found ? HUB_OK : HUB_ENOTFOUND);
            assert_memory_equal(captures.spans, other.spans,
                                found ? captures.count * sizeof(hub__span_t) : 0);
        }
        matches += status == HUB_OK;
        hub__buffer_dispose(&text);
        free(topic);
    }
    return matches;
}

static size_t check_random_patterns(bool constraints, size_t count)
{
    size_t matches = 0;

    print_message("seed %u\n", random_state = SEED);
    for (size_t i = 0; i < count; i++) {
        char *source = random_pattern(constraints);
        hub__pattern_t *pattern = compile(NULL, source);

        matches += check_against_model(pattern, constraints);
        hub__pattern_destroy(pattern);
        free(source);
    }
    return matches;
}

static void random_patterns_match_as_pcre2_and_the_model_say(void **state)
{
    (void)state;
    assert_true(check_random_patterns(false, 1500) > 500);
}

static void random_constraints_match_the_same_compiled_and_interpreted(void **state)
{
    (void)state;
    assert_true(check_random_patterns(true, 500) > 100);
}

/* One pair's order, with what it must never be in itself. */
static int checked_order(const hub__pattern_t *left, const hub__pattern_t *right)
{
    bool conflict, reverse_conflict;
    int order = sign(hub__pattern_compare(left, right, &conflict));

    assert_int_equal(sign(hub__pattern_compare(right, left, &reverse_conflict)), -order);
    assert_int_equal(conflict, order == 0);
    assert_int_equal(reverse_conflict, conflict);
    return order;
}

static size_t check_triples(hub__pattern_t *const *patterns, size_t count)
{
    size_t chains = 0;

    for (size_t i = 0; i < 200000; i++) {
        const hub__pattern_t *a = patterns[pick(count)], *b = patterns[pick(count)],
                             *c = patterns[pick(count)];
        int ab = checked_order(a, b), bc = checked_order(b, c), ac = checked_order(a, c);

        if (ab == 0 && hub__pattern_equals(a, b))
            assert_int_equal(bc, ac);
        /* where two constraints meet, nothing is known of the third pair but that it is no circle
         */
        if (ab < 0 && bc < 0) {
            assert_int_equal(ac, -1);
            chains++;
        }
    }
    return chains;
}

static size_t check_random_order(size_t count)
{
    hub__pattern_t **patterns = hub__alloc_zeroed(count * sizeof(*patterns));
    size_t chains;

    print_message("seed %u\n", random_state = SEED + 1);
    for (size_t i = 0; i < count; i++) {
        char *source = random_pattern(true);

        patterns[i] = compile(NULL, source);
        free(source);
    }
    chains = check_triples(patterns, count);
    for (size_t i = 0; i < count; i++)
        hub__pattern_destroy(patterns[i]);
    free(patterns);
    return chains;
}

static void the_order_is_transitive(void **state)
{
    (void)state;
    assert_true(check_random_order(300) > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_matches_the_whole_topic_or_nothing),
        cmocka_unit_test(a_plain_parameter_takes_no_control_characters),
        cmocka_unit_test(a_catch_all_takes_any_characters_also_none),
        cmocka_unit_test(a_constraint_keeps_to_its_place),
        cmocka_unit_test(a_constraint_never_takes_nothing),
        cmocka_unit_test(an_include_prefix_is_part_of_the_pattern),
        cmocka_unit_test(literal_text_is_never_an_expression),
        cmocka_unit_test(a_wrong_pattern_is_refused_with_its_offset),
        cmocka_unit_test(an_expression_that_could_leave_its_place_is_refused),
        cmocka_unit_test(each_limit_holds_at_its_border),
        cmocka_unit_test(a_topic_past_the_limit_is_denied),
        cmocka_unit_test(a_long_topic_needs_no_more_than_the_limits),
        cmocka_unit_test(an_evil_expression_is_given_up),
        cmocka_unit_test(no_match_takes_more_than_ten_thousand_steps),
        cmocka_unit_test(a_pattern_knows_its_parts),
        cmocka_unit_test(a_long_pattern_is_quoted_up_to_a_whole_character),
        cmocka_unit_test(the_first_difference_decides_the_order),
        cmocka_unit_test(names_do_not_make_patterns_different),
        cmocka_unit_test(random_patterns_match_as_pcre2_and_the_model_say),
        cmocka_unit_test(random_constraints_match_the_same_compiled_and_interpreted),
        cmocka_unit_test(the_order_is_transitive),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
