/* SPDX-License-Identifier: MIT */
/* Lines, their escapes and their limiter. Time stands still in the clock below until a case moves
 * it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "bus/line.h"
#include "bus/log.h"
#include "bus/source.h"

#define THREADS 4
#define LINES_PER_THREAD 500

/* The limiter's clock in log.c. */
extern uint64_t (*hub__log_clock)(void);

static uint64_t now_ms = 1000000;

static uint64_t fake_clock(void)
{
    return now_ms;
}

struct line {
    hub_log_level_t level;
    char event[64];
    char text[1100];
};

struct catcher {
    struct line last;
    size_t count;
};

static void catch_line(hub_log_level_t level, const char *event, const char *text, void *user)
{
    struct catcher *catcher = user;

    catcher->last.level = level;
    snprintf(catcher->last.event, sizeof(catcher->last.event), "%s", event);
    snprintf(catcher->last.text, sizeof(catcher->last.text), "%s", text);
    catcher->count++;
    errno = EIO;
}

/* A fresh second, the default level, and all lines in the catcher. */
static int set_up(void **state)
{
    struct catcher *catcher = calloc(1, sizeof(*catcher));

    assert_non_null(catcher);
    hub__log_clock = fake_clock;
    now_ms += 10000;
    hub_log_set_level(HUB_LOG_INFO);
    hub_log_set(catch_line, catcher);
    *state = catcher;
    return 0;
}

static int tear_down(void **state)
{
    hub_log_set(NULL, NULL);
    hub_log_set_format(HUB_LOG_TEXT);
    hub__source_set(NULL, NULL);
    free(*state);
    return 0;
}

static void a_callback_gets_level_event_and_text(void **state)
{
    struct catcher *catcher = *state;

    hub_log(HUB_LOG_WARN, "conn.open", "conn=%d peer=%s", 7, "::1");
    assert_int_equal(catcher->count, 1);
    assert_int_equal(catcher->last.level, HUB_LOG_WARN);
    assert_string_equal(catcher->last.event, "conn.open");
    assert_string_equal(catcher->last.text, "conn=7 peer=::1");
}

static void lines_below_the_level_are_not_made(void **state)
{
    struct catcher *catcher = *state;

    hub_log(HUB_LOG_DEBUG, "a", "x=1");
    hub_log_peer(HUB_LOG_DEBUG, "a", "x=1");
    assert_int_equal(catcher->count, 0);
    hub_log_set_level(HUB_LOG_DEBUG);
    hub_log(HUB_LOG_DEBUG, "a", "x=1");
    hub_log_peer(HUB_LOG_DEBUG, "a", "x=1");
    assert_int_equal(catcher->count, 2);
}

static void a_level_enables_itself_and_all_above(void **state)
{
    (void)state;
    assert_false(hub_log_enabled(HUB_LOG_DEBUG));
    assert_true(hub_log_enabled(HUB_LOG_INFO));
    assert_true(hub_log_enabled(HUB_LOG_ERROR));
    hub_log_set_level(HUB_LOG_ERROR);
    assert_false(hub_log_enabled(HUB_LOG_WARN));
    assert_true(hub_log_enabled(HUB_LOG_ERROR));
}

static void the_threshold_off_silences_everything(void **state)
{
    struct catcher *catcher = *state;

    hub_log_set_level(HUB_LOG_OFF);
    assert_false(hub_log_enabled(HUB_LOG_ERROR));
    assert_false(hub_log_enabled(HUB_LOG_OFF));
    hub_log(HUB_LOG_ERROR, "a", "x=1");
    hub_log_peer(HUB_LOG_ERROR, "a", "x=1");
    assert_int_equal(catcher->count, 0);
}

static void a_text_is_cut_at_1024_bytes(void **state)
{
    struct catcher *catcher = *state;

    hub_log(HUB_LOG_INFO, "a", "%01024d", 1);
    assert_int_equal(strlen(catcher->last.text), 1024);
    assert_string_equal(catcher->last.text + 1020, "0001");
    hub_log(HUB_LOG_INFO, "a", "%01025d", 1);
    assert_int_equal(strlen(catcher->last.text), 1024);
    assert_string_equal(catcher->last.text + 1020, "0…");
}

static void a_cut_falls_between_characters(void **state)
{
    struct catcher *catcher = *state;

    hub_log(HUB_LOG_INFO, "a", "%01019d😀%010d", 1, 2);
    assert_string_equal(catcher->last.text + 1017, "01…");
    hub_log(HUB_LOG_INFO, "a", "%01017d😀%010d", 1, 2);
    assert_string_equal(catcher->last.text + 1015, "01😀…");
}

static void a_control_byte_can_not_end_a_line(void **state)
{
    struct catcher *catcher = *state;

    hub_log(HUB_LOG_INFO, "a", "x=%s", "1\r\n2\x1b[31m\x7f\t");
    assert_string_equal(catcher->last.text, "x=1??2?[31m??");
}

static void logging_keeps_errno_and_may_print_it(void **state)
{
    struct catcher *catcher = *state;

    errno = ENOENT;
    hub_log(HUB_LOG_INFO, "a", "why=%m");
    assert_int_equal(errno, ENOENT);
    assert_string_equal(catcher->last.text, "why=No such file or directory");
}

static void log_peer_lines(size_t count)
{
    for (size_t i = 0; i < count; i++)
        hub_log_peer(HUB_LOG_INFO, "peer", "i=%zu", i);
}

static void a_hundred_lines_a_second_are_let_through(void **state)
{
    struct catcher *catcher = *state;

    log_peer_lines(100);
    assert_int_equal(catcher->count, 100);
    assert_string_equal(catcher->last.text, "i=99");
    log_peer_lines(1);
    now_ms += 999;
    log_peer_lines(1);
    assert_int_equal(catcher->count, 100);
    now_ms += 1;
    log_peer_lines(100);
    assert_int_equal(catcher->count, 200);
}

static void no_second_sees_more_wherever_it_begins(void **state)
{
    struct catcher *catcher = *state;

    log_peer_lines(1);
    now_ms += 900;
    log_peer_lines(99);
    /* the first line's second is over, that of the others is not */
    now_ms += 100;
    log_peer_lines(50);
    assert_int_equal(catcher->count, 101);
    now_ms += 900;
    log_peer_lines(99);
    assert_int_equal(catcher->count, 200);
}

static void the_next_line_says_how_many_were_suppressed(void **state)
{
    struct catcher *catcher = *state;

    log_peer_lines(142);
    now_ms += 1000;
    log_peer_lines(1);
    assert_string_equal(catcher->last.text, "suppressed=42 i=0");
    log_peer_lines(1);
    assert_string_equal(catcher->last.text, "i=0");
}

static void the_count_of_suppressed_lines_survives_a_long_text(void **state)
{
    struct catcher *catcher = *state;

    log_peer_lines(101);
    now_ms += 1000;
    hub_log_peer(HUB_LOG_INFO, "peer", "%02000d", 1);
    assert_int_equal(strlen(catcher->last.text), 1024);
    assert_memory_equal(catcher->last.text, "suppressed=1 000", 16);
    assert_string_equal(catcher->last.text + 1020, "0…");
}

static hub_str_t say_address(const void *address, char text[HUB__SOURCE_TEXT])
{
    (void)text;
    return hub_str(address);
}

/* How many of twenty lines go out. */
static size_t lines_of(struct catcher *catcher, const char *address)
{
    size_t before = catcher->count;

    hub__source_set(say_address, address);
    log_peer_lines(20);
    hub__source_set(NULL, NULL);
    return catcher->count - before;
}

static void one_peer_gets_ten_lines_a_second(void **state)
{
    struct catcher *catcher = *state;

    assert_int_equal(lines_of(catcher, "127.0.0.1:1000"), 10);
    now_ms += 999;
    assert_int_equal(lines_of(catcher, "127.0.0.1:1001"), 0);
    assert_int_equal(lines_of(catcher, "127.0.0.2:1000"), 10);
    log_peer_lines(1); /* the next that goes out tells */
    assert_string_equal(catcher->last.text, "suppressed=10 i=0");
    now_ms += 1;
    assert_int_equal(lines_of(catcher, "127.0.0.1:1002"), 10);
}

static void a_peers_second_begins_with_each_of_its_lines(void **state)
{
    struct catcher *catcher = *state;

    hub__source_set(say_address, "127.0.0.1:1000");
    log_peer_lines(5);
    now_ms += 500;
    assert_int_equal(lines_of(catcher, "127.0.0.1:1000"), 5);
    now_ms += 500;
    assert_int_equal(lines_of(catcher, "127.0.0.1:1000"), 5);
}

static void an_ipv6_peer_is_its_network(void **state)
{
    struct catcher *catcher = *state;

    assert_int_equal(lines_of(catcher, "[2001:db8::1]:1000"), 10);
    assert_int_equal(lines_of(catcher, "[2001:db8::ffff:2]:1000"), 0);
    assert_int_equal(lines_of(catcher, "[2001:db8:0:1::1]:1000"), 10);
}

static void who_has_no_address_has_the_limit_of_all_alone(void **state)
{
    struct catcher *catcher = *state;

    assert_int_equal(lines_of(catcher, "unix"), 20);
    assert_int_equal(lines_of(catcher, ""), 20);
    assert_int_equal(lines_of(catcher, ":"), 20);
}

static void many_peers_still_share_a_hundred_lines(void **state)
{
    struct catcher *catcher = *state;
    char address[32];
    size_t lines = 0;

    for (int i = 0; i < 1000; i++) {
        snprintf(address, sizeof(address), "10.0.%d.%d:1", i / 250, i % 250);
        lines += lines_of(catcher, address);
    }
    assert_int_equal(lines, 100);
}

static void a_programs_own_lines_are_not_limited(void **state)
{
    struct catcher *catcher = *state;

    log_peer_lines(200);
    hub_log(HUB_LOG_INFO, "own", "x=1");
    assert_int_equal(catcher->count, 101);
}

/* What goes to stderr while `act` runs. */
static void capture_stderr(void (*act)(void), char *text, size_t size)
{
    int saved = dup(STDERR_FILENO), pipe_fds[2];
    ssize_t len;
    char more;

    assert_true(saved >= 0);
    assert_int_equal(pipe(pipe_fds), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    act();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipe_fds[1]);
    /* one write is one read */
    len = read(pipe_fds[0], text, size - 1);
    assert_true(len > 0);
    text[len] = '\0';
    assert_int_equal(read(pipe_fds[0], &more, 1), 0);
    close(pipe_fds[0]);
}

static void log_one_line(void)
{
    hub_log(HUB_LOG_INFO, "conn.open", "conn=%d", 7);
}

static void log_without_text(void)
{
    hub_log(HUB_LOG_ERROR, "server.stop", "%s", "");
}

static void log_long_line(void)
{
    hub_log(HUB_LOG_WARN, "long", "%03000d", 1);
}

/* "2026-11-21T06:14:21.123Z " and then `rest`. */
static void check_stderr(void (*act)(void), const char *rest)
{
    int year, month, day, hour, minute, second, ms, used = 0;
    char text[2048];

    hub_log_set(NULL, NULL);
    capture_stderr(act, text, sizeof(text));
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
                            &minute, &second, &ms, &used),
                     7);
    assert_int_equal(used, 25);
    assert_in_range(year, 2024, 9999);
    assert_in_range(month, 1, 12);
    assert_in_range(hour, 0, 23);
    assert_string_equal(text + used, rest);
}

static void without_a_callback_a_line_goes_to_stderr(void **state)
{
    (void)state;
    check_stderr(log_one_line, "info conn.open conn=7\n");
    check_stderr(log_without_text, "error server.stop\n");
}

static void a_long_line_on_stderr_still_ends(void **state)
{
    char rest[2048];

    (void)state;
    snprintf(rest, sizeof(rest), "warn long %01021d…\n", 0);
    check_stderr(log_long_line, rest);
}

static void log_as_json(void)
{
    hub_log_set_format(HUB_LOG_JSON);
    hub_log(HUB_LOG_WARN, "handler.failed", "topic=\"room:\\n\\\"1\" event=\"say\" n=-42 x=07 y=");
}

static void a_line_may_be_json(void **state)
{
    const char *event, *level, *time, *topic, *name, *odd, *none;
    char text[2048];
    json_int_t number;
    json_t *line;

    (void)state;
    hub_log_set(NULL, NULL);
    capture_stderr(log_as_json, text, sizeof(text));
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(json_unpack(line, "{s:s, s:s, s:s, s:{s:s, s:s, s:I, s:s, s:s!}!}", "time",
                                 &time, "level", &level, "event", &event, "fields", "topic", &topic,
                                 "event", &name, "n", &number, "x", &odd, "y", &none),
                     0);
    assert_int_equal(strlen(time), 24);
    assert_string_equal(level, "warn");
    assert_string_equal(event, "handler.failed");
    assert_string_equal(topic, "room:\\n\\\"1");
    assert_string_equal(name, "say");
    assert_int_equal(number, -42);
    assert_string_equal(odd, "07");
    assert_string_equal(none, "");
    json_decref(line);
}

/* The fields that `text` becomes, as jansson writes them. */
static void check_fields(const char *text, const char *expected)
{
    char line[HUB__LINE_BYTES];
    size_t len = hub__line_json("t", "info", "e", text, line);
    json_t *json;
    char *fields;

    assert_int_equal(line[len - 1], '\n');
    assert_null(memchr(line, '\n', len - 1));
    json = json_loadb(line, len, 0, NULL);
    assert_non_null(json);
    fields = json_dumps(json_object_get(json, "fields"), JSON_COMPACT);
    assert_string_equal(fields, expected);
    free(fields);
    json_decref(json);
}

static void what_is_no_pair_is_the_field_text(void **state)
{
    (void)state;
    check_fields("", "{}");
    check_fields("  a=1  b=2 ", "{\"a\":1,\"b\":2}");
    check_fields("hello a=1", "{\"text\":\"hello a=1\"}");
    check_fields("a=1 =b c=2", "{\"a\":1,\"text\":\"=b c=2\"}");
    check_fields("a=\"b\"c", "{\"text\":\"a=\\\"b\\\"c\"}");
}

static void what_was_cut_or_never_escaped_is_json_all_the_same(void **state)
{
    (void)state;
    check_fields("a=\"bc…", "{\"a\":\"bc…\"}");
    check_fields("a=\"b\\", "{\"a\":\"b\\\\\"}");
    check_fields("a=\xff\xc3 b=\"\xe2\x82\"",
                 "{\"a\":\"\\\\xFF\\\\xC3\",\"b\":\"\\\\xE2\\\\x82\"}");
    check_fields("a=\xed\xa0\x80", "{\"a\":\"\\\\xED\\\\xA0\\\\x80\"}");
    check_fields("a=\"\u202E\"", "{\"a\":\"\u202E\"}");
    check_fields("a=999999999999999 b=1000000000000000 c=- d=1.5",
                 "{\"a\":999999999999999,\"b\":\"1000000000000000\",\"c\":\"-\",\"d\":\"1.5\"}");
}

static void the_worst_text_fits_into_a_line(void **state)
{
    char text[HUB__LINE_TEXT + 1], line[HUB__LINE_BYTES];
    json_t *json;

    (void)state;
    memset(text, '\xff', HUB__LINE_TEXT);
    text[HUB__LINE_TEXT] = '\0';
    json = json_loadb(line, hub__line_json("t", "info", "e", text, line), 0, NULL);
    assert_non_null(json);
    json_decref(json);
    for (size_t i = 0; i < HUB__LINE_TEXT; i++)
        text[i] = "a= "[i % 3];
    json = json_loadb(line, hub__line_json("t", "info", "e", text, line), 0, NULL);
    assert_non_null(json);
    json_decref(json);
}

static void whatever_a_peer_sends_is_one_line_of_json(void **state)
{
    static const char bytes[] =
        "\"\\ \n\x1b=a\xff\xe2\x80\xae\xed\xa0\x80{}\x7f\xf0\x9f\x98\x80\xc2\x85";
    char peer[600], field[HUB_LOG_FIELD], text[HUB__LINE_TEXT], line[HUB__LINE_BYTES];
    uint64_t random = 1;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        size_t len = (size_t)(i % 600), made;
        json_t *json;

        for (size_t j = 0; j < len; j++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            peer[j] = bytes[(random >> 33) % (sizeof(bytes) - 1)];
        }
        snprintf(text, sizeof(text), "topic=%s status=EPAYLOAD",
                 hub_log_escape(hub_str_n(peer, len), field));
        made = hub__line_json("t", "warn", "e", text, line);
        assert_null(memchr(line, '\n', made - 1));
        json = json_loadb(line, made, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        assert_int_equal(json_object_size(json_object_get(json, "fields")), 2);
        json_decref(json);
    }
}

static void check_escape(hub_str_t str, const char *expected)
{
    char buffer[HUB_LOG_FIELD];

    assert_ptr_equal(hub_log_escape(str, buffer), buffer);
    assert_string_equal(buffer, expected);
}

static void printable_text_is_quoted_as_it_is(void **state)
{
    (void)state;
    check_escape(hub_str(NULL), "\"\"");
    check_escape(HUB_STR("room:42 ~"), "\"room:42 ~\"");
    check_escape(HUB_STR("ä€😀я中"), "\"ä€😀я中\"");
}

static void what_would_end_or_break_a_line_is_escaped(void **state)
{
    (void)state;
    check_escape(HUB_STR("a\"b\\c"), "\"a\\\"b\\\\c\"");
    check_escape(HUB_STR("\n\r\t"), "\"\\n\\r\\t\"");
    check_escape(HUB_STR("\0\x01\x1b\x7f"), "\"\\x00\\x01\\x1B\\x7F\"");
}

static void bytes_that_are_no_utf8_are_shown_in_hexadecimal(void **state)
{
    (void)state;
    check_escape(HUB_STR("\xff|\x80|\xc3"), "\"\\xFF|\\x80|\\xC3\"");
    check_escape(HUB_STR("\xc0\x80"), "\"\\xC0\\x80\"");
    check_escape(HUB_STR("\xe2\x82|"), "\"\\xE2\\x82|\"");
    check_escape(HUB_STR("\xe0\x9f\xbf"), "\"\\xE0\\x9F\\xBF\"");
    check_escape(HUB_STR("\xed\xa0\x80"), "\"\\xED\\xA0\\x80\"");
    check_escape(HUB_STR("\xf4\x90\x80\x80"), "\"\\xF4\\x90\\x80\\x80\"");
    check_escape(HUB_STR("\xf0\x8f\xbf\xbf"), "\"\\xF0\\x8F\\xBF\\xBF\"");
    check_escape(HUB_STR("\xf5\x80\x80\x80"), "\"\\xF5\\x80\\x80\\x80\"");
}

static void characters_that_hide_or_turn_text_are_named(void **state)
{
    (void)state;
    check_escape(HUB_STR("a\u202Eb\u2066"), "\"a\\u{202E}b\\u{2066}\"");
    check_escape(HUB_STR("\u200B\u200F\uFEFF\u00AD"), "\"\\u{200B}\\u{200F}\\u{FEFF}\\u{00AD}\"");
    check_escape(HUB_STR("\xc2\x85\u2028\u00A0"), "\"\\u{0085}\\u{2028}\\u{00A0}\"");
    check_escape(HUB_STR("\U000E0041\uE000\U0010FFFD"), "\"\\u{E0041}\\u{E000}\\u{10FFFD}\"");
    check_escape(HUB_STR("\uFFFE\U0001FFFF"), "\"\\u{FFFE}\\u{1FFFF}\"");
    check_escape(HUB_STR("\u00A1\u2010\uFFFD\U0001F600"), "\"\u00A1\u2010\uFFFD\U0001F600\"");
}

/* `count` times `piece` must come out as `shown` times `as`, followed by `end`. */
static void check_cut(const char *piece, size_t count, const char *as, size_t shown,
                      const char *end)
{
    char text[2048] = "", expected[512] = "\"";

    for (size_t i = 0; i < count; i++)
        strcat(text, piece);
    for (size_t i = 0; i < shown; i++)
        strcat(expected, as);
    strcat(expected, end);
    check_escape(hub_str(text), expected);
}

static void a_field_is_cut_at_256_bytes_between_pieces(void **state)
{
    (void)state;
    check_cut("a", 255, "a", 255, "\"");
    check_cut("a", 256, "a", 256, "\"");
    check_cut("a", 257, "a", 256, "…\"");
    check_cut("\x01", 64, "\\x01", 64, "\"");
    check_cut("\x01", 65, "\\x01", 64, "…\"");
    check_cut("€", 86, "€", 85, "…\"");
    check_cut("\u202E", 100, "\\u{202E}", 32, "…\"");
    check_cut("\U0010FFFD", 100, "\\u{10FFFD}", 25, "…\"");
}

struct counts {
    size_t lines;
    bool inside;
    bool overlapped;
};

/* Without atomics on purpose: "never two at once" is what makes that right. */
static void count_line(hub_log_level_t level, const char *event, const char *text, void *user)
{
    struct counts *counts = user;

    (void)level;
    (void)event;
    (void)text;
    counts->overlapped |= counts->inside;
    counts->inside = true;
    counts->lines++;
    counts->inside = false;
}

static void *log_in_thread(void *unused)
{
    for (int i = 0; i < LINES_PER_THREAD; i++) {
        hub_log(HUB_LOG_INFO, "thread", "i=%d", i);
        hub_log_peer(HUB_LOG_INFO, "thread", "i=%d", i);
    }
    return unused;
}

static void a_callback_never_runs_twice_at_once(void **state)
{
    pthread_t threads[THREADS];
    struct counts counts = {0}, after = {0};

    (void)state;
    hub_log_set(count_line, &counts);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_in_thread, NULL), 0);
    /* settings may change meanwhile; what the first one missed is the second one's */
    hub_log_set_level(HUB_LOG_INFO);
    hub_log_set(count_line, &after);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    hub_log_set(NULL, NULL);
    assert_int_equal(counts.lines + after.lines, THREADS * LINES_PER_THREAD + 100);
    assert_false(counts.overlapped);
    assert_false(after.overlapped);
}

/* With the real clock, which must at least stand at some time and not go back. */
static void the_limiters_own_clock_is_monotonic(void **state)
{
    uint64_t (*clock)(void) = *state;
    uint64_t first = clock();

    assert_true(first > 0);
    assert_true(clock() >= first);
}

/* The clock as log.c had it before any case put another one there. */
static int keep_real_clock(void **state)
{
    *state = (void *)hub__log_clock;
    return 0;
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_limiters_own_clock_is_monotonic, keep_real_clock),
        LOG_TEST(a_callback_gets_level_event_and_text),
        LOG_TEST(lines_below_the_level_are_not_made),
        LOG_TEST(a_level_enables_itself_and_all_above),
        LOG_TEST(the_threshold_off_silences_everything),
        LOG_TEST(a_text_is_cut_at_1024_bytes),
        LOG_TEST(a_cut_falls_between_characters),
        LOG_TEST(a_control_byte_can_not_end_a_line),
        LOG_TEST(logging_keeps_errno_and_may_print_it),
        LOG_TEST(a_hundred_lines_a_second_are_let_through),
        LOG_TEST(no_second_sees_more_wherever_it_begins),
        LOG_TEST(the_next_line_says_how_many_were_suppressed),
        LOG_TEST(the_count_of_suppressed_lines_survives_a_long_text),
        LOG_TEST(one_peer_gets_ten_lines_a_second),
        LOG_TEST(a_peers_second_begins_with_each_of_its_lines),
        LOG_TEST(an_ipv6_peer_is_its_network),
        LOG_TEST(who_has_no_address_has_the_limit_of_all_alone),
        LOG_TEST(many_peers_still_share_a_hundred_lines),
        LOG_TEST(a_programs_own_lines_are_not_limited),
        LOG_TEST(a_line_may_be_json),
        cmocka_unit_test(what_is_no_pair_is_the_field_text),
        cmocka_unit_test(what_was_cut_or_never_escaped_is_json_all_the_same),
        cmocka_unit_test(the_worst_text_fits_into_a_line),
        cmocka_unit_test(whatever_a_peer_sends_is_one_line_of_json),
        LOG_TEST(without_a_callback_a_line_goes_to_stderr),
        LOG_TEST(a_long_line_on_stderr_still_ends),
        cmocka_unit_test(printable_text_is_quoted_as_it_is),
        cmocka_unit_test(what_would_end_or_break_a_line_is_escaped),
        cmocka_unit_test(bytes_that_are_no_utf8_are_shown_in_hexadecimal),
        cmocka_unit_test(characters_that_hide_or_turn_text_are_named),
        cmocka_unit_test(a_field_is_cut_at_256_bytes_between_pieces),
        LOG_TEST(a_callback_never_runs_twice_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
