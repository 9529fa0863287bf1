/* SPDX-License-Identifier: MIT */

/* What the load generator is made of, without sockets: whether it would notice, and whether it
 * counts right. What ends the program is asked of a child. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/load/histogram.h"
#include "bench/load/ledger.h"
#include "bench/load/metrics.h"
#include "bench/load/payload.h"
#include "bench/load/speaker.h"
#include "bench/load/template.h"
#include "bench/load/url.h"
#include "bench/load/ws.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { NATIVE, PHOENIX1, PHOENIX2, PLAIN, SOCKET_IO, NCHAN, NATS, MQTT };

/* ---- histogram ---- */

static void a_bucket_is_at_most_two_percent_wide(void **state)
{
    uint64_t worst = 0;

    (void)state;
    for (uint64_t value = 1; value < UINT64_MAX / 3; value += value / 7 + 1) {
        uint64_t upper = histogram_upper(histogram_bucket(value));

        assert_true(upper >= value);
        if ((upper - value) * 1000 / value > worst)
            worst = (upper - value) * 1000 / value;
    }
    assert_in_range(worst, 1, 20);
}

static void buckets_follow_one_another_without_a_gap(void **state)
{
    (void)state;
    for (size_t i = 0; i != HISTOGRAM_BUCKETS - 1; ++i) {
        assert_int_equal(histogram_bucket(histogram_upper(i)), i);
        assert_int_equal(histogram_bucket(histogram_upper(i) + 1), i + 1);
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void percentiles_are_those_of_the_values(void **state)
{
    static histogram_t histogram, other;

    (void)state;
    assert_int_equal(histogram_percentile(&histogram, 0.5), 0);
    for (uint64_t i = 1; i <= 1000; ++i)
        histogram_add(i % 2 == 0 ? &histogram : &other, i * 1000);
    histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count, 1000);
    assert_in_range(histogram_percentile(&histogram, 0.5), 500000, 510000);
    assert_in_range(histogram_percentile(&histogram, 0.99), 990000, 1000000);
    assert_int_equal(histogram_percentile(&histogram, 1), 1000000);
    assert_int_equal(histogram.max, 1000000);
}

/* ---- payload ---- */

static void what_a_payload_carries_comes_back(void **state)
{
    const payload_t sent = {.topic = 65535,
                            .publisher = 4711,
                            .sequence = 0xfedcba98,
                            .stamped_ns = 0x0123456789abcdef};
    payload_t got;
    char text[64], around[80];

    (void)state;
    payload_prepare(sizeof(text));
    payload_write(text, sizeof(text), &sent);
    assert_true(payload_read_header(text, &got));
    assert_int_equal(got.topic, sent.topic);
    assert_int_equal(got.publisher, sent.publisher);
    assert_int_equal(got.sequence, sent.sequence);
    assert_int_equal(got.stamped_ns, sent.stamped_ns);
    assert_memory_equal(text + PAYLOAD_HEADER, payload_filler(sent.sequence),
                        sizeof(text) - PAYLOAD_HEADER);
    memset(around, 'x', sizeof(around));
    memcpy(around + 9, text, sizeof(text));
    assert_ptr_equal(payload_find(around, sizeof(around), &got), around + 9);
    assert_null(payload_find(around, 9 + PAYLOAD_HEADER - 1, &got));
}

static void a_payload_needs_no_escape(void **state)
{
    char text[256];

    (void)state;
    payload_prepare(sizeof(text));
    for (uint32_t i = 0; i != 300; ++i) {
        payload_write(text, sizeof(text), &(payload_t){.sequence = i * 77777777, .topic = i * 211});
        for (size_t n = 0; n != sizeof(text); ++n)
            assert_true(text[n] > ' ' && text[n] < 127 && text[n] != '"' && text[n] != '\\');
    }
}

static void each_damaged_byte_of_a_header_is_seen(void **state)
{
    char text[PAYLOAD_HEADER];
    payload_t sent = {.topic = 1, .publisher = 2, .sequence = 3, .stamped_ns = 4}, got;

    (void)state;
    payload_prepare(sizeof(text));
    for (size_t i = 0; i != sizeof(text); ++i) {
        payload_write(text, sizeof(text), &sent);
        text[i] = 'x';
        assert_false(payload_read_header(text, &got));
    }
}

/* ---- the ledger ---- */

struct book {
    speaker_t speaker;
    ledger_t ledger;
    reader_t readers[2]; /* of topic 0, in a row for ledger_take() */
};

static int set_up(void **state)
{
    struct book *book = calloc(1, sizeof(*book));

    speaker_open(&book->speaker, PLAIN, NULL, 64);
    ledger_open(&book->ledger, &book->speaker, SAY_PUBLISH, "t:", 2, 2, false);
    for (size_t i = 0; i != COUNT(book->readers); ++i) {
        book->readers[i].conn = (uint32_t)i;
        ledger_join(&book->ledger, &book->readers[i], 0, true);
        book->readers[i].open = true;
    }
    *state = book;
    return 0;
}

static int tear_down(void **state)
{
    struct book *book = *state;

    for (size_t i = 0; i != COUNT(book->readers); ++i)
        reader_dispose(&book->readers[i]);
    ledger_close(&book->ledger);
    speaker_close(&book->speaker);
    free(book);
    return 0;
}

static void publish(struct book *book, uint32_t topic, uint32_t publisher, unsigned count)
{
    payload_t payload;

    while (count-- != 0)
        ledger_publish(&book->ledger, ledger_lane(&book->ledger, topic, publisher), 1000, &payload);
}

/* The message as the server would deliver it, with one byte changed where `spoilt` is not zero. */
static void hear_spoilt(struct book *book, size_t reader, uint32_t topic, uint32_t publisher,
                        uint32_t sequence, size_t spoilt)
{
    char text[80];
    size_t len = (size_t)snprintf(text, sizeof(text), "t:%05u ", topic);

    payload_write(
        text + len, 64,
        &(payload_t){
            .topic = topic, .publisher = publisher, .sequence = sequence, .stamped_ns = 1000});
    len += 64;
    if (spoilt != 0)
        text[len - spoilt] ^= 1;
    if (!ledger_take(&book->ledger, &book->readers[reader], 1, 0, text, len, 3000))
        ledger_examine(&book->ledger, (uint32_t)reader, &book->readers[reader], 1, 0, text, len,
                       3000);
}

static void hear(struct book *book, size_t reader, uint32_t publisher, uint32_t sequence)
{
    hear_spoilt(book, reader, 0, publisher, sequence, 0);
}

static void expect_faults(struct book *book, faults_t wanted)
{
    faults_t got = book->ledger.faults;

    memset(got.first, 0, sizeof(got.first));
    assert_memory_equal(&got, &wanted, sizeof(got));
}

static void a_publish_is_over_when_all_have_it(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 1);
    hear(book, 0, 0, 0);
    assert_int_equal(book->ledger.outstanding, 1);
    hear(book, 1, 0, 0);
    assert_int_equal(book->ledger.outstanding, 0);
    assert_int_equal(book->ledger.finished_count, 1);
    assert_int_equal(book->ledger.deliveries, 2);
    assert_int_equal(book->ledger.latency.max, 2000);
    ledger_settle(&book->ledger);
    assert_true(ledger_is_clean(&book->ledger));
}

static void a_publish_that_nobody_hears_is_over_at_once(void **state)
{
    struct book *book = *state;

    publish(book, 1, 0, 3);
    assert_int_equal(book->ledger.outstanding, 0);
    assert_int_equal(book->ledger.finished_count, 3);
}

static void publishers_are_not_mixed_up(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 2);
    publish(book, 0, 1, 2);
    for (size_t reader = 0; reader != 2; ++reader) {
        hear(book, reader, 1, 0);
        hear(book, reader, 0, 0);
        hear(book, reader, 0, 1);
        hear(book, reader, 1, 1);
    }
    ledger_settle(&book->ledger);
    assert_true(ledger_is_clean(&book->ledger));
}

static void what_never_comes_is_lost(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 100);
    for (uint32_t i = 0; i != 100; ++i)
        hear(book, 0, 0, i);
    hear(book, 1, 0, 0);
    ledger_settle(&book->ledger);
    expect_faults(book, (faults_t){.lost = 99});
    publish(book, 0, 0, 1); /* what is lost is counted once */
    hear(book, 0, 0, 100);
    hear(book, 1, 0, 100);
    ledger_settle(&book->ledger);
    expect_faults(book, (faults_t){.lost = 99});
}

static void what_was_skipped_makes_room_and_is_lost(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 3);
    for (uint32_t i = 0; i != 3; ++i)
        hear(book, 0, 0, i);
    hear(book, 1, 0, 2);
    assert_int_equal(book->ledger.outstanding, 0);
    ledger_settle(&book->ledger);
    expect_faults(book, (faults_t){.lost = 2});
}

static void what_comes_late_was_reordered(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 4);
    for (uint32_t i = 0; i != 4; ++i)
        hear(book, 0, 0, i);
    hear(book, 1, 0, 3);
    hear(book, 1, 0, 1);
    hear(book, 1, 0, 0);
    hear(book, 1, 0, 2);
    ledger_settle(&book->ledger);
    expect_faults(book, (faults_t){.reordered = 3});
}

static void what_comes_twice_is_a_duplicate(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 2);
    for (size_t reader = 0; reader != 2; ++reader)
        for (uint32_t i = 0; i != 2; ++i)
            hear(book, reader, 0, i);
    hear(book, 1, 0, 0);
    hear(book, 1, 0, 1);
    ledger_settle(&book->ledger);
    expect_faults(book, (faults_t){.duplicate = 2});
}

static void what_comes_late_and_twice_is_both(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 2);
    hear(book, 0, 0, 0);
    hear(book, 0, 0, 1);
    hear(book, 1, 0, 1);
    hear(book, 1, 0, 0);
    hear(book, 1, 0, 0);
    ledger_settle(&book->ledger);
    expect_faults(book, (faults_t){.reordered = 1, .duplicate = 1});
}

static void a_topic_that_was_not_joined_is_misrouted(void **state)
{
    struct book *book = *state;

    publish(book, 1, 0, 1);
    hear_spoilt(book, 0, 1, 0, 0, 0);
    expect_faults(book, (faults_t){.misrouted = 1});
    ledger_leave(&book->ledger, &book->readers[1]);
    publish(book, 0, 0, 1);
    hear(book, 0, 0, 0);
    hear(book, 1, 0, 0);
    expect_faults(book, (faults_t){.misrouted = 2});
}

static void every_byte_that_is_changed_is_noticed(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 2);
    for (size_t spoilt = 1; spoilt <= 72; ++spoilt) {
        memset(&book->ledger.faults, 0, sizeof(book->ledger.faults));
        hear_spoilt(book, 0, 0, 0, 0, spoilt);
        assert_false(ledger_is_clean(&book->ledger));
    }
}

static void a_spoilt_filler_is_corruption_and_nothing_else(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 1);
    hear(book, 0, 0, 0);
    hear_spoilt(book, 1, 0, 0, 0, 3);
    ledger_settle(&book->ledger);
    expect_faults(book, (faults_t){.corrupted = 1});
}

static void what_was_never_sent_is_corruption(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 1);
    hear(book, 0, 0, 7);
    hear(book, 0, 9, 0);
    expect_faults(book, (faults_t){.corrupted = 2});
}

static void what_no_publisher_says_is_out_of_protocol(void **state)
{
    struct book *book = *state;

    ledger_examine(&book->ledger, 5, book->readers, 1, 0, "hello\n", 6, 0);
    expect_faults(book, (faults_t){.protocol = 1});
    assert_string_equal(book->ledger.faults.first, "connection 5 got what nobody sent: hello.");
}

static void who_is_gone_makes_nobody_wait(void **state)
{
    struct book *book = *state;

    publish(book, 0, 0, 5);
    for (uint32_t i = 0; i != 5; ++i)
        hear(book, 0, 0, i);
    ledger_leave(&book->ledger, &book->readers[1]);
    assert_int_equal(book->ledger.outstanding, 0);
    expect_faults(book, (faults_t){.lost = 5});
}

static void who_joins_midway_may_have_older_ones_but_no_gap(void **state)
{
    struct book *book = *state;
    reader_t *late = &book->readers[1];

    ledger_leave(&book->ledger, late);
    publish(book, 0, 0, 10);
    ledger_join(&book->ledger, late, 0, false);
    late->open = true;
    ledger_joined(&book->ledger, late);
    publish(book, 0, 0, 5);
    hear(book, 1, 0, 8);
    hear(book, 1, 0, 9);
    assert_true(ledger_is_clean(&book->ledger));
    ledger_join(&book->ledger, late, 0, false);
    late->open = true;
    ledger_joined(&book->ledger, late);
    publish(book, 0, 0, 5);
    hear(book, 1, 0, 18);
    expect_faults(book, (faults_t){.lost = 3});
}

static void many_publishes_under_way_keep_their_places(void **state)
{
    struct book *book = *state;

    for (uint32_t round = 0; round != 3; ++round) {
        publish(book, 0, 1, 1000);
        for (uint32_t i = 0; i != 1000; ++i)
            hear(book, 0, 1, round * 1000 + i);
        for (uint32_t i = 0; i != 1000; ++i)
            hear(book, 1, 1, round * 1000 + i);
    }
    assert_int_equal(book->ledger.outstanding, 0);
    assert_int_equal(book->ledger.finished_count, 3000);
    assert_true(ledger_is_clean(&book->ledger));
}

/* ---- templates ---- */

/* What template_parse() says of it on stderr, with the status behind it. */
static const char *refusal_of(const char *text)
{
    static char said[512];
    template_t template;
    int pipe_fds[2], status;
    size_t len = 0;
    ssize_t got;
    pid_t child;

    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    if (child == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        template_parse(&template, "file", text);
        _exit(0);
    }
    close(pipe_fds[1]);
    while ((got = read(pipe_fds[0], said + len, sizeof(said) - 16 - len)) > 0)
        len += (size_t)got;
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    snprintf(said + len, sizeof(said) - len, "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return said;
}

#define MINIMAL "join = j\npublish = {payload}\n"

static void a_mistake_in_a_template_is_told_with_its_line(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"\n# x\nnonsense\n", "file:3: 'nonsense' is not key = value\n2"},
        {"join = j\njion = j\n", "file:2: there is no key 'jion'; --help lists them\n2"},
        {"join = j\njoin = k\n", "file:2: join for the second time\n2"},
        {"binary = maybe\n", "file:1: binary 'maybe': neither yes nor no\n2"},
        {"\njoin_answers = x1\n",
         "file:2: join_answers 'x1': not a whole number from 0 to 1000\n2"},
        {"join_answers = any\n",
         "file:1: join_answers 'any': not a whole number from 0 to 1000\n2"},
        {"join = {topik}\n",
         "file:1: '{topik}' is no placeholder: {topic} {payload} {payload_bytes} {ref} {conn}, or "
         "{data} in payload\n2"},
        {"join = a\\q\n", "file:1: '\\q' is no escape: \\r \\n \\t \\s \\\\ or \\xHH\n2"},
        {"join = a\\x4\n", "file:1: '\\x' is no escape: \\r \\n \\t \\s \\\\ or \\xHH\n2"},
        {"join = j\n", "file: publish is missing\n2"},
        {"join = j\npublish = x\n", "file: publish does not have its payload exactly once\n2"},
        {"publish = {payload}\n", "file: there is neither a join nor a {topic} in path\n2"},
        {MINIMAL "ping = p\n", "file: there is a ping, but no pong\n2"}};

    (void)state;
    for (size_t i = 0; i != COUNT(cases); ++i)
        assert_non_null(strstr(refusal_of(cases[i].text), cases[i].said));
    assert_string_equal(refusal_of(MINIMAL), "0");
}

static void a_template_says_what_its_text_says(void **state)
{
    template_t template;
    speaker_t speaker = {.template = {.join_answers = 0}};
    buffer_t out = {.bytes = NULL};

    (void)state;
    template_parse(&template, "file",
                   "  join=\\x41{\"a\":{}} {topic}\\r\\n\\s \n# c\npublish = {payload}\n"
                   "publish_answers = any\nbarrier = no");
    speaker_expand(&speaker, &template.join, &(saying_t){.topic = "tt", .topic_len = 2}, &out);
    assert_int_equal(out.len, 15);
    assert_memory_equal(out.bytes, "A{\"a\":{}} tt\r\n ", 15);
    assert_int_equal(template.publish_answers, TEMPLATE_ANY);
    assert_false(template.barrier);
    buffer_dispose(&out);
    template_dispose(&template);
}

static void every_speaker_reads_what_it_calls_a_delivery(void **state)
{
    (void)state;
    for (unsigned long i = 0; i <= SPEAKER_LAST; ++i) {
        speaker_t speaker;
        buffer_t prefix = {.bytes = NULL}, suffix = {.bytes = NULL};

        speaker_open(&speaker, i, NULL, 128);
        assert_true(speaker_pattern(&speaker, SAY_PUBLISH, "t:1", 3, &prefix, &suffix));
        assert_int_equal(prefix.len == 0, i == NCHAN);
        buffer_dispose(&prefix);
        buffer_dispose(&suffix);
        speaker_close(&speaker);
    }
}

/* ---- streams ---- */

/* Nothing is a message before its last byte, and nothing behind it belongs to it. */
static void expect_message(const stream_t *stream, const char *bytes, size_t len)
{
    char *copy;

    for (size_t part = 0; part != len; ++part) {
        copy = malloc(part + 1); /* the sanitizer sees a byte read too far */
        copy = realloc(copy, part != 0 ? part : 1);
        memcpy(copy, bytes, part);
        assert_int_equal(stream->split(copy, part), STREAM_MORE);
        free(copy);
    }
    copy = malloc(len + 3);
    memcpy(copy, bytes, len);
    memcpy(copy + len, "MSG", 3);
    assert_int_equal(stream->split(copy, len), len);
    assert_int_equal(stream->split(copy, len + 3), len);
    free(copy);
}

static void nats_messages_end_where_they_say(void **state)
{
    (void)state;
    expect_message(&STREAM_NATS, "PING\r\n", 6);
    expect_message(&STREAM_NATS, "INFO {\"a\":1}\r\n", 14);
    expect_message(&STREAM_NATS, "MSG t 1 5\r\na\r\nbc\r\n", 18);
    expect_message(&STREAM_NATS, "MSG t 1 reply 12\r\n0123456789ab\r\n", 32);
    expect_message(&STREAM_NATS, "MSG t 1 0\r\n\r\n", 13);
    assert_int_equal(STREAM_NATS.split("MSG t 1 x\r\n", 11), STREAM_INVALID);
    assert_int_equal(STREAM_NATS.split("MSG t 1 3\r\nabcde\r\n", 18), STREAM_INVALID);
    assert_int_equal(STREAM_NATS.split("MSG 999999999\r\n", 15), STREAM_INVALID);
}

static void mqtt_packets_end_where_they_say(void **state)
{
    char large[3 + 200];

    (void)state;
    expect_message(&STREAM_MQTT, "\x20\x02\0\0", 4);
    expect_message(&STREAM_MQTT, "\xd0\0", 2);
    memset(large, 'x', sizeof(large));
    memcpy(large, "\x30\xc8\x01", 3);
    expect_message(&STREAM_MQTT, large, sizeof(large));
    assert_int_equal(STREAM_MQTT.split("\x30\xff\xff\xff\xff\x01", 6), STREAM_INVALID);
}

static void an_mqtt_delivery_is_what_a_publish_is(void **state)
{
    speaker_t speaker;
    buffer_t frame = {.bytes = NULL}, prefix = {.bytes = NULL}, suffix = {.bytes = NULL};
    saying_t saying = {.topic = "t:00001", .topic_len = 7, .payload = {.sequence = 9}};

    (void)state;
    speaker_open(&speaker, MQTT, NULL, 300);
    speaker_say(&speaker, SAY_PUBLISH, &saying, &frame);
    assert_true(speaker_pattern(&speaker, SAY_PUBLISH, "t:00001", 7, &prefix, &suffix));
    assert_int_equal(frame.len, 8 + prefix.len + 300);
    assert_memory_equal(frame.bytes + 8, prefix.bytes, prefix.len);
    assert_int_equal(STREAM_MQTT.split(frame.bytes + 8, frame.len - 8), frame.len - 8);
    buffer_dispose(&frame);
    buffer_dispose(&prefix);
    buffer_dispose(&suffix);
    speaker_close(&speaker);
}

/* ---- websocket, addresses, counters ---- */

static void frames_of_a_server_are_read_in_any_pieces(void **state)
{
    static const char small[] = "\x81\x7d", middle[] = "\x82\x7e\xff\xfe",
                      large[] = "\x01\x7f\0\0\0\0\0\1\0\0";
    ws_frame_t frame;

    (void)state;
    assert_int_equal(ws_read_header(small, 1, &frame), WS_INCOMPLETE);
    assert_int_equal(ws_read_header(small, 2, &frame), WS_OK);
    assert_int_equal(frame.body_len, 125);
    for (size_t i = 0; i != 4; ++i)
        assert_int_equal(ws_read_header(middle, i, &frame), WS_INCOMPLETE);
    assert_int_equal(ws_read_header(middle, 4, &frame), WS_OK);
    assert_int_equal(frame.body_len, 65534);
    for (size_t i = 0; i != 10; ++i)
        assert_int_equal(ws_read_header(large, i, &frame), WS_INCOMPLETE);
    assert_int_equal(ws_read_header(large, 10, &frame), WS_OK);
    assert_int_equal(frame.body_len, 65536);
    assert_int_equal(frame.first, 1);
}

static void frames_that_no_server_may_send_are_refused(void **state)
{
    ws_frame_t frame;

    (void)state;
    assert_int_equal(ws_read_header("\x81\x85", 2, &frame), WS_INVALID);
    assert_int_equal(ws_read_header("\x89\x7e", 2, &frame), WS_INVALID);
    assert_int_equal(ws_read_header("\x09\x01", 2, &frame), WS_INVALID);
    assert_int_equal(ws_read_header("\x82\x7f\x01\0\0\0\0\0\0\0", 10, &frame), WS_INVALID);
}

static void only_the_answer_to_our_key_is_an_upgrade(void **state)
{
    char why[100];
    size_t len = 0;

    (void)state;
    assert_int_equal(ws_read_answer("HTTP/1.1 101 x\r\n", 16, &len, why, sizeof(why)),
                     WS_INCOMPLETE);
    assert_int_equal(ws_read_answer("HTTP/1.1 503 Busy\r\n\r\n", 21, &len, why, sizeof(why)),
                     WS_INVALID);
    assert_string_equal(why, "no upgrade: HTTP/1.1 503 Busy");
    assert_int_equal(ws_read_answer("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: x\r\n\r\n", 43, &len,
                                    why, sizeof(why)),
                     WS_INVALID);
}

static void addresses_are_taken_apart(void **state)
{
    url_t url;

    (void)state;
    url_parse(&url, "url", "ws", "ws://127.0.0.1:80/a?b=c");
    assert_string_equal(url.host, "127.0.0.1");
    assert_string_equal(url.port, "80");
    assert_string_equal(url.path, "/a?b=c");
    url_parse(&url, "url", "ws", "ws://[::1]:4000");
    assert_string_equal(url.host, "::1");
    assert_string_equal(url.path, "/");
    url_parse(&url, "url", "ws", "ws://localhost:1?vsn=1");
    assert_string_equal(url.path, "/?vsn=1");
}

static void counters_are_added_up_over_their_labels(void **state)
{
    char text[] = "HTTP/1.0 200 OK\r\n\r\n# TYPE a counter\na 5\na_total{w=\"1\"} 7\n"
                  "a_total{w=\"2\"} 8.5\nab 3\n";
    const metrics_t metrics = {.text = text}, nothing = {.text = NULL};
    double value;

    (void)state;
    assert_true(metrics_value(&metrics, "a", &value));
    assert_true(value > 4.9 && value < 5.1);
    assert_true(metrics_value(&metrics, "a_total", &value));
    assert_true(value > 15.4 && value < 15.6);
    assert_false(metrics_value(&metrics, "b", &value));
    assert_false(metrics_value(&nothing, "a", &value));
}

int main(void)
{
#define BOOK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_is_at_most_two_percent_wide),
        cmocka_unit_test(buckets_follow_one_another_without_a_gap),
        cmocka_unit_test(percentiles_are_those_of_the_values),
        cmocka_unit_test(what_a_payload_carries_comes_back),
        cmocka_unit_test(a_payload_needs_no_escape),
        cmocka_unit_test(each_damaged_byte_of_a_header_is_seen),
        BOOK(a_publish_is_over_when_all_have_it),
        BOOK(a_publish_that_nobody_hears_is_over_at_once),
        BOOK(publishers_are_not_mixed_up),
        BOOK(what_never_comes_is_lost),
        BOOK(what_was_skipped_makes_room_and_is_lost),
        BOOK(what_comes_late_was_reordered),
        BOOK(what_comes_twice_is_a_duplicate),
        BOOK(what_comes_late_and_twice_is_both),
        BOOK(a_topic_that_was_not_joined_is_misrouted),
        BOOK(every_byte_that_is_changed_is_noticed),
        BOOK(a_spoilt_filler_is_corruption_and_nothing_else),
        BOOK(what_was_never_sent_is_corruption),
        BOOK(what_no_publisher_says_is_out_of_protocol),
        BOOK(who_is_gone_makes_nobody_wait),
        BOOK(who_joins_midway_may_have_older_ones_but_no_gap),
        BOOK(many_publishes_under_way_keep_their_places),
        cmocka_unit_test(a_mistake_in_a_template_is_told_with_its_line),
        cmocka_unit_test(a_template_says_what_its_text_says),
        cmocka_unit_test(every_speaker_reads_what_it_calls_a_delivery),
        cmocka_unit_test(nats_messages_end_where_they_say),
        cmocka_unit_test(mqtt_packets_end_where_they_say),
        cmocka_unit_test(an_mqtt_delivery_is_what_a_publish_is),
        cmocka_unit_test(frames_of_a_server_are_read_in_any_pieces),
        cmocka_unit_test(frames_that_no_server_may_send_are_refused),
        cmocka_unit_test(only_the_answer_to_our_key_is_an_upgrade),
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(counters_are_added_up_over_their_labels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
