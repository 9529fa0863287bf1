/* SPDX-License-Identifier: MIT */
/* What a broker hands over: envelopes of other nodes, and whatever else it likes.
 *
 * Oracles: a reader written from bus/wire.h's table, jansson and a plain count of each node's
 * numbers say which messages are delivered, as what, which are gaps and how many are junk
 * (reference); an envelope that was read and is written again is the same bytes (round trip);
 * nothing is kept of a message beyond what is known of its node (memory).
 *
 * Input: messages, see receive(). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "bus/json.h"
#include "bus/log.h"
#include "bus/wire.h"
#include "test/fake_backend.h"

#define KEPT_BY_LIBC 512 /* of the thread that a bus has, with its stack */
#define MESSAGES 16      /* each may be of another node */

typedef struct origin {
    uint64_t node, incarnation, seq;
} origin_t;

typedef struct receiver {
    fake_broker_t *broker;
    hub_bus_t *bus;
    hub_bus_sub_t *sub;
    hub__buffer_t heard, expected;
    origin_t origins[MESSAGES];
    size_t origin_count;
    uint64_t received, duplicates, missing, invalid;
} receiver_t;

/* ---- what is heard ---- */

static void tell(hub__buffer_t *story, hub_str_t event, int kind, hub_str_t payload,
                 const uint64_t numbers[4], unsigned flags)
{
    hub__buffer_append(story, event);
    hub__buffer_printf(story, " %d %zu ", kind, payload.len);
    for (size_t i = 0; i != 4; ++i)
        hub__buffer_printf(story, "%llx ", (unsigned long long)numbers[i]);
    hub__buffer_printf(story, "%u ", flags);
    hub__buffer_append(story, payload);
    HUB__APPEND_LITERAL(story, "\n");
}

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    const uint64_t numbers[4] = {msg->origin.node, msg->origin.local, msg->position.epoch,
                                 msg->position.offset};

    (void)sub, (void)ack;
    tell(&((receiver_t *)user)->heard, msg->event, (int)msg->payload.kind, msg->payload.bytes,
         numbers, msg->flags);
    return HUB_OK;
}

static void on_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    (void)sub, (void)reason;
    hub__buffer_printf(&((receiver_t *)user)->heard, "gap %llu\n", (unsigned long long)missed);
}

/* ---- the reference ---- */

static uint64_t number_at(hub_str_t bytes, size_t at, size_t len)
{
    uint64_t number = 0;

    for (size_t i = 0; i != len; ++i)
        number = number << 8 | (uint8_t)bytes.base[at + i];
    return number;
}

/* What this node hears at once and ignores when it comes back, and what it hears only then: it is
 * told from a message of another node by nothing but not being counted as one. */
static bool is_own(const receiver_t *receiver, uint64_t node)
{
    return node == hub_bus_node(receiver->bus);
}

static bool is_returned(const receiver_t *receiver, uint64_t node)
{
    return node == ~hub_bus_node(receiver->bus);
}

/* False: a number that came before. */
static bool count(receiver_t *receiver, uint64_t node, uint64_t incarnation, uint64_t seq,
                  bool is_missing_itself, bool is_doubtful)
{
    size_t i = 0;
    uint64_t missed = 0;
    origin_t *origin = receiver->origins;

    while (i != receiver->origin_count && origin[i].node != node)
        ++i;
    receiver->received += !is_returned(receiver, node);
    if (i != receiver->origin_count) {
        if (incarnation < origin[i].incarnation ||
            (incarnation == origin[i].incarnation && seq <= origin[i].seq)) {
            ++receiver->duplicates;
            return false;
        }
        missed = seq - (incarnation == origin[i].incarnation ? origin[i].seq + 1 : 1) +
                 is_missing_itself;
    } else {
        ++receiver->origin_count;
        if (is_doubtful)
            hub__buffer_printf(&receiver->expected, "gap 0\n");
    }
    origin[i] = (origin_t){node, incarnation, seq};
    receiver->missing += missed;
    if (missed != 0)
        hub__buffer_printf(&receiver->expected, "gap %llu\n", (unsigned long long)missed);
    return true;
}

static bool is_json(hub_str_t bytes, size_t depth)
{
    bool unsure, right;
    json_t *tree = fuzz_jansson(bytes, &unsure);

    /* a number out of jansson's range is what we say it is */
    right = unsure ? hub_json_scan(bytes, depth, NULL, NULL) == HUB_OK
                   : tree != NULL && fuzz_depth(tree) <= depth;
    json_decref(tree);
    return right;
}

static bool is_payload(hub_str_t bytes, int kind)
{
    return kind == HUB_PAYLOAD_BINARY || is_json(bytes, 256);
}

/* Behind the value that begins at `at`, in JSON that is valid. */
static size_t skip_value(hub_str_t json, size_t at)
{
    size_t depth = 0;
    bool quoted = false;

    for (; at != json.len; ++at) {
        char c = json.base[at];

        if (quoted && c == '\\')
            ++at;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            ++depth;
        else if (!quoted && depth == 0 && strchr(",]}: \t\r\n", c) != NULL)
            return at;
        else if (!quoted && (c == '}' || c == ']'))
            --depth;
    }
    return at;
}

static size_t skip_white(hub_str_t json, size_t at)
{
    while (at != json.len && strchr(" \t\r\n", json.base[at]) != NULL)
        ++at;
    return at;
}

/* What another program published: a JSON object. */
static void expect_plain(receiver_t *receiver, hub_str_t bytes)
{
    static const uint64_t none[4];
    hub_str_t event = {0}, payload = HUB_STR("{}");
    char text[1024];
    size_t at = skip_white(bytes, 0), end;
    bool right = is_json(bytes, 257);

    while (right && bytes.base[at] != '}') {
        hub_str_t key, value;

        at = skip_white(bytes, at + 1);
        if (bytes.base[at] == '}')
            break;
        end = skip_value(bytes, at);
        key = hub_str_n(bytes.base + at, end - at);
        at = skip_white(bytes, skip_white(bytes, end) + 1);
        end = skip_value(bytes, at);
        value = hub_str_n(bytes.base + at, end - at);
        if (hub_str_equals(key, HUB_STR("\"payload\"")))
            payload = value;
        if (hub_str_equals(key, HUB_STR("\"event\""))) {
            event.base = text;
            right = value.base[0] == '"' &&
                    hub_json_unescape(value, text, sizeof(text), &event.len) == HUB_OK;
        }
        at = skip_white(bytes, end);
    }
    if (!right || event.base == NULL || event.len == 0) {
        ++receiver->invalid;
        return;
    }
    ++receiver->received;
    tell(&receiver->expected, event, HUB_PAYLOAD_JSON, payload, none, 0);
}

/* A probe is on a topic of its own, never on this one; a position is heard by nobody. */
static void expect_mark(receiver_t *receiver, hub_str_t bytes)
{
    uint64_t received = receiver->received, duplicates = receiver->duplicates;

    if (bytes.len != 32 || number_at(bytes, 2, 2) != 0 || number_at(bytes, 8, 8) == 0 ||
        number_at(bytes, 16, 8) == 0 || number_at(bytes, 24, 8) == 0 || bytes.base[1] == 2) {
        ++receiver->invalid;
        return;
    }
    if (!is_own(receiver, number_at(bytes, 8, 8)))
        count(receiver, number_at(bytes, 8, 8), number_at(bytes, 16, 8), number_at(bytes, 24, 8),
              true, (bytes.base[7] & 4) != 0);
    receiver->received = received;
    receiver->duplicates = duplicates;
}

static void expect(receiver_t *receiver, bool is_ours, hub_str_t bytes)
{
    size_t at, event_len, payload_len;
    uint64_t numbers[4];
    hub_str_t event, payload;
    unsigned flags;

    if (!is_ours) {
        ++receiver->invalid;
        return;
    }
    at = skip_white(bytes, 0);
    if (at != bytes.len && bytes.base[at] == '{') {
        expect_plain(receiver, bytes);
        return;
    }
    if (bytes.len >= 2 && bytes.base[0] == 1 && (bytes.base[1] == 2 || bytes.base[1] == 3)) {
        expect_mark(receiver, bytes);
        return;
    }
    if (bytes.len >= 2 && bytes.base[0] == 1 && bytes.base[1] != 1)
        return; /* a kind that came later */
    if (bytes.len < 72 || bytes.base[0] != 1) {
        ++receiver->invalid;
        return;
    }
    event_len = number_at(bytes, 64, 4);
    payload_len = number_at(bytes, 68, 4);
    if (event_len > 1024 || 72 + event_len + payload_len != bytes.len ||
        (uint8_t)bytes.base[2] > 1 || bytes.base[3] != 0 || number_at(bytes, 8, 8) == 0 ||
        number_at(bytes, 16, 8) == 0 || number_at(bytes, 24, 8) == 0) {
        ++receiver->invalid;
        return;
    }
    if (is_own(receiver, number_at(bytes, 8, 8)))
        return;
    event = hub_str_n(bytes.base + 72, event_len);
    payload = hub_str_n(event.base + event_len, payload_len);
    if (event_len == 0 || !fuzz_is_utf8(event) || !is_payload(payload, bytes.base[2])) {
        ++receiver->invalid;
        return;
    }
    flags = (unsigned)number_at(bytes, 4, 4) & 3;
    for (size_t i = 0; i != 4; ++i)
        numbers[i] = number_at(bytes, 32 + 8 * i, 8);
    if (count(receiver, number_at(bytes, 8, 8), number_at(bytes, 16, 8), number_at(bytes, 24, 8),
              false, (bytes.base[7] & 4) != 0))
        tell(&receiver->expected, event, bytes.base[2], payload, numbers, flags);
}

/* ---- messages ---- */

static void check_round_trip(hub_str_t bytes)
{
    hub__wire_t wire;
    hub_message_t *msg = NULL;
    char *again;

    if (hub__wire_read(bytes, &wire) != HUB_OK)
        return;
    if (wire.kind != HUB__WIRE_MESSAGE) {
        char mark[HUB__WIRE_MARK_BYTES];

        hub__wire_write_mark(mark, wire.kind, wire.node, wire.incarnation, wire.seq);
        FUZZ_CHECK(memcmp(mark, bytes.base, 4) == 0 && memcmp(mark + 8, bytes.base + 8, 24) == 0,
                   "another mark");
        return;
    }
    if (hub_message_create(HUB_STR("t"), wire.event, wire.payload, &wire.options, &msg, NULL) !=
        HUB_OK)
        return;
    FUZZ_CHECK(hub__wire_size(msg) == bytes.len, "%zu bytes", hub__wire_size(msg));
    again = malloc(bytes.len);
    hub__wire_write(again, msg, wire.node);
    hub__wire_number(again, wire.incarnation, wire.seq);
    /* flags that are not known are not kept */
    FUZZ_CHECK(memcmp(again, bytes.base, 4) == 0 &&
                   memcmp(again + 8, bytes.base + 8, bytes.len - 8) == 0,
               "other bytes");
    free(again);
    hub_message_release(msg);
}

static void put_number(hub__buffer_t *bytes, uint64_t number, size_t len)
{
    for (size_t i = len; i-- != 0;) {
        char byte = (char)(uint8_t)(number >> 8 * i);

        hub__buffer_append(bytes, hub_str_n(&byte, 1));
    }
}

/* Two of 256 are our own numbers. */
static uint64_t node_of(const receiver_t *receiver, uint8_t choice)
{
    uint64_t own = hub_bus_node(receiver->bus);

    return choice == 0xfe ? own : choice == 0xff ? ~own : choice;
}

/* One byte of choices; then bytes as they are, up to 0xff, or node, incarnation and number in a
 * byte each, an event up to a newline and a payload up to 0xff. */
static void receive(receiver_t *receiver, fuzz_input_t *input)
{
    static const char *const topics[] = {"hub:room:1", "hub:room:1", "hub:room:1", "other:room:1"};
    uint8_t choice = fuzz_byte(input);
    const char *topic = topics[choice >> 1 & 3];
    hub__buffer_t bytes = {0};
    hub_str_t message;
    char *copy;

    if ((choice & 1) != 0) {
        hub__buffer_append(&bytes, fuzz_until(input, '\xff'));
    } else {
        uint8_t head[8] = {1, 1, (choice & 8) != 0, 0, 0, 0, 0, (uint8_t)(choice >> 4 & 7)};
        uint64_t node = node_of(receiver, fuzz_byte(input)), incarnation = fuzz_byte(input),
                 seq = fuzz_byte(input);
        hub_str_t event = fuzz_until(input, '\n'), payload = fuzz_until(input, '\xff');

        hub__buffer_append(&bytes, hub_str_n((const char *)head, 8));
        put_number(&bytes, node, 8);
        put_number(&bytes, incarnation, 8);
        put_number(&bytes, seq, 8);
        for (size_t i = 0; i != 4; ++i)
            put_number(&bytes, i * choice, 8);
        put_number(&bytes, event.len, 4);
        put_number(&bytes, payload.len, 4);
        hub__buffer_append(&bytes, event);
        hub__buffer_append(&bytes, payload);
    }
    copy = fuzz_copy(hub__buffer_str(&bytes));
    message = hub_str_n(copy, bytes.len);
    check_round_trip(message);
    expect(receiver, strcmp(topic, "hub:room:1") == 0, message);
    fake_broker_inject(receiver->broker, receiver->bus, hub_str(topic), message);
    free(copy);
    hub__buffer_dispose(&bytes);
}

static void begin(receiver_t *receiver)
{
    hub_bus_options_t options = {.backend = &fake_backend};

    receiver->broker = fake_broker_create();
    options.backend_options = receiver->broker;
    FUZZ_CHECK(hub_bus_create(&options, &receiver->bus, NULL) == HUB_OK, "no bus");
    FUZZ_CHECK(hub_bus_subscribe(receiver->bus, HUB_STR("room:1"),
                                 &(hub_bus_sub_options_t){
                                     .on_message = on_message, .on_gap = on_gap, .user = receiver},
                                 &receiver->sub) == HUB_OK,
               "no subscription");
    fake_broker_run(receiver->broker);
}

static void end(receiver_t *receiver)
{
    hub_bus_unsubscribe(receiver->sub);
    hub_bus_destroy(receiver->bus);
    fake_broker_destroy(receiver->broker);
    hub__buffer_dispose(&receiver->heard);
    hub__buffer_dispose(&receiver->expected);
}

static void check(const receiver_t *receiver)
{
    hub_str_t heard = hub__buffer_str(&receiver->heard);
    hub_str_t expected = hub__buffer_str(&receiver->expected);
    hub_bus_stats_t stats;

    FUZZ_CHECK(hub_str_equals(heard, expected), "--- heard\n%.*s--- expected\n%.*s---",
               HUB_STR_ARG(heard), HUB_STR_ARG(expected));
    hub_bus_get_stats(receiver->bus, &stats);
    FUZZ_CHECK(stats.remote_invalid == receiver->invalid, "%llu are junk, %llu expected",
               (unsigned long long)stats.remote_invalid, (unsigned long long)receiver->invalid);
    FUZZ_CHECK(stats.remote_received == receiver->received &&
                   stats.remote_duplicates == receiver->duplicates &&
                   stats.remote_missing == receiver->missing,
               "%llu received", (unsigned long long)stats.remote_received);
}

/* What is kept in the end. */
static size_t receive_all(fuzz_input_t input)
{
    receiver_t receiver = {.broker = NULL};

    fuzz_meter_begin();
    begin(&receiver);
    for (size_t i = 0; i != MESSAGES && input.len != 0; ++i)
        receive(&receiver, &input);
    check(&receiver);
    end(&receiver);
    return fuzz_meter_end().held;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    hub_log_set_level(HUB_LOG_OFF);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t kept = receive_all((fuzz_input_t){data, size});

    FUZZ_CHECK(kept <= KEPT_BY_LIBC, "%zu bytes are kept", kept);
    return 0;
}
