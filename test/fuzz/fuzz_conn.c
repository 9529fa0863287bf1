/* SPDX-License-Identifier: MIT */
/* A whole connection over a transport of the test's own: bytes of a client go through the frame
 * reader to a session, whose program is that of test_mutation.c; members come, speak, wait, are
 * stopped and go, and in the end the connection does.
 *
 * Oracles: it hears the same whatever pieces its bytes come in, and the same again the next time
 * (split); each frame that it is sent is one of its format by jansson's and a plain reader's
 * judgement; no ref is answered more often than it was sent, and there are few answers to a frame
 * (bounded); whoever joined has left once, and whoever was given to a member is freed once (exactly
 * once); in the end nothing is kept, and meanwhile no more than the limits and a multiple of the
 * input (memory).
 *
 * Input: a byte for the format, one that seeds the cuts, then steps, see step(). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hub/frame.h"
#include "test/fuzz/fuzz.h"

/* its cases are not needed, its world is */
#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, set_up, tear_down) ((void)(tests), 0)
#define main mutation_cases
int mutation_cases(void);
#include "test/test_mutation.c"

#define REFS 64
#define WORLD_BYTES 200000 /* of the world itself: a router, a wheel, PCRE2's stacks */
#define BYTES_PER_BYTE 400
#define ANSWERS_TO_ONE 4 /* "after_join" behind a reply and a close; so does test_mutation.c */
#define ANSWERS_MORE 16

typedef struct ref_count {
    char token[40];
    unsigned said, answered;
} ref_count_t;

typedef struct peer {
    world_t world; /* first */
    hub__frame_reader_t reader;
    hub__frame_limits_t limits;
    uint32_t seed; /* of the cuts; 0: none */
    bool closed;
    unsigned given, freed, joined, left, said;
    ref_count_t refs[REFS];
    size_t ref_count;
} peer_t;

static peer_t *peer_of(hub_member_t *me)
{
    return hub_member_channel_user(me);
}

/* ---- the program's end of it ---- */

static void on_user_free(void *user)
{
    ++((peer_t *)user)->freed;
}

static hub_status_t on_peer_join(hub_member_t *me, const hub_message_t *msg)
{
    ++peer_of(me)->given;
    hub_member_set_user(me, peer_of(me), on_user_free);
    return on_join(me, msg);
}

static void on_peer_exit(hub_member_t *me, hub_exit_t why)
{
    (void)why;
    ++peer_of(me)->left;
}

/* ---- refs ---- */

static ref_count_t *find_ref(peer_t *peer, hub_str_t token)
{
    size_t i = 0;

    if (token.len == 0 || token.len >= sizeof(peer->refs[0].token))
        return NULL;
    while (i != peer->ref_count && !hub_str_equals(hub_str(peer->refs[i].token), token))
        ++i;
    if (i == REFS)
        return NULL;
    if (i == peer->ref_count) {
        peer->refs[peer->ref_count++] = (ref_count_t){.said = 0};
        memcpy(peer->refs[i].token, token.base, token.len);
    }
    return &peer->refs[i];
}

static void count_said(peer_t *peer, hub_str_t bytes, bool binary)
{
    const hub__dialect_t *dialect = peer->world.talk.session.dialect;
    const hub_limits_t *limits = &peer->world.talk.limits;
    hub__envelope_limits_t envelope_limits = {.topic_bytes = limits->topic_bytes,
                                              .event_bytes = limits->event_bytes,
                                              .ref_bytes = limits->ref_bytes,
                                              .envelope_depth = limits->envelope_depth,
                                              .payload_depth = limits->payload_depth};
    hub__envelope_scratch_t scratch;
    hub__envelope_t envelope;
    ref_count_t *ref;

    (void)dialect->decode(bytes, binary, &envelope_limits, &scratch, &envelope, NULL);
    ref = find_ref(peer, envelope.ref);
    if (ref != NULL)
        ++ref->said;
}

/* Of the lines of talk.h: "reply TOPIC REF/JOIN_REF STATUS RESPONSE", where topics have no space.
 * Refs with a slash or a space are not counted. */
static void count_answers(peer_t *peer)
{
    fuzz_input_t heard = {(const uint8_t *)peer->world.talk.heard.base, peer->world.talk.heard.len};

    while (heard.len != 0) {
        hub_str_t text = fuzz_until(&heard, '\n');
        fuzz_input_t line = {(const uint8_t *)text.base, text.len};
        char token[40];
        hub_str_t ref;

        if (!hub_str_equals(fuzz_until(&line, ' '), HUB_STR("reply")))
            continue;
        (void)fuzz_until(&line, ' ');
        ref = fuzz_until(&line, '/');
        if (ref.len >= sizeof(token) || memchr(ref.base, ' ', ref.len) != NULL)
            continue;
        for (size_t i = 0; i != ref.len; ++i)
            token[i] = ref.base[i] == '\'' ? '"' : ref.base[i]; /* as talk.c has it the other way */
        for (size_t i = 0; i != peer->ref_count; ++i)
            if (hub_str_equals(hub_str(peer->refs[i].token), hub_str_n(token, ref.len)))
                ++peer->refs[i].answered;
    }
}

static void check_answers(const peer_t *peer)
{
    for (size_t i = 0; i != peer->ref_count; ++i)
        FUZZ_CHECK(peer->refs[i].answered <= peer->refs[i].said,
                   "%s was sent %u times, answered %u", peer->refs[i].token, peer->refs[i].said,
                   peer->refs[i].answered);
}

/* ---- a transport, as websocket.c is one ---- */

static void close_peer(peer_t *peer, const char *why, unsigned code)
{
    talk_tell(&peer->world.talk, "%s %u", why, code);
    peer->closed = true;
}

static void on_event(peer_t *peer, const hub__frame_event_t *event)
{
    switch (event->kind) {
    case HUB__FRAME_MESSAGE:
        ++peer->said;
        count_said(peer, event->payload, event->binary);
        talk_say_raw(&peer->world.talk, event->payload, event->binary);
        peer->closed = peer->world.talk.session.closing || has_closed(&peer->world.talk);
        break;
    case HUB__FRAME_PING:
        talk_tell(&peer->world.talk, "pong %zu", event->payload.len);
        break;
    case HUB__FRAME_CLOSE:
        close_peer(peer, "goodbye", event->code);
        break;
    case HUB__FRAME_ERROR:
        close_peer(peer, "violation", event->code);
        break;
    case HUB__FRAME_PONG:
    case HUB__FRAME_NEED_MORE:
        break;
    }
}

static void receive(peer_t *peer, hub_str_t bytes)
{
    char *piece = fuzz_copy(bytes), *at = piece;
    size_t left = bytes.len;
    hub__frame_event_t event;

    do {
        hub__frame_read(&peer->reader, &peer->limits, &at, &left, &event);
        on_event(peer, &event);
    } while (event.kind != HUB__FRAME_NEED_MORE && !peer->closed);
    free(piece);
}

static void receive_in_pieces(peer_t *peer, hub_str_t bytes)
{
    for (size_t at = 0, len; at != bytes.len && !peer->closed; at += len) {
        len = bytes.len - at;
        if (peer->seed != 0) {
            peer->seed = peer->seed * 1664525u + 1013904223u;
            len = 1 + (peer->seed >> 16) % 64;
            len = len < bytes.len - at ? len : bytes.len - at;
        }
        receive(peer, hub_str_n(bytes.base + at, len));
    }
}

static void put_frame(hub__buffer_t *wire, unsigned first, hub_str_t payload)
{
    static const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};
    uint8_t head[8] = {(uint8_t)first, (uint8_t)(0x80 | payload.len)};
    size_t len = 2;

    if (payload.len > 125) {
        head[1] = 0xfe;
        head[2] = (uint8_t)(payload.len >> 8);
        head[3] = (uint8_t)payload.len;
        len = 4;
    }
    memcpy(head + len, key, 4);
    hub__buffer_append(wire, hub_str_n((const char *)head, len + 4));
    for (size_t i = 0; i != payload.len; ++i) {
        char byte = (char)((uint8_t)payload.base[i] ^ key[i % 4]);

        hub__buffer_append(wire, hub_str_n(&byte, 1));
    }
}

/* ---- steps ---- */

static hub_member_t *any_member(peer_t *peer, uint8_t choice)
{
    const talk_t *talk = &peer->world.talk;

    return talk->subscribed_count == 0 ? NULL : talk->subscribed[choice % talk->subscribed_count];
}

/* What a message of another's does: it comes to this member. */
static void publish(peer_t *peer, uint8_t choice)
{
    hub_member_t *member = any_member(peer, choice);

    if (member != NULL && member->state == HUB__MEMBER_JOINED)
        (void)hub_member_broadcast(member, HUB_STR("news"), HUB_JSON("{\"n\":1}"));
}

static void stop_one(peer_t *peer, uint8_t choice)
{
    hub_member_t *member = any_member(peer, choice);

    if (member != NULL)
        hub_member_stop(member, choice % 2 == 0 ? HUB_OK : HUB_EINTERNAL);
    talk_turn(&peer->world.talk);
}

/* A letter: t and b are followed by the message of a frame up to the next byte 0xff, f the same in
 * two frames with a ping between, r by bytes of the wire, up to there; k keeps a promise, p lets
 * time pass, c publishes, s stops a member. */
static void step(peer_t *peer, fuzz_input_t *steps)
{
    uint8_t letter = fuzz_byte(steps);
    hub__buffer_t wire = {0};
    hub_str_t message;

    switch (letter) {
    case 'k':
        if (peer->world.token_count != 0) {
            keep_promise(&peer->world);
            ++peer->said;
        }
        break;
    case 'p':
        talk_pass(&peer->world.talk, 1u + fuzz_byte(steps));
        break;
    case 'c':
        publish(peer, fuzz_byte(steps));
        ++peer->said;
        break;
    case 's':
        stop_one(peer, fuzz_byte(steps));
        ++peer->said;
        break;
    case 'r':
        receive_in_pieces(peer, fuzz_until(steps, '\xff'));
        break;
    default:
        message = fuzz_until(steps, '\xff');
        if (letter == 'f') {
            put_frame(&wire, 0x01, hub_str_n(message.base, message.len / 2));
            put_frame(&wire, 0x89, HUB_STR("?"));
            put_frame(&wire, 0x80,
                      hub_str_n(message.base + message.len / 2, message.len - message.len / 2));
        } else {
            put_frame(&wire, letter == 'b' ? 0x82 : 0x81, message);
        }
        receive_in_pieces(peer, hub__buffer_str(&wire));
    }
    hub__buffer_dispose(&wire);
}

static void begin_peer(peer_t *peer, int dialect)
{
    static const char *const patterns[] = {"room:*", "exact", "presence:*"};
    world_t *world = &peer->world;

    talk_init(&world->talk, dialect);
    world->talk.limits.topics = 8;
    world->talk.on_frame = on_frame;
    peer->limits = (hub__frame_limits_t){.message_bytes = 4096, .fragments = 8};
    for (size_t i = 0; i != COUNT(patterns); ++i)
        talk_channel(&world->talk, NULL,
                     &(hub_channel_options_t){.pattern = patterns[i],
                                              .on_join = on_peer_join,
                                              .on_exit = on_peer_exit,
                                              .events = events,
                                              .auto_ack = i == 1,
                                              .suspend_timeout_ms = 50,
                                              .join_timeout_ms = 50,
                                              .pending_limit = 8,
                                              .user = peer});
    talk_begin(&world->talk);
}

/* Everything that was heard, to be disposed of. */
static hub__buffer_t converse_with(fuzz_input_t steps, int dialect, uint32_t seed)
{
    peer_t *peer = hub__alloc_zeroed(sizeof(*peer));
    hub__buffer_t heard;
    talk_t *talk = &peer->world.talk;

    begin_peer(peer, dialect);
    peer->seed = seed;
    while (steps.len != 0 && !peer->closed)
        step(peer, &steps);
    FUZZ_CHECK(peer->world.frames_sent <= ANSWERS_TO_ONE * peer->said + ANSWERS_MORE,
               "%u answers to %u frames", peer->world.frames_sent, peer->said);
    count_answers(peer);
    check_answers(peer);
    peer->joined = (unsigned)talk->stats.joins_total;
    hub__frame_reader_dispose(&peer->reader);
    heard = talk->heard;
    talk->heard = (hub__buffer_t){0};
    talk_end(talk);
    FUZZ_CHECK(peer->left == peer->joined, "%u joined, %u left", peer->joined, peer->left);
    FUZZ_CHECK(peer->given == peer->freed, "%u given, %u freed", peer->given, peer->freed);
    free(peer);
    return heard;
}

static void compare_stories(const hub__buffer_t *told, const hub__buffer_t *expected)
{
    FUZZ_CHECK(hub_str_equals(hub__buffer_str(told), hub__buffer_str(expected)),
               "--- in pieces\n%.*s--- whole\n%.*s---", HUB_STR_ARG(hub__buffer_str(told)),
               HUB_STR_ARG(hub__buffer_str(expected)));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    hub_log_set_level(HUB_LOG_OFF);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    int dialect = fuzz_byte(&input) % HUB__DIALECT_COUNT;
    uint32_t seed = 1u + fuzz_byte(&input);
    hub__buffer_t heard, again;
    fuzz_meter_t meter;

    fuzz_meter_begin();
    heard = converse_with(input, dialect, 0);
    again = converse_with(input, dialect, seed);
    compare_stories(&again, &heard);
    hub__buffer_dispose(&heard);
    hub__buffer_dispose(&again);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.held == 0, "%zu bytes are kept", meter.held);
    FUZZ_CHECK(meter.peak <= WORLD_BYTES + BYTES_PER_BYTE * size, "%zu bytes held for %zu",
               meter.peak, size);
    return 0;
}
