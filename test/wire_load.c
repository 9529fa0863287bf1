/* SPDX-License-Identifier: MIT */

/* What the load generator says and hears on a connection, with the test as its server: every
 * conversation once in frames that arrive whole, once byte by byte. One thread: the test writes,
 * then lets the generator's loop turn. */

#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/load/talk.h"
#include "bench/load/ws.h"
#include "hub/handshake.h"

#define DEADLINE_NS 10000000000ull
#define TURN_NS 20000000ull
#define PAYLOAD 64u
#define TOPIC "t:00000"

enum { NATIVE, PHOENIX1, PHOENIX2, PLAIN, SOCKET_IO, NCHAN, NATS, MQTT };

struct stage {
    speaker_t speaker;
    ledger_t ledger;
    crowd_t crowd;
    talk_t talk;
    int listener, peer;
    char port[8];
    buffer_t said; /* by the generator, as it came */
    buffer_t message;
    bool bytewise;
};

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof(*stage));
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stage->peer = -1;
    stage->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(stage->listener, (struct sockaddr *)&address, len) != 0 ||
        listen(stage->listener, 4) != 0 ||
        getsockname(stage->listener, (struct sockaddr *)&address, &len) != 0)
        return -1;
    snprintf(stage->port, sizeof(stage->port), "%u", ntohs(address.sin_port));
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;

    conn_drop(&stage->crowd.loop, &stage->talk.conn);
    talk_dispose(&stage->talk);
    crowd_close(&stage->crowd);
    ledger_close(&stage->ledger);
    speaker_close(&stage->speaker);
    buffer_dispose(&stage->said);
    buffer_dispose(&stage->message);
    close(stage->listener);
    close(stage->peer);
    free(stage);
    return 0;
}

/* ---- the test as a server ---- */

/* One turn of the generator, and whatever it has written. */
static void turn(struct stage *stage)
{
    char *room = buffer_reserve(&stage->said, 4096);
    ssize_t got;

    loop_turn(&stage->crowd.loop, TURN_NS);
    loop_turn(&stage->crowd.loop, 0); /* writes what was said in the first */
    got = recv(stage->peer, room, 4096, MSG_DONTWAIT);
    if (got > 0)
        stage->said.len += (size_t)got;
}

/* Whole, or in pieces that are read one by one. */
static void write_bytes(struct stage *stage, const char *bytes, size_t len)
{
    size_t step = stage->bytewise ? 1 : len;

    for (size_t at = 0; at != len; at += step) {
        uint64_t reads = stage->crowd.loop.reads, until_ns = loop_now_ns() + DEADLINE_NS;

        assert_int_equal(send(stage->peer, bytes + at, step, MSG_NOSIGNAL), step);
        while (stage->crowd.loop.reads == reads && loop_now_ns() < until_ns)
            turn(stage);
    }
}

/* A frame as a server sends it, of less than 64 KiB. */
static void tell_frame(struct stage *stage, unsigned first, const char *body, size_t len)
{
    buffer_t frame = {.bytes = NULL};
    char header[4] = {(char)first, (char)(len < 126 ? len : 126), (char)(len >> 8), (char)len};

    buffer_append(&frame, header, len < 126 ? 2 : 4);
    buffer_append(&frame, body, len);
    write_bytes(stage, frame.bytes, frame.len);
    buffer_dispose(&frame);
}

static void tell(struct stage *stage, const char *text)
{
    tell_frame(stage, WS_FIN | (stage->speaker.stream != NULL ? WS_BINARY : WS_TEXT), text,
               strlen(text));
}

/* The length of the generator's next frame, header and all; 0: it is not whole. */
static size_t frame_said(const struct stage *stage, size_t *ret_header)
{
    const unsigned char *at = (const unsigned char *)stage->said.bytes;
    size_t len = stage->said.len, body;

    if (len < 6)
        return 0;
    body = at[1] & 0x7f;
    *ret_header = body == 126 ? 8 : 6;
    if (body == 126 && len >= *ret_header)
        body = at[2] * 256u + at[3];
    return len >= *ret_header + body ? *ret_header + body : 0;
}

/* That frame has this opcode and begins with this. */
static void expect_frame(struct stage *stage, unsigned opcode, const char *wanted, size_t len)
{
    uint64_t until_ns = loop_now_ns() + DEADLINE_NS;
    size_t header = 0, whole;

    while ((whole = frame_said(stage, &header)) == 0 && loop_now_ns() < until_ns)
        turn(stage);
    assert_int_not_equal(whole, 0);
    assert_int_equal((unsigned char)stage->said.bytes[0], WS_FIN | opcode);
    assert_true(whole - header >= len);
    assert_memory_equal(stage->said.bytes + header, wanted, len);
    buffer_consume(&stage->said, whole);
}

static void expect(struct stage *stage, const char *wanted)
{
    expect_frame(stage, stage->speaker.stream != NULL ? WS_BINARY : WS_TEXT, wanted,
                 strlen(wanted));
}

static void answer_upgrade(struct stage *stage)
{
    char accept[29], answer[256], *key;

    while (stage->said.len == 0 ||
           memmem(stage->said.bytes, stage->said.len, "\r\n\r\n", 4) == NULL)
        turn(stage);
    buffer_append(&stage->said, "", 1);
    key = strstr(stage->said.bytes, "Sec-WebSocket-Key: ") + 19;
    hub__handshake_accept((hub_str_t){key, 24}, accept);
    stage->said.len = 0;
    snprintf(answer, sizeof(answer),
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n",
             accept);
    write_bytes(stage, answer, strlen(answer));
}

static void begin(struct stage *stage, unsigned long speaker, bool bytewise)
{
    stage->bytewise = bytewise;
    speaker_open(&stage->speaker, speaker, NULL, PAYLOAD);
    ledger_open(&stage->ledger, &stage->speaker, SAY_PUBLISH, "t:", 2, 1, false);
    crowd_open(&stage->crowd, &stage->speaker, &stage->ledger, "127.0.0.1", stage->port, NULL);
    talk_prepare(&stage->talk, 0, 0, 1);
    stage->talk.joins = stage->talk.counts = true;
    talk_enter(&stage->crowd, &stage->talk);
    stage->peer = accept(stage->listener, NULL, NULL);
    assert_true(stage->peer >= 0);
    setsockopt(stage->peer, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    answer_upgrade(stage);
}

/* The next publish in the topic as a delivery, in stage->message. */
static void publish(struct stage *stage)
{
    buffer_t suffix = {.bytes = NULL};
    payload_t payload;
    char data[PAYLOAD];

    ledger_publish(&stage->ledger, &stage->ledger.lanes[0], 1000, &payload);
    payload_write(data, stage->speaker.data_bytes, &payload);
    speaker_pattern(&stage->speaker, SAY_PUBLISH, TOPIC, strlen(TOPIC), &stage->message, &suffix);
    buffer_append(&stage->message, data, stage->speaker.data_bytes);
    buffer_append(&stage->message, suffix.bytes, suffix.len);
    buffer_dispose(&suffix);
}

static void tell_message(struct stage *stage)
{
    tell_frame(stage, WS_FIN | (stage->speaker.stream != NULL ? WS_BINARY : WS_TEXT),
               stage->message.bytes, stage->message.len);
    stage->message.len = 0;
}

static void expect_clean(struct stage *stage, uint64_t deliveries)
{
    assert_string_equal(stage->ledger.faults.first, "");
    assert_int_equal(stage->ledger.deliveries, deliveries);
    assert_int_equal(stage->ledger.outstanding, 0);
}

/* ---- conversations ---- */

static void native(struct stage *stage)
{
    begin(stage, NATIVE, stage->bytewise);
    expect(stage, "{\"topic\":\"" TOPIC "\",\"event\":\"join\"");
    assert_int_equal(stage->crowd.entered, 0);
    tell(stage, "{\"payload\":{\"status\":\"ok\"}}");
    assert_int_equal(stage->crowd.entered, 1);
    publish(stage);
    tell_message(stage);
    tell_frame(stage, WS_FIN | WS_PING, "abc", 3);
    expect_frame(stage, WS_PONG, "abc", 3);
    expect_clean(stage, 1);
}

static void socket_io(struct stage *stage)
{
    begin(stage, SOCKET_IO, stage->bytewise);
    tell(stage, "0{\"sid\":\"x\"}");
    expect(stage, "40");
    tell(stage, "40{\"sid\":\"y\"}");
    expect(stage, "42[\"join\",\"" TOPIC "\"]");
    tell(stage, "42[\"joined\",\"" TOPIC "\"]");
    assert_int_equal(stage->crowd.entered, 1);
    tell(stage, "2");
    expect(stage, "3");
    publish(stage);
    tell_message(stage);
    expect_clean(stage, 1);
}

/* A message in three fragments, with a ping between them. */
static void fragments(struct stage *stage)
{
    size_t half;

    begin(stage, PLAIN, stage->bytewise);
    expect(stage, "join " TOPIC);
    tell(stage, "joined " TOPIC);
    publish(stage);
    half = stage->message.len / 2;
    tell_frame(stage, WS_TEXT, stage->message.bytes, half);
    tell_frame(stage, WS_FIN | WS_PING, "", 0);
    tell_frame(stage, WS_CONTINUATION, stage->message.bytes + half, 3);
    tell_frame(stage, WS_FIN | WS_CONTINUATION, stage->message.bytes + half + 3,
               stage->message.len - half - 3);
    expect_frame(stage, WS_PONG, "", 0);
    expect_clean(stage, 1);
}

/* What completes a frame brings the next ones, and the beginning of another. */
static void a_read_may_end_and_begin_anywhere(void **state)
{
    struct stage *stage = *state;
    size_t len;

    begin(stage, PLAIN, false);
    expect(stage, "join " TOPIC);
    tell(stage, "joined " TOPIC);
    for (unsigned i = 0; i != 3; ++i) {
        buffer_append(&stage->message, "\x81\x48", 2);
        publish(stage);
    }
    len = stage->message.len;
    write_bytes(stage, stage->message.bytes, 40);
    write_bytes(stage, stage->message.bytes + 40, 10);
    assert_int_equal(stage->ledger.deliveries, 0);
    write_bytes(stage, stage->message.bytes + 50, len - 100);
    assert_int_equal(stage->ledger.deliveries, 2);
    write_bytes(stage, stage->message.bytes + len - 50, 50);
    expect_clean(stage, 3);
}

/* Messages of a stream: two in a frame, and one over two frames. */
static void stream(struct stage *stage)
{
    publish(stage);
    publish(stage);
    tell_message(stage);
    assert_int_equal(stage->ledger.deliveries, 2);
    publish(stage);
    tell_frame(stage, WS_FIN | WS_BINARY, stage->message.bytes, 10);
    tell_frame(stage, WS_FIN | WS_BINARY, stage->message.bytes + 10, stage->message.len - 10);
    expect_clean(stage, 3);
}

static void nats(struct stage *stage)
{
    begin(stage, NATS, stage->bytewise);
    tell(stage, "INFO {\"server\":\"x\"}\r\n");
    expect(stage, "CONNECT {\"verbose\":false,");
    tell(stage, "INFO {}\r\nPONG\r\n");
    expect(stage, "SUB " TOPIC " 1\r\nPING\r\n");
    tell(stage, "PO");
    assert_int_equal(stage->crowd.entered, 0);
    tell(stage, "NG\r\nPING\r\n");
    assert_int_equal(stage->crowd.entered, 1);
    expect(stage, "PONG\r\n");
    stream(stage);
}

static void mqtt(struct stage *stage)
{
    begin(stage, MQTT, stage->bytewise);
    expect_frame(stage, WS_BINARY, "\x10\x11\0\4MQTT\4\2\0\0\0\5load0", 19);
    tell_frame(stage, WS_FIN | WS_BINARY, "\x20\x02\0\0", 4);
    expect_frame(stage, WS_BINARY, "\x82\x0c\0\1\0\7" TOPIC "\0", 14);
    tell_frame(stage, WS_FIN | WS_BINARY, "\x90\x03\0\1\0", 5);
    assert_int_equal(stage->crowd.entered, 1);
    stream(stage);
}

#define CASES(name)                                                                                \
    static void name##_in_frames_that_come_whole(void **state)                                     \
    {                                                                                              \
        ((struct stage *)*state)->bytewise = false;                                                \
        name(*state);                                                                              \
    }                                                                                              \
    static void name##_byte_by_byte(void **state)                                                  \
    {                                                                                              \
        ((struct stage *)*state)->bytewise = true;                                                 \
        name(*state);                                                                              \
    }
CASES(native)
CASES(socket_io)
CASES(fragments)
CASES(nats)
CASES(mqtt)

/* ---- what is wrong ---- */

static void a_delivery_before_the_answer_to_a_join_is_misrouted(void **state)
{
    struct stage *stage = *state;

    begin(stage, PLAIN, false);
    expect(stage, "join " TOPIC);
    publish(stage);
    tell_message(stage);
    assert_int_equal(stage->ledger.faults.misrouted, 1);
}

static void a_delivery_after_the_answer_to_a_leave_is_misrouted(void **state)
{
    struct stage *stage = *state;

    begin(stage, PLAIN, false);
    expect(stage, "join " TOPIC);
    tell(stage, "joined " TOPIC);
    talk_leave(&stage->crowd, &stage->talk);
    expect(stage, "leave " TOPIC);
    publish(stage);
    tell_message(stage);
    expect_clean(stage, 1);
    tell(stage, "left " TOPIC);
    publish(stage);
    tell_message(stage);
    assert_int_equal(stage->ledger.faults.misrouted, 1);
    assert_int_equal(stage->ledger.deliveries, 1);
}

static void a_close_is_counted_with_its_code_and_reason(void **state)
{
    struct stage *stage = *state;

    begin(stage, PLAIN, false);
    expect(stage, "join " TOPIC);
    tell(stage, "joined " TOPIC);
    publish(stage);
    tell_frame(stage, WS_FIN | WS_CLOSE, "\x0f\xa8slow", 6);
    assert_int_equal(stage->ledger.faults.closed, 1);
    assert_int_equal(stage->ledger.faults.lost, 1);
    assert_int_equal(stage->ledger.outstanding, 0);
    assert_string_equal(stage->ledger.faults.first,
                        "connection 0: the server closed it with 4008 slow");
}

static void a_frame_with_reserved_bits_ends_the_connection(void **state)
{
    struct stage *stage = *state;

    begin(stage, PLAIN, false);
    expect(stage, "join " TOPIC);
    tell(stage, "joined " TOPIC);
    tell_frame(stage, 0xc1, "x", 1);
    assert_int_equal(stage->ledger.faults.closed, 1);
}

int main(void)
{
#define WIRE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WIRE(native_in_frames_that_come_whole),
        WIRE(native_byte_by_byte),
        WIRE(socket_io_in_frames_that_come_whole),
        WIRE(socket_io_byte_by_byte),
        WIRE(fragments_in_frames_that_come_whole),
        WIRE(fragments_byte_by_byte),
        WIRE(nats_in_frames_that_come_whole),
        WIRE(nats_byte_by_byte),
        WIRE(mqtt_in_frames_that_come_whole),
        WIRE(mqtt_byte_by_byte),
        WIRE(a_read_may_end_and_begin_anywhere),
        WIRE(a_delivery_before_the_answer_to_a_join_is_misrouted),
        WIRE(a_delivery_after_the_answer_to_a_leave_is_misrouted),
        WIRE(a_close_is_counted_with_its_code_and_reason),
        WIRE(a_frame_with_reserved_bits_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
