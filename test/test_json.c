/* SPDX-License-Identifier: MIT */
/* What the scanner accepts, and where exactly it says that a text went wrong. Every case is also
 * read through a cursor, which must come to the same end, and every refused one is cut at its wrong
 * byte: what is left must be a text that only ends too early, or the offset was not the first wrong
 * one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/json.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct json_case {
    hub_str_t text;
    hub_status_t status;
    size_t offset; /* of the wrong byte, or of the end */
};

/* The literal, so that NULs count. */
#define YES(text)                                                                                  \
    {                                                                                              \
        {(text), sizeof(text) - 1}, HUB_OK, 0                                                      \
    }
#define NO(text, offset)                                                                           \
    {                                                                                              \
        {(text), sizeof(text) - 1}, HUB_ESYNTAX, (offset)                                          \
    }
#define BAD_UTF8(text, offset)                                                                     \
    {                                                                                              \
        {(text), sizeof(text) - 1}, HUB_EUTF8, (offset)                                            \
    }

static const struct json_case accepted[] = {
    /* words and white space */
    YES("null"),
    YES("true"),
    YES("false"),
    YES(" null"),
    YES("null "),
    YES("\t\n\r null\t\n\r "),
    /* numbers */
    YES("0"),
    YES("-0"),
    YES("1"),
    YES("-1"),
    YES("10"),
    YES("123456789012345678901234567890"),
    YES("0.0"),
    YES("-0.0"),
    YES("0.10"),
    YES("1.5"),
    YES("1e5"),
    YES("1E5"),
    YES("1e+5"),
    YES("1e-5"),
    YES("0e0"),
    YES("0e01"),
    YES("-1.25E-007"),
    YES("1e999999"),
    YES("0.000000000000000000000000000000000001"),
    YES(" 7 "),
    /* strings */
    YES("\"\""),
    YES("\"a\""),
    YES("\" \""),
    YES("\"0123456789abcde\""),
    YES("\"0123456789abcdef\""),
    YES("\"0123456789abcdefg\""),
    YES("\"\\\"\""),
    YES("\"\\\\\""),
    YES("\"\\/\""),
    YES("\"/\""),
    YES("\"\\b\\f\\n\\r\\t\""),
    YES("\"\\u0000\""),
    YES("\"\\u001f\""),
    YES("\"\\uABCD\\uabcd\\u09Af\""),
    YES("\"\\ud83d\\ude00\""),
    YES("\"\\ud800\""),
    YES("\"\\udc00\""),
    YES("\"\\udc00\\ud800\""),
    YES("\"\\ud800abc\""),
    YES("\"\\\\u12\""),
    YES("\"\x7f\""),
    YES("\"'\""),
    YES("\"/* no comment */\""),
    YES("\"\xc2\x80\""),
    YES("\"\xdf\xbf\""),
    YES("\"\xe0\xa0\x80\""),
    YES("\"\xed\x9f\xbf\""),
    YES("\"\xee\x80\x80\""),
    YES("\"\xef\xbb\xbf\""),
    YES("\"\xef\xbf\xbf\""),
    YES("\"\xf0\x90\x80\x80\""),
    YES("\"\xf4\x8f\xbf\xbf\""),
    YES("\"\xe2\x80\xa8\xe2\x80\xa9\""),
    YES("\"a\xc3\xa4z\xe2\x82\xacy\xf0\x9f\x98\x80x\""),
    YES("\"[{]},:\""),
    /* arrays */
    YES("[]"),
    YES("[ ]"),
    YES("[\n]"),
    YES("[1]"),
    YES("[ 1 ]"),
    YES("[1,2]"),
    YES("[1 , 2]"),
    YES("[null,true,false,0,\"\",[],{}]"),
    YES("[[]]"),
    YES("[[],[]]"),
    YES("[[[]],[[]]]"),
    YES("[\"]\",\"[\"]"),
    YES("[{}]"),
    YES("[{},[[],1]]"),
    YES("[[[]],{\"a\":[],\"b\":1}]"),
    YES(" [] "),
    YES("[-1.5e3]"),
    YES("[\"1\",\"2\"]"),
    /* objects */
    YES("{}"),
    YES("{ }"),
    YES("{\"a\":1}"),
    YES("{ \"a\" : 1 }"),
    YES("{\"a\":1,\"b\":2}"),
    YES("{\"a\":1 ,\"b\":2\n}"),
    YES("{\"\":0}"),
    YES("{\"a\":1,\"a\":2}"),
    YES("{\"\\u0000\":null}"),
    YES("{\"a\":{\"b\":{\"c\":[]}}}"),
    YES("{\"a\":[],\"b\":{}}"),
    YES("{\"a\":[{\"b\":[{}]}],\"c\":\"d\"}"),
    YES("[{\"a\":[1,{\"b\":2}]},{\"c\":[3]}]"),
    YES("{\"topic\":\"room:1\",\"event\":\"say\",\"payload\":{\"text\":\"hi\"},\"ref\":1}"),
    YES("[null,\"1\",\"room:1\",\"join\",{}]"),
    YES("{\"\xc3\xa4\":1}"),
    YES("{\"}\":\"{\"}"),
};

static const struct json_case refused[] = {
    /* nothing, and more than one thing */
    NO("", 0),
    NO(" ", 1),
    NO("\n\t\r ", 4),
    NO("1 2", 2),
    NO("null null", 5),
    NO("[][]", 2),
    NO("{}{}", 2),
    NO("[]x", 2),
    NO("\"\"\"", 2),
    NO("1,", 1),
    NO("{},", 2),
    NO("[] ]", 3),
    NO("null\0", 4),
    NO("\0", 0),
    NO("\0null", 0),
    NO("\xef\xbb\xbf[]", 0),
    NO("\xef\xbb\xbf", 0),
    NO("\xff", 0),
    NO("\xc3\xa4", 0),
    NO("\x0c[]", 0),
    NO("\x0b", 0),
    NO("[]\x0c", 2),
    NO("\xc2\xa0[]", 0),
    NO("// no\n1", 0),
    NO("/**/1", 0),
    NO("1 // no", 2),
    NO("#", 0),
    /* words */
    NO("n", 1),
    NO("nul", 3),
    NO("nulL", 3),
    NO("Null", 0),
    NO("nullx", 4),
    NO("t", 1),
    NO("tru", 3),
    NO("trux", 3),
    NO("True", 0),
    NO("truetrue", 4),
    NO("f", 1),
    NO("fals", 4),
    NO("fa1se", 2),
    NO("false0", 5),
    NO("undefined", 0),
    NO("NaN", 0),
    NO("nan", 1),
    NO("Infinity", 0),
    NO("-Infinity", 1),
    NO("a", 0),
    NO("'a'", 0),
    /* numbers */
    NO("-", 1),
    NO("+", 0),
    NO("+1", 0),
    NO("--1", 1),
    NO("- 1", 1),
    NO("-a", 1),
    NO("01", 1),
    NO("00", 1),
    NO("-01", 2),
    NO("-00", 2),
    NO(".", 0),
    NO(".5", 0),
    NO("-.5", 1),
    NO("1.", 2),
    NO("1.e1", 2),
    NO("1..5", 2),
    NO("1.5.5", 3),
    NO("0.", 2),
    NO("0.x", 2),
    NO("1e", 2),
    NO("1E", 2),
    NO("1e+", 3),
    NO("1e-", 3),
    NO("1e+-1", 3),
    NO("1ee1", 2),
    NO("1e1.5", 3),
    NO("1e1e1", 3),
    NO("0e", 2),
    NO("0x10", 1),
    NO("1_000", 1),
    NO("1 000", 2),
    NO("1a", 1),
    NO("1\0", 1),
    NO("1.5f", 3),
    NO("\xef\xbc\x91", 0),
    NO("[1.]", 3),
    NO("[-]", 2),
    NO("[1e]", 3),
    NO("[1+2]", 2),
    /* strings */
    NO("\"", 1),
    NO("\"abc", 4),
    NO("\"0123456789abcdef", 17),
    NO("\"abc\\", 5),
    NO("\"abc\\\"", 6),
    NO("\"\\a\"", 2),
    NO("\"\\'\"", 2),
    NO("\"\\0\"", 2),
    NO("\"\\x41\"", 2),
    NO("\"\\U0041\"", 2),
    NO("\"\\\n\"", 2),
    NO("\"\\ \"", 2),
    NO("\"\\\0\"", 2),
    NO("\"\\\xc3\xa4\"", 2),
    NO("\"\\u\"", 3),
    NO("\"\\u", 3),
    NO("\"\\u1\"", 4),
    NO("\"\\u12\"", 5),
    NO("\"\\u123\"", 6),
    NO("\"\\u123", 6),
    NO("\"\\u123g\"", 6),
    NO("\"\\uG123\"", 3),
    NO("\"\\u+123\"", 3),
    NO("\"\\ud83d\\u\"", 9),
    NO("\"\\ud83d\\x\"", 8),
    NO("\"\n\"", 1),
    NO("\"\t\"", 1),
    NO("\"\0\"", 1),
    NO("\"\x1f\"", 1),
    NO("\"0123456789abcdef\x01\"", 17),
    NO("\"a\nb\"", 2),
    NO("\"a\"b", 3),
    NO("a\"", 0),
    BAD_UTF8("\"\x80\"", 1),
    BAD_UTF8("\"\xbf\"", 1),
    BAD_UTF8("\"\xc0\x80\"", 1),
    BAD_UTF8("\"\xc1\xbf\"", 1),
    BAD_UTF8("\"\xc2\"", 2),
    BAD_UTF8("\"\xc2\x41\"", 2),
    BAD_UTF8("\"\xc2\xc2\x80\"", 2),
    BAD_UTF8("\"\xe0\x80\x80\"", 2),
    BAD_UTF8("\"\xe0\x9f\xbf\"", 2),
    BAD_UTF8("\"\xe2\x82\"", 3),
    BAD_UTF8("\"\xe2\x28\xa1\"", 2),
    BAD_UTF8("\"\xed\xa0\x80\"", 2),
    BAD_UTF8("\"\xed\xbf\xbf\"", 2),
    BAD_UTF8("\"\xf0\x80\x80\x80\"", 2),
    BAD_UTF8("\"\xf0\x8f\xbf\xbf\"", 2),
    BAD_UTF8("\"\xf0\x9f\x98\"", 4),
    BAD_UTF8("\"\xf4\x90\x80\x80\"", 2),
    BAD_UTF8("\"\xf5\x80\x80\x80\"", 1),
    BAD_UTF8("\"\xf8\x88\x80\x80\x80\"", 1),
    BAD_UTF8("\"\xfe\"", 1),
    BAD_UTF8("\"\xff\"", 1),
    BAD_UTF8("\"\xc2", 2),
    BAD_UTF8("\"\xe2\x82", 3),
    BAD_UTF8("\"\xf0\x9f\x98", 4),
    BAD_UTF8("\"\xc3\xa4\xc3\xa4\xc3\"", 6),
    BAD_UTF8("{\"\xff\":1}", 2),
    BAD_UTF8("[\"a\",\"\xed\xa0\x80\"]", 7),
    /* arrays */
    NO("[", 1),
    NO("]", 0),
    NO("[1", 2),
    NO("[1,", 3),
    NO("[1,]", 3),
    NO("[,1]", 1),
    NO("[,]", 1),
    NO("[1,,2]", 3),
    NO("[1 2]", 3),
    NO("[1]]", 3),
    NO("[[1]", 4),
    NO("[1}", 2),
    NO("[}", 1),
    NO("[\"a\":1]", 4),
    NO("[\"a\" \"b\"]", 5),
    NO("[1;2]", 2),
    NO("[a]", 1),
    NO("[tru]", 4),
    NO("[\"a]", 4),
    NO("[[],", 4),
    NO("[[]x]", 3),
    NO("[*]", 1),
    NO("[1,\n2\n,3", 8),
    NO("[\0]", 1),
    NO("[\xc3\xa4]", 1),
    NO("[1]\xff", 3),
    NO("[[[[[[[[", 8),
    NO("[{]", 2),
    NO("[{},[[]}]", 7),
    NO("[[],{\"a\":[]]", 11),
    NO("[{}", 3),
    NO("[{\"a\":[1}]", 8),
    /* objects */
    NO("{", 1),
    NO("}", 0),
    NO("{1:2}", 1),
    NO("{a:1}", 1),
    NO("{'a':1}", 1),
    NO("{\"a\"", 4),
    NO("{\"a\"}", 4),
    NO("{\"a\":", 5),
    NO("{\"a\":}", 5),
    NO("{\"a\":1", 6),
    NO("{\"a\":1,", 7),
    NO("{\"a\":1,}", 7),
    NO("{,}", 1),
    NO("{,\"a\":1}", 1),
    NO("{\"a\":1,,\"b\":2}", 7),
    NO("{\"a\" 1}", 5),
    NO("{\"a\"::1}", 5),
    NO("{\"a\",1}", 4),
    NO("{\"a\"=1}", 4),
    NO("{\"a\":1 \"b\":2}", 7),
    NO("{\"a\":1]", 6),
    NO("{]", 1),
    NO("{\"a\":1}}", 7),
    NO("{\"a\":1 2}", 7),
    NO("{\"a\":a}", 5),
    NO("{\"a\":'a'}", 5),
    NO("{\"a:1}", 6),
    NO("{null:1}", 1),
    NO("{[]:1}", 1),
    NO("{\"a\":[}", 6),
    NO("{\"a\":{}", 7),
    NO("{\"a\":[{\"b\":[{}]}", 16),
    NO("{\"a\":01}", 6),
    NO("{\"a\n\":1}", 3),
    NO("{\"\\u00g0\":1}", 6),
    NO("{\"a\":1,2}", 7),
};

/* A copy of exactly its size on the heap, so that a sanitizer sees the first byte read too much. */
static hub_str_t exact_copy(hub_str_t text)
{
    char *copy = malloc(text.len == 0 ? 1 : text.len);

    assert_non_null(copy);
    if (text.len > 0)
        memcpy(copy, text.base, text.len);
    return hub_str_n(copy, text.len);
}

static hub_status_t scan_copy(hub_str_t text, size_t max_depth, size_t *ret_offset)
{
    hub_str_t copy = exact_copy(text);
    hub_error_t error = {HUB_OK, 0, ""};
    hub_status_t err = hub_json_scan(copy, max_depth, NULL, &error);

    assert_int_equal(err, error.status);
    *ret_offset = error.offset;
    free((void *)(uintptr_t)copy.base);
    return err;
}

/* Reads the outermost array or object member by member. */
static hub_status_t walk(hub_str_t text, hub_json_kind_t kind, size_t max_depth, size_t *ret_offset)
{
    hub_str_t copy = exact_copy(text);
    hub_json_cursor_t cursor;
    hub_json_value_t key, value;
    hub_status_t err = hub_json_open(&cursor, copy, kind, max_depth);

    while (err == HUB_OK)
        err = hub_json_next(&cursor, &key, &value);
    *ret_offset = cursor.offset;
    /* it has ended for good, one way or the other */
    assert_int_not_equal(hub_json_next(&cursor, &key, &value), HUB_OK);
    assert_int_equal(cursor.offset, *ret_offset);
    free((void *)(uintptr_t)copy.base);
    return err == HUB_ENOTFOUND ? HUB_OK : err;
}

static void check_cursor_agrees(hub_str_t text, size_t max_depth, hub_status_t status,
                                size_t offset)
{
    size_t start = 0, at;
    hub_json_kind_t kind;

    while (start < text.len && strchr(" \t\r\n", text.base[start]) != NULL && text.base[start] != 0)
        start++;
    if (start == text.len || (text.base[start] != '[' && text.base[start] != '{'))
        return;
    kind = text.base[start] == '[' ? HUB_JSON_ARRAY : HUB_JSON_OBJECT;
    assert_int_equal(walk(text, kind, max_depth, &at), status);
    assert_int_equal(at, status == HUB_OK ? text.len : offset);
}

static void check_offset_is_first(hub_str_t text, size_t max_depth, hub_status_t status,
                                  size_t offset)
{
    size_t at;

    /* without the wrong byte it may be whole, or ends too early */
    if (scan_copy(hub_str_n(text.base, offset), max_depth, &at) != HUB_OK)
        assert_int_equal(at, offset);
    /* with it, it is as wrong as ever */
    if (offset < text.len) {
        assert_int_equal(scan_copy(hub_str_n(text.base, offset + 1), max_depth, &at), status);
        assert_int_equal(at, offset);
    }
}

static void check_case(const struct json_case *json_case, size_t max_depth)
{
    size_t offset;
    hub_status_t err = scan_copy(json_case->text, max_depth, &offset);

    if (err != json_case->status || (err != HUB_OK && offset != json_case->offset))
        fail_msg("%.*s: %s at %zu, expected %s at %zu", HUB_STR_ARG(json_case->text),
                 hub_status_name(err), offset, hub_status_name(json_case->status),
                 json_case->offset);
    check_cursor_agrees(json_case->text, max_depth, err, offset);
    if (err != HUB_OK)
        check_offset_is_first(json_case->text, max_depth, err, offset);
}

static void check_cases(const struct json_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_case(&cases[i], 0);
}

static void what_rfc_8259_allows_is_accepted(void **state)
{
    (void)state;
    check_cases(accepted, COUNT(accepted));
}

static void what_rfc_8259_forbids_is_refused_at_its_first_wrong_byte(void **state)
{
    (void)state;
    check_cases(refused, COUNT(refused));
}

static void an_absent_text_ends_too_early(void **state)
{
    hub_error_t error;

    (void)state;
    assert_int_equal(hub_json_scan(hub_str(NULL), 0, NULL, &error), HUB_ESYNTAX);
    assert_int_equal(error.offset, 0);
    assert_string_equal(error.text, "JSON ends too early at byte 0");
}

static void an_error_names_the_byte_and_its_place(void **state)
{
    hub_error_t error;

    (void)state;
    assert_int_equal(hub_json_scan(HUB_STR("[1,}"), 0, NULL, &error), HUB_ESYNTAX);
    assert_string_equal(error.text, "JSON has a wrong byte 0x7d at byte 3");
    assert_int_equal(hub_json_scan(HUB_STR("\"\xff\""), 0, NULL, &error), HUB_EUTF8);
    assert_string_equal(error.text, "JSON is not valid UTF-8 at byte 1");
    assert_int_equal(hub_json_scan(HUB_STR("[[]]"), 1, NULL, &error), HUB_EDEPTH);
    assert_string_equal(error.text, "JSON nested deeper than 1 at byte 1");
}

/* Every byte at every place of strings up to 150 bytes: blocks, words and single bytes are all
 * crossed. */
static void check_byte_everywhere(unsigned char byte, hub_status_t status)
{
    char text[160];

    for (size_t len = 1; len < 150; len += 1 + len / 20) {
        for (size_t i = 0; i < len; i++) {
            size_t offset;

            memset(text, 'x', sizeof(text));
            text[0] = text[len + 1] = '"';
            text[i + 1] = (char)byte;
            assert_int_equal(scan_copy(hub_str_n(text, len + 2), 0, &offset), status);
            assert_int_equal(offset, status == HUB_OK ? 0 : i + 1);
        }
    }
}

static void a_wrong_byte_is_found_wherever_it_stands_in_a_string(void **state)
{
    (void)state;
    check_byte_everywhere(0x00, HUB_ESYNTAX);
    check_byte_everywhere(0x1f, HUB_ESYNTAX);
    check_byte_everywhere(0x80, HUB_EUTF8);
    check_byte_everywhere(0xff, HUB_EUTF8);
}

static void a_right_byte_is_taken_wherever_it_stands_in_a_string(void **state)
{
    (void)state;
    check_byte_everywhere(0x20, HUB_OK);
    check_byte_everywhere(0x21, HUB_OK);
    check_byte_everywhere(0x23, HUB_OK);
    check_byte_everywhere(0x5b, HUB_OK);
    check_byte_everywhere(0x5d, HUB_OK);
    check_byte_everywhere(0x7f, HUB_OK);
}

/* `depth` times `open`, then `depth` times `close`. */
static hub_str_t nested(const char *open, const char *close, size_t depth, char *buffer)
{
    char *at = buffer;

    for (size_t i = 0; i < 2 * depth; i++) {
        const char *piece = i < depth ? open : close;

        memcpy(at, piece, strlen(piece));
        at += strlen(piece);
    }
    return hub_str_n(buffer, (size_t)(at - buffer));
}

static void check_depth(size_t max_depth, size_t allowed)
{
    static char buffer[8192];
    struct json_case json_case;

    json_case = (struct json_case){nested("[", "]", allowed, buffer), HUB_OK, 0};
    check_case(&json_case, max_depth);
    json_case = (struct json_case){nested("[", "]", allowed + 1, buffer), HUB_EDEPTH, allowed};
    check_case(&json_case, max_depth);
    /* an array with an object in it, so that both kinds alternate */
    json_case = (struct json_case){nested("[{\"\":", "}]", 1 + allowed / 2, buffer), HUB_EDEPTH,
                                   allowed / 2 * 5 + allowed % 2};
    check_case(&json_case, max_depth);
}

static void nesting_is_allowed_up_to_the_limit(void **state)
{
    (void)state;
    check_depth(1, 1);
    check_depth(2, 2);
    check_depth(63, 63);
    check_depth(64, 64);
    check_depth(65, 65);
    check_depth(256, 256);
}

static void a_depth_of_zero_is_the_default_and_a_huge_one_the_maximum(void **state)
{
    (void)state;
    check_depth(0, HUB_JSON_DEPTH_DEFAULT);
    check_depth(257, HUB_JSON_DEPTH_MAX);
    check_depth(SIZE_MAX, HUB_JSON_DEPTH_MAX);
}

static void each_bracket_needs_its_own_kind_at_any_depth(void **state)
{
    static char buffer[8192];
    hub_str_t text = nested("[{\"\":", "}]", 128, buffer);
    size_t offset;

    (void)state;
    assert_int_equal(text.base[128 * 5 - 1], ':');
    /* the innermost value, then each closing bracket turned into the other one */
    assert_int_equal(scan_copy(text, 256, &offset), HUB_ESYNTAX);
    assert_int_equal(offset, 128 * 5);
    memmove(buffer + 128 * 5 + 1, buffer + 128 * 5, 256);
    buffer[128 * 5] = '0';
    text.len++;
    assert_int_equal(scan_copy(text, 256, &offset), HUB_OK);
    for (size_t at = 128 * 5 + 1; at < text.len; at++) {
        char right = buffer[at];

        buffer[at] = right == '}' ? ']' : '}';
        assert_int_equal(scan_copy(text, 256, &offset), HUB_ESYNTAX);
        assert_int_equal(offset, at);
        buffer[at] = right;
    }
}

static void a_million_open_brackets_are_refused_at_the_limit(void **state)
{
    size_t len = 1000000, offset;
    char *text = malloc(len);

    (void)state;
    assert_non_null(text);
    memset(text, '[', len);
    assert_int_equal(scan_copy(hub_str_n(text, len), 0, &offset), HUB_EDEPTH);
    assert_int_equal(offset, HUB_JSON_DEPTH_DEFAULT);
    free(text);
}

static void check_value(hub_str_t text, hub_json_kind_t kind, hub_str_t raw, bool escaped)
{
    hub_json_value_t value;

    assert_int_equal(hub_json_scan(text, 0, &value, NULL), HUB_OK);
    assert_int_equal(value.kind, kind);
    assert_int_equal(value.escaped, escaped);
    assert_int_equal(value.raw.len, raw.len);
    assert_memory_equal(value.raw.base, raw.base, raw.len);
}

static void a_scan_tells_kind_and_span_without_the_space_around(void **state)
{
    (void)state;
    check_value(HUB_STR(" null "), HUB_JSON_NULL, HUB_STR("null"), false);
    check_value(HUB_STR("true"), HUB_JSON_TRUE, HUB_STR("true"), false);
    check_value(HUB_STR("\nfalse"), HUB_JSON_FALSE, HUB_STR("false"), false);
    check_value(HUB_STR(" -1.5 "), HUB_JSON_NUMBER, HUB_STR("-1.5"), false);
    check_value(HUB_STR(" \"a\" "), HUB_JSON_STRING, HUB_STR("\"a\""), false);
    check_value(HUB_STR("\"\\n\""), HUB_JSON_STRING, HUB_STR("\"\\n\""), true);
    check_value(HUB_STR(" [\"\\n\"] "), HUB_JSON_ARRAY, HUB_STR("[\"\\n\"]"), false);
    check_value(HUB_STR("\t{ } "), HUB_JSON_OBJECT, HUB_STR("{ }"), false);
}

static void a_failed_scan_leaves_the_value_alone(void **state)
{
    hub_json_value_t value = {.kind = HUB_JSON_TRUE, .escaped = true};

    (void)state;
    assert_int_equal(hub_json_scan(HUB_STR("[1] x"), 0, &value, NULL), HUB_ESYNTAX);
    assert_int_equal(value.kind, HUB_JSON_TRUE);
    assert_true(value.escaped);
    assert_null(value.raw.base);
}

static void check_member(hub_json_cursor_t *cursor, hub_str_t key, bool key_escaped, hub_str_t raw,
                         hub_json_kind_t kind)
{
    hub_json_value_t key_value, value;

    assert_int_equal(hub_json_next(cursor, &key_value, &value), HUB_OK);
    assert_true(hub_str_equals(key_value.raw, key));
    assert_int_equal(key_value.kind, HUB_JSON_STRING);
    assert_int_equal(key_value.escaped, key_escaped);
    assert_true(hub_str_equals(value.raw, raw));
    assert_int_equal(value.kind, kind);
    assert_false(value.escaped);
}

static void a_cursor_reads_the_members_of_an_object_in_order(void **state)
{
    hub_json_cursor_t cursor;
    hub_json_value_t key, value;
    hub_str_t text = HUB_STR(" {\"topic\" : \"room:1\",\"\\u0065vent\":\"say\" , \"payload\":"
                             "{\"a\":[1,\"}\"]}, \"ref\":7,\"x\":null} ");

    (void)state;
    assert_int_equal(hub_json_open(&cursor, text, HUB_JSON_OBJECT, 0), HUB_OK);
    check_member(&cursor, HUB_STR("\"topic\""), false, HUB_STR("\"room:1\""), HUB_JSON_STRING);
    check_member(&cursor, HUB_STR("\"\\u0065vent\""), true, HUB_STR("\"say\""), HUB_JSON_STRING);
    check_member(&cursor, HUB_STR("\"payload\""), false, HUB_STR("{\"a\":[1,\"}\"]}"),
                 HUB_JSON_OBJECT);
    check_member(&cursor, HUB_STR("\"ref\""), false, HUB_STR("7"), HUB_JSON_NUMBER);
    check_member(&cursor, HUB_STR("\"x\""), false, HUB_STR("null"), HUB_JSON_NULL);
    assert_int_equal(hub_json_next(&cursor, &key, &value), HUB_ENOTFOUND);
    assert_int_equal(hub_json_next(&cursor, &key, &value), HUB_ENOTFOUND);
    assert_int_equal(cursor.offset, text.len);
}

static void check_element(hub_json_cursor_t *cursor, hub_str_t raw, bool escaped)
{
    hub_json_value_t value;

    assert_int_equal(hub_json_next(cursor, NULL, &value), HUB_OK);
    assert_true(hub_str_equals(value.raw, raw));
    assert_int_equal(value.escaped, escaped);
}

static void a_cursor_reads_the_elements_of_an_array_in_order(void **state)
{
    hub_json_cursor_t cursor;

    (void)state;
    assert_int_equal(
        hub_json_open(&cursor, HUB_STR("[null, \"1\\n\",\"t\" ,[\"\\n\"],{}]"), HUB_JSON_ARRAY, 0),
        HUB_OK);
    check_element(&cursor, HUB_STR("null"), false);
    check_element(&cursor, HUB_STR("\"1\\n\""), true);
    check_element(&cursor, HUB_STR("\"t\""), false);
    check_element(&cursor, HUB_STR("[\"\\n\"]"), false);
    check_element(&cursor, HUB_STR("{}"), false);
    assert_int_equal(hub_json_next(&cursor, NULL, NULL), HUB_ENOTFOUND);
}

static void a_cursor_does_not_open_another_kind(void **state)
{
    size_t offset;

    (void)state;
    assert_int_equal(walk(HUB_STR(" []"), HUB_JSON_OBJECT, 0, &offset), HUB_ESYNTAX);
    assert_int_equal(offset, 1);
    assert_int_equal(walk(HUB_STR("{}"), HUB_JSON_ARRAY, 0, &offset), HUB_ESYNTAX);
    assert_int_equal(offset, 0);
    assert_int_equal(walk(HUB_STR("1"), HUB_JSON_ARRAY, 0, &offset), HUB_ESYNTAX);
    assert_int_equal(offset, 0);
    assert_int_equal(walk(HUB_STR("  "), HUB_JSON_OBJECT, 0, &offset), HUB_ESYNTAX);
    assert_int_equal(offset, 2);
}

static void a_failed_cursor_reads_nothing_behind_the_wrong_byte(void **state)
{
    hub_json_cursor_t cursor;
    hub_json_value_t value = {.kind = HUB_JSON_TRUE};

    (void)state;
    assert_int_equal(hub_json_open(&cursor, HUB_STR("[1,,2]"), HUB_JSON_ARRAY, 0), HUB_OK);
    check_element(&cursor, HUB_STR("1"), false);
    assert_int_equal(hub_json_next(&cursor, NULL, &value), HUB_ESYNTAX);
    assert_int_equal(hub_json_next(&cursor, NULL, &value), HUB_ESYNTAX);
    assert_int_equal(cursor.offset, 3);
    assert_int_equal(value.kind, HUB_JSON_TRUE);
}

static void check_unescape(hub_str_t raw, hub_str_t expected)
{
    char *buffer = malloc(expected.len + 1);
    size_t len = SIZE_MAX;

    assert_non_null(buffer);
    assert_int_equal(hub_json_unescape(raw, buffer, expected.len, &len), HUB_OK);
    assert_int_equal(len, expected.len);
    assert_memory_equal(buffer, expected.base, expected.len);
    for (size_t size = 0; size < expected.len; size++) {
        char *small = malloc(size + 1);

        len = SIZE_MAX;
        assert_int_equal(hub_json_unescape(raw, small, size, &len), HUB_ETOOLARGE);
        assert_int_equal(len, SIZE_MAX);
        free(small);
    }
    free(buffer);
}

static void unescaping_gives_the_text_that_the_escapes_stand_for(void **state)
{
    (void)state;
    check_unescape(HUB_STR("\"\""), HUB_STR(""));
    check_unescape(HUB_STR("\"plain\""), HUB_STR("plain"));
    check_unescape(HUB_STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), HUB_STR("\"\\/\b\f\n\r\t"));
    check_unescape(HUB_STR("\"a\\nb\\nc\""), HUB_STR("a\nb\nc"));
    check_unescape(HUB_STR("\"\\u0000\""), HUB_STR("\0"));
    check_unescape(HUB_STR("\"\\u0041\\u007F\""), HUB_STR("A\x7f"));
    check_unescape(HUB_STR("\"\\u0080\\u07ff\""), HUB_STR("\xc2\x80\xdf\xbf"));
    check_unescape(HUB_STR("\"\\u0800\\uD7FF\\ue000\\uffff\""),
                   HUB_STR("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"));
    check_unescape(HUB_STR("\"\\ud800\\udc00\""), HUB_STR("\xf0\x90\x80\x80"));
    check_unescape(HUB_STR("\"\\uDBFF\\uDFFF\""), HUB_STR("\xf4\x8f\xbf\xbf"));
    check_unescape(HUB_STR("\"<\\ud83d\\ude00>\""), HUB_STR("<\xf0\x9f\x98\x80>"));
    check_unescape(HUB_STR("\"\xc3\xa4\\u00e4\""), HUB_STR("\xc3\xa4\xc3\xa4"));
    check_unescape(HUB_STR("\"\\\\u0041\""), HUB_STR("\\u0041"));
}

static void check_unescape_fails(hub_str_t raw, hub_status_t status)
{
    hub_str_t copy = exact_copy(raw);
    char buffer[64];
    size_t len = SIZE_MAX;

    assert_int_equal(hub_json_unescape(copy, buffer, sizeof(buffer), &len), status);
    assert_int_equal(len, SIZE_MAX);
    free((void *)(uintptr_t)copy.base);
}

static void unescaping_refuses_lone_surrogates(void **state)
{
    (void)state;
    check_unescape_fails(HUB_STR("\"\\ud800\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\udbff\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\udc00\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\udc00\\udc00\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\udfff\\ud800\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\ud800\\ud800\\udc00\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\ud800\\u0041\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\ud800\\ue000\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\ud800x\""), HUB_EUTF8);
    check_unescape_fails(HUB_STR("\"\\ud800\\n\""), HUB_EUTF8);
}

static void unescaping_refuses_what_no_scan_returned(void **state)
{
    (void)state;
    check_unescape_fails(HUB_STR(""), HUB_ESYNTAX);
    check_unescape_fails(HUB_STR("\""), HUB_ESYNTAX);
    check_unescape_fails(HUB_STR("ab"), HUB_ESYNTAX);
    check_unescape_fails(HUB_STR("\"a"), HUB_ESYNTAX);
    check_unescape_fails(HUB_STR("\"\\\""), HUB_ESYNTAX);
    check_unescape_fails(HUB_STR("\"\\x\""), HUB_ESYNTAX);
    check_unescape_fails(HUB_STR("\"\\u12\""), HUB_ESYNTAX);
    check_unescape_fails(HUB_STR("\"\\u12g4\""), HUB_ESYNTAX);
}

static size_t encode(unsigned code, unsigned char *to)
{
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    for (size_t i = len; i-- > 1; code >>= 6)
        to[i] = (unsigned char)(0x80 | (code & 0x3F));
    to[0] = (unsigned char)(leads[len] | code);
    return len;
}

static void every_character_of_unicode_is_valid_utf8(void **state)
{
    unsigned char *text = malloc(4 * 0x110000);
    size_t len = 0;

    (void)state;
    assert_non_null(text);
    for (unsigned code = 0; code < 0x110000; code++) {
        if (code < 0xD800 || code > 0xDFFF)
            len += encode(code, text + len);
    }
    assert_int_equal(len, 0x80 + 2 * 0x780 + 3 * (0xF800 - 0x800) + 4 * 0x100000);
    assert_true(hub_utf8_valid(hub_str_n((char *)text, len)));
    assert_false(hub_utf8_valid(hub_str_n((char *)text, len - 1)));
    free(text);
}

/* The pairs of bytes that begin a character, found by encoding all of them. */
static void collect_beginnings(bool found[256][256])
{
    unsigned char bytes[4];

    for (unsigned code = 0x80; code < 0x110000; code += code < 0x800 ? 1 : 0x40) {
        if (code < 0xD800 || code > 0xDFFF) {
            encode(code, bytes);
            found[bytes[0]][bytes[1]] = true;
        }
    }
}

static void every_other_beginning_is_not(void **state)
{
    static bool found[256][256];

    (void)state;
    collect_beginnings(found);
    for (unsigned first = 0x80; first < 0x100; first++) {
        size_t len = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;

        for (unsigned second = 0; second < 0x100; second++) {
            char text[] = {(char)first, (char)second, (char)0x80, (char)0x80};

            assert_int_equal(hub_utf8_valid(hub_str_n(text, len)), found[first][second]);
        }
    }
}

static void utf8_is_checked_to_the_last_byte(void **state)
{
    (void)state;
    assert_true(hub_utf8_valid(hub_str(NULL)));
    assert_true(hub_utf8_valid(HUB_STR("")));
    assert_true(hub_utf8_valid(HUB_STR("0123456789abcdef0123456789abcdef\xc3\xa4")));
    assert_false(hub_utf8_valid(HUB_STR("0123456789abcdef0123456789abcdef\xc3")));
    assert_false(hub_utf8_valid(HUB_STR("0123456789abcdef\xe2\x82 0123456789abcdef")));
    assert_false(hub_utf8_valid(HUB_STR("0123456789abcde\xf0\x9f\x98z")));
    assert_false(hub_utf8_valid(HUB_STR("\xf0\x9f\x98\x80\x80")));
    assert_false(hub_utf8_valid(HUB_STR("\xe2\x82\xac\xe2\xac")));
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Changes, doubles or drops a few bytes; most of the new ones mean something to JSON. */
static hub_str_t mutate(hub_str_t text, uint32_t *seed, char *buffer, size_t size)
{
    static const char bytes[] =
        "[]{},:\"\\u0123456789eE+-.truefalsn \n\x80\xbf\xc2\xe0\xed\xf0\xff";
    size_t len = text.len;

    memcpy(buffer, text.base, len);
    for (uint32_t changes = 1 + next_random(seed) % 3; changes > 0; changes--) {
        size_t at = next_random(seed) % (len + 1);
        char byte = bytes[next_random(seed) % (sizeof(bytes) - 1)];

        switch (next_random(seed) % 3) {
        case 0:
            buffer[at] = byte;
            len += at == len;
            break;
        case 1:
            memmove(buffer + at + 1, buffer + at, len - at);
            buffer[at] = byte;
            len++;
            break;
        default:
            memmove(buffer + at, buffer + at + 1, len - at);
            len -= at < len;
            break;
        }
        assert_true(len + 2 < size);
    }
    return hub_str_n(buffer, len);
}

/* What jansson can't store, though JSON has it: numbers out of range, NUL in a key, half a pair. */
static bool is_known_difference(const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);

    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           strstr(error->text, "invalid Unicode '\\u") != NULL;
}

static void jansson_accepts_the_same_texts(void **state)
{
    char buffer[512];
    uint32_t seed = 20261121;
    size_t both = 0, neither = 0;

    (void)state;
    for (size_t i = 0; i < 100000; i++) {
        hub_str_t source = accepted[next_random(&seed) % COUNT(accepted)].text;
        hub_str_t text = mutate(source, &seed, buffer, sizeof(buffer));
        json_error_t error;
        json_t *tree = json_loadb(text.base, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        bool ok = hub_json_scan(text, HUB_JSON_DEPTH_MAX, NULL, NULL) == HUB_OK;

        if (ok != (tree != NULL) && (tree != NULL || !is_known_difference(&error)))
            fail_msg("%.*s: %d, but jansson says %s", HUB_STR_ARG(text), ok,
                     tree != NULL ? "yes" : error.text);
        both += ok && tree != NULL;
        neither += !ok && tree == NULL;
        json_decref(tree);
    }
    /* the mutations are neither all harmless nor all fatal */
    assert_true(both > 10000);
    assert_true(neither > 25000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_8259_allows_is_accepted),
        cmocka_unit_test(what_rfc_8259_forbids_is_refused_at_its_first_wrong_byte),
        cmocka_unit_test(an_absent_text_ends_too_early),
        cmocka_unit_test(an_error_names_the_byte_and_its_place),
        cmocka_unit_test(a_wrong_byte_is_found_wherever_it_stands_in_a_string),
        cmocka_unit_test(a_right_byte_is_taken_wherever_it_stands_in_a_string),
        cmocka_unit_test(nesting_is_allowed_up_to_the_limit),
        cmocka_unit_test(a_depth_of_zero_is_the_default_and_a_huge_one_the_maximum),
        cmocka_unit_test(each_bracket_needs_its_own_kind_at_any_depth),
        cmocka_unit_test(a_million_open_brackets_are_refused_at_the_limit),
        cmocka_unit_test(a_scan_tells_kind_and_span_without_the_space_around),
        cmocka_unit_test(a_failed_scan_leaves_the_value_alone),
        cmocka_unit_test(a_cursor_reads_the_members_of_an_object_in_order),
        cmocka_unit_test(a_cursor_reads_the_elements_of_an_array_in_order),
        cmocka_unit_test(a_cursor_does_not_open_another_kind),
        cmocka_unit_test(a_failed_cursor_reads_nothing_behind_the_wrong_byte),
        cmocka_unit_test(unescaping_gives_the_text_that_the_escapes_stand_for),
        cmocka_unit_test(unescaping_refuses_lone_surrogates),
        cmocka_unit_test(unescaping_refuses_what_no_scan_returned),
        cmocka_unit_test(every_character_of_unicode_is_valid_utf8),
        cmocka_unit_test(every_other_beginning_is_not),
        cmocka_unit_test(utf8_is_checked_to_the_last_byte),
        cmocka_unit_test(jansson_accepts_the_same_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
