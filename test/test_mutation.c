/* SPDX-License-Identifier: MIT */
/* What real clients said, spoilt. Every frame of the recorded conversations is a seed; from a fixed
 * random seed they are flipped, cut, spliced, repeated and nested, and fed as conversations to a
 * session. It never crashes, answers each frame a bounded number of times, sends nothing that is
 * not well-formed, says the same the next time, and keeps nothing. Whether a frame is JSON at all
 * is asked of jansson as well.
 *
 * MUTATION_SEED and MUTATION_RUNS choose other ones. MUTATION_CORPUS=<folder> writes the seeds
 * there instead, a file each, in a folder for each wire format: what a fuzzer may begin with. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "test/recording.h"
#include "test/talk.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SEED 1
#define RUNS 1200
#define FRAMES 16        /* of one conversation */
#define FRAME_BYTES 8192 /* a mutation that makes more is left out */
#define ANSWERS_MAX 4    /* to one frame, in the mean: "after_join" behind a reply and a close */
#define CLAIMED_DEPTH 60 /* what is nested deeper is refused before it is known to be JSON */
#define TOKENS 64

/* One frame of a client. */
typedef struct seed {
    hub_str_t bytes;
    bool binary;
    int dialect; /* V1 or V2; NATIVE is made of V1's */
    unsigned conversation;
} seed_t;

typedef struct input {
    char bytes[FRAME_BYTES];
    size_t len;
    bool binary;
    bool answers; /* a reply that was promised comes behind it */
    unsigned ms;  /* that pass behind it */
} input_t;

typedef struct world {
    talk_t talk; /* first */
    hub_token_t tokens[TOKENS];
    size_t token_count;
    uint64_t random, seed;
    input_t inputs[FRAMES];
    size_t input_count;
    unsigned frames_sent;
    uint64_t said; /* a hash of everything */
    unsigned joins;
} world_t;

static seed_t *seeds;
static size_t seed_count;
static world_t *the; /* for who has to tell of a crash */

/* ---- seeds ---- */

static void add_seed(hub_str_t bytes, bool binary, int dialect, unsigned conversation)
{
    seeds = hub__realloc(seeds, (seed_count + 1) * sizeof(*seeds));
    seeds[seed_count++] = (seed_t){bytes, binary, dialect, conversation};
}

/* The same words in native: names of protocol events have a prefix less. */
static hub_str_t to_native(hub_str_t bytes)
{
    static const char *const words[][2] = {{"phx_", ""}, {"\"phoenix\"", "\"hub\""}};
    hub__buffer_t native = {0};

    for (size_t i = 0; i != bytes.len;) {
        hub_str_t rest = hub_str_n(bytes.base + i, bytes.len - i);
        size_t word = 0;

        while (word != COUNT(words) && !hub_str_starts_with(rest, hub_str(words[word][0])))
            ++word;
        if (word != COUNT(words))
            hub__buffer_append(&native, hub_str(words[word][1]));
        else
            hub__buffer_append(&native, hub_str_n(rest.base, 1));
        i += word != COUNT(words) ? strlen(words[word][0]) : 1;
    }
    return hub__buffer_str(&native);
}

static void add_line(const recording_line_t *line, unsigned conversation)
{
    bool binary = strcmp(line->kind, "binary") == 0;
    hub_str_t bytes;

    if (line->dir != RECORDING_TO_SERVER || line->text == NULL ||
        !(binary || strcmp(line->kind, "text") == 0))
        return;
    bytes = binary ? recording_bytes(line->text, hub__alloc(strlen(line->text) / 2 + 1))
                   : hub_str(line->text);
    if (bytes.len > FRAME_BYTES / 2)
        return;
    if (bytes.len != 0 && bytes.base[0] == '{') {
        add_seed(bytes, binary, V1, conversation);
        add_seed(to_native(bytes), binary, NATIVE, conversation);
    } else {
        add_seed(bytes, binary, V2, conversation);
    }
}

static void load_seeds(void)
{
    static const char *const files[] = {"v1", "v2", "more"};
    static recording_t *recordings;
    static size_t count;

    if (seeds != NULL)
        return;
    for (size_t i = 0; i != COUNT(files); ++i)
        recording_load(PHOENIX_DIR, files[i], &recordings, &count);
    for (size_t i = 0; i != count; ++i)
        for (size_t j = 0; j != recordings[i].takes[0].count; ++j)
            add_line(&recordings[i].takes[0].lines[j], (unsigned)i);
}

static const char *folder_of(const seed_t *seed)
{
    return seed->dialect == V2 && seed->binary ? "2.0.0-binary"
                                               : hub__dialect((unsigned)seed->dialect)->name;
}

static bool write_seed(const char *corpus, size_t index)
{
    char path[1024];
    FILE *file;
    bool written;

    snprintf(path, sizeof(path), "%s/%s", corpus, folder_of(&seeds[index]));
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return false;
    snprintf(path, sizeof(path), "%s/%s/%04zu", corpus, folder_of(&seeds[index]), index);
    if ((file = fopen(path, "we")) == NULL)
        return false;
    written =
        fwrite(seeds[index].bytes.base, 1, seeds[index].bytes.len, file) == seeds[index].bytes.len;
    return fclose(file) == 0 && written;
}

static int write_corpus(const char *corpus)
{
    if (mkdir(corpus, 0777) != 0 && errno != EEXIST) {
        perror(corpus);
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i != seed_count; ++i) {
        if (!write_seed(corpus, i)) {
            perror(corpus);
            return EXIT_FAILURE;
        }
    }
    printf("%zu seeds\n", seed_count);
    return EXIT_SUCCESS;
}

/* ---- spoiling ---- */

/* splitmix64 */
static size_t draw(world_t *world, size_t bound)
{
    uint64_t z = world->random += 0x9e3779b97f4a7c15U;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (size_t)((z ^ (z >> 31)) >> 32) % bound;
}

/* Puts bytes in place of `cut` others. What would be too long is left as it is. */
static void put(input_t *input, size_t at, size_t cut, hub_str_t bytes)
{
    if (input->len - cut + bytes.len > sizeof(input->bytes))
        return;
    memmove(input->bytes + at + bytes.len, input->bytes + at + cut, input->len - at - cut);
    memcpy(input->bytes + at, bytes.base, bytes.len);
    input->len += bytes.len - cut;
}

/* The literal, so that NULs count. */
#define S(literal)                                                                                 \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

static const hub_str_t pieces[] = {
    S("{"),
    S("}"),
    S("["),
    S("]"),
    S(","),
    S(":"),
    S("\""),
    S("\\"),
    S("null"),
    S("true"),
    S("{}"),
    S("[]"),
    S("\"\""),
    S("-0"),
    S("1e5"),
    S("-1.5E-7"),
    S("1e999"),
    S("00"),
    S("12345678901234567890123"),
    S("\\u0000"),
    S("\\u0022"),
    S("\\ud83d\\ude00"),
    S("\\ud800"),
    S("\\udc00"),
    S("\\/"),
    S("\0"),
    S("\x1f"),
    S("\x7f"),
    S("\xc0\x80"),
    S("\xed\xa0\x80"),
    S("\xff"),
    S("\xf4\x90\x80\x80"),
    S("\xe2\x82"),
    S("\xef\xbb\xbf"),
    S("\xc3\xa9"),
    S("\xc2\x85"),
    S(" "),
    S("\n"),
    S("\"ref\":"),
    S("\"join_ref\":"),
    S("\"topic\":"),
    S("\"room:1\""),
    S("\"phx_join\""),
    S("\"join\""),
    S("\"phx_leave\""),
    S("\"suspend\""),
    S("\"presence:1\""),
};

static void nest(world_t *world, input_t *input, size_t at)
{
    static const hub_str_t opens[] = {S("["), S("{\"a\":"), S("[[],")},
                           closes[] = {S("]"), S("}"), S("]")};
    size_t kind = draw(world, COUNT(opens)), depth = 1 + draw(world, 300);
    bool whole = draw(world, 3) != 0;

    for (size_t i = 0; i != depth; ++i)
        put(input, at, 0, opens[kind]);
    for (size_t i = 0; whole && i != depth; ++i)
        put(input, at + depth * opens[kind].len, 0, closes[kind]);
    if (whole && input->len > at + depth * opens[kind].len)
        put(input, at + depth * opens[kind].len, 0, HUB_STR("0"));
}

static void repeat(world_t *world, input_t *input, size_t at, size_t len)
{
    char copy[64];

    len = len < sizeof(copy) ? len : sizeof(copy);
    memcpy(copy, input->bytes + at, len);
    for (size_t i = 1 + draw(world, 40); i != 0; --i)
        put(input, at, 0, hub_str_n(copy, len));
}

static void huge_number(world_t *world, input_t *input, size_t at)
{
    char digits[400];
    size_t len = 1 + draw(world, sizeof(digits));

    for (size_t i = 0; i != len; ++i)
        digits[i] = (char)('0' + draw(world, 10));
    put(input, at, 0, hub_str_n(digits, len));
}

/* A piece in place of a value, or of what looks like one. */
static void replace_value(world_t *world, input_t *input, size_t at)
{
    size_t end;

    while (at != input->len && strchr(":,[", input->bytes[at]) == NULL)
        ++at;
    if (at == input->len)
        return;
    for (end = ++at; end != input->len && strchr(",]}", input->bytes[end]) == NULL; ++end)
        ;
    put(input, at, end - at, pieces[draw(world, COUNT(pieces))]);
}

static const seed_t *draw_seed(world_t *world, int dialect)
{
    const seed_t *seed;

    do
        seed = &seeds[draw(world, seed_count)];
    while (seed->dialect != dialect);
    return seed;
}

static void spoil(world_t *world, input_t *input, int dialect)
{
    size_t at = draw(world, input->len + 1), len = draw(world, input->len - at + 1);
    char byte = (char)draw(world, 256);
    const seed_t *other;

    switch (draw(world, 13)) {
    case 0:
        if (at != input->len)
            input->bytes[at] = (char)(input->bytes[at] ^ (1 << draw(world, 8)));
        break;
    case 1:
        put(input, at, at != input->len, hub_str_n(&byte, 1));
        break;
    case 2:
        put(input, at, len, HUB_STR(""));
        break;
    case 3:
        input->len = at;
        break;
    case 4:
        other = draw_seed(world, dialect);
        len = draw(world, other->bytes.len + 1);
        put(input, at, input->len - at, hub_str_n(other->bytes.base + len, other->bytes.len - len));
        break;
    case 5:
        repeat(world, input, at, len);
        break;
    case 6:
        huge_number(world, input, at);
        break;
    case 7:
        nest(world, input, at);
        break;
    case 8: /* where a binary frame has its lengths */
        if (input->len != 0)
            input->bytes[draw(world, input->len < 5 ? input->len : 5)] = byte;
        break;
    case 9:
    case 10:
        replace_value(world, input, at);
        break;
    default:
        put(input, at, 0, pieces[draw(world, COUNT(pieces))]);
    }
}

/* Frames of one recorded conversation, about half of them spoilt. */
static void draw_inputs(world_t *world, int dialect)
{
    const seed_t *seed = draw_seed(world, dialect);
    unsigned conversation = seed->conversation;

    while (seed != seeds && seed[-1].conversation == conversation && draw(world, 4) != 0)
        --seed;
    world->input_count = 0;
    for (; seed != seeds + seed_count && world->input_count != FRAMES &&
           (seed->conversation == conversation || draw(world, 2) == 0);
         ++seed) {
        input_t *input = &world->inputs[world->input_count];

        if (seed->dialect != dialect)
            continue;
        ++world->input_count;
        memcpy(input->bytes, seed->bytes.base, seed->bytes.len);
        input->len = seed->bytes.len;
        input->binary = seed->binary != (draw(world, 40) == 0);
        input->answers = draw(world, 2) == 0;
        input->ms = draw(world, 4) == 0 ? 60 : 1;
        for (size_t i = draw(world, 2) == 0 ? 0 : 1 + draw(world, 3); i != 0; --i)
            spoil(world, input, dialect);
    }
}

/* ---- a program ---- */

static world_t *world_of(hub_member_t *me)
{
    return hub_member_channel_user(me);
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    hub_str_t topic = hub_member_topic(me);
    world_t *world = world_of(me);

    ++world->joins;
    if (hub_str_equals(topic, HUB_STR("room:secret")))
        return hub_member_reject(me, HUB_JSON("{\"reason\":\"unauthorized\"}"));
    if (hub_str_equals(topic, HUB_STR("room:crashjoin")))
        return HUB_EINTERNAL;
    if (hub_str_equals(topic, HUB_STR("room:after")))
        return hub_member_push(me, HUB_STR("after_join"), HUB_JSON("{}"));
    if (world->joins % 3 == 1 + world->seed % 2)
        return hub_member_defer(me, &world->tokens[world->token_count++ % TOKENS]);
    return hub_member_accept(me, msg->payload);
}

static hub_status_t echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t err(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_error(me, msg, HUB_EPAYLOAD, msg->payload);
}

static hub_status_t custom(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_status(me, msg, HUB_STR("whatever"), HUB_JSON("[1]"));
}

static hub_status_t later(hub_member_t *me, const hub_message_t *msg)
{
    world_t *world = world_of(me);

    world->tokens[world->token_count++ % TOKENS] = hub_member_token(me, msg);
    return HUB_PENDING;
}

static hub_status_t slow(hub_member_t *me, const hub_message_t *msg)
{
    world_t *world = world_of(me);

    (void)msg;
    world->tokens[world->token_count++ % TOKENS] = hub_member_suspend(me);
    return HUB_OK;
}

static hub_status_t push(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("pushed"), msg->payload);
}

static hub_status_t cast(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t everything(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t status = push(me, msg);

    if (status == HUB_OK)
        status = cast(me, msg);
    return status == HUB_OK ? echo(me, msg) : status;
}

static hub_status_t stop(hub_member_t *me, const hub_message_t *msg)
{
    hub_member_stop(me, HUB_OK);
    return hub_member_reply(me, msg, HUB_JSON("{\"bye\":true}"));
}

static hub_status_t crash(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EINTERNAL;
}

static const hub_event_handler_t events[] = {
    {"echo", echo},          {"binecho", echo},   {"err", err},
    {"binerr", err},         {"custom", custom},  {"async", later},
    {"slow", slow},          {"pushback", push},  {"binpush", push},
    {"new_msg", cast},       {"binbcast", cast},  {"shout", cast},
    {"new_msg_reply", cast}, {"update", cast},    {"pushthenreply", everything},
    {"okonly", custom},      {"stopreply", stop}, {"stop", stop},
    {"crash", crash},        {"suspend", slow},   {NULL, NULL},
};

static void keep_promise(world_t *world)
{
    hub_token_t *token = &world->tokens[--world->token_count % TOKENS];

    if (token->_kind == HUB__TOKEN_REPLY)
        hub__session_reply_later(&world->talk.session, token, HUB_STR("ok"), HUB_OK,
                                 HUB_JSON("{\"late\":true}"));
    else if (token->_kind == HUB__TOKEN_JOIN)
        hub__session_join_later(&world->talk.session, token, world->seed % 3 != 0, HUB_JSON("{}"));
    else
        hub__session_resume(&world->talk.session, token);
    talk_turn(&world->talk);
}

/* ---- what is sent ---- */

/* The four digits of an escape that stands for NUL or for half of a pair. */
static bool is_odd(const char *digits)
{
    for (size_t i = 0; i != 4; ++i)
        if (digits[i] == '\0' || strchr("0123456789abcdefABCDEF", digits[i]) == NULL)
            return false;
    return memcmp(digits, "0000", 4) == 0 ||
           ((digits[0] == 'd' || digits[0] == 'D') && digits[1] >= '8');
}

/* Jansson refuses a lone surrogate, and a NUL in a key, which are JSON; so each such escape becomes
 * another one. */
static char *without_oddities(hub_str_t text)
{
    char *copy = hub__alloc(text.len + 1);

    memcpy(copy, text.base, text.len);
    for (size_t i = 0; i + 6 <= text.len; ++i)
        if (copy[i] == '\\' && copy[i + 1] == 'u' && is_odd(copy + i + 2))
            memcpy(copy + i + 2, "0040", 4);
    return copy;
}

/* NULL: no JSON. `*ret_unsure`: it may be all the same, of numbers that jansson does not hold. */
static json_t *read_json(hub_str_t text, bool *ret_unsure)
{
    char *copy = without_oddities(text);
    json_error_t error = {0};
    json_t *value = json_loadb(copy, text.len,
                               JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);

    *ret_unsure = value == NULL && json_error_code(&error) == json_error_numeric_overflow;
    free(copy);
    return value;
}

/* A name, or what the client gave for one. */
static bool is_scalar(const json_t *value)
{
    return value != NULL && !json_is_object(value) && !json_is_array(value);
}

static bool is_payload(const json_t *event, const json_t *payload)
{
    const char *name = json_string_value(event);

    if (name == NULL || payload == NULL)
        return false;
    if (strcmp(name, "phx_reply") != 0 && strcmp(name, "reply") != 0)
        return true;
    return json_object_size(payload) == 2 && json_is_string(json_object_get(payload, "status")) &&
           json_object_get(payload, "response") != NULL;
}

static bool is_frame(int dialect, const json_t *frame)
{
    const json_t *topic = json_object_get(frame, "topic"), *event = json_object_get(frame, "event");
    const json_t *payload = json_object_get(frame, "payload");
    size_t keys = 3;

    if (dialect == V2)
        return json_array_size(frame) == 5 && is_scalar(json_array_get(frame, 2)) &&
               is_payload(json_array_get(frame, 3), json_array_get(frame, 4));
    keys += json_object_get(frame, "ref") != NULL;
    keys += dialect == NATIVE && json_object_get(frame, "join_ref") != NULL;
    return json_object_size(frame) == keys && (dialect == NATIVE || keys == 4) &&
           is_scalar(topic) && is_payload(event, payload);
}

/* Kinds 0 to 2 with their lengths, as a client reads them. */
static bool is_binary_frame(hub_str_t bytes)
{
    static const size_t names[] = {3, 4, 2};
    const uint8_t *head = (const uint8_t *)bytes.base;
    size_t need, count;

    if (bytes.len == 0 || head[0] > 2 || bytes.len < 1 + names[head[0]])
        return false;
    count = names[head[0]];
    need = 1 + count;
    for (size_t i = 0; i != count; ++i)
        need += head[1 + i];
    return need <= bytes.len;
}

static void hash(world_t *world, hub_str_t bytes)
{
    world->said = hub__hash_mix(world->said, hub__hash(bytes));
}

static void on_frame(talk_t *talk, hub_str_t bytes, bool binary)
{
    world_t *world = (world_t *)(void *)talk;
    int dialect = (int)talk->session.dialect->index;
    bool unsure = false, right;
    json_t *frame = NULL;
    char text[HUB_LOG_FIELD];

    ++world->frames_sent;
    hash(world, bytes);
    if (binary) {
        right = dialect == V2 && is_binary_frame(bytes);
    } else {
        frame = read_json(bytes, &unsure);
        right = unsure || is_frame(dialect, frame);
    }
    json_decref(frame);
    if (!right)
        fail_msg("seed %llu: this was sent: %s", (unsigned long long)world->seed,
                 hub_log_escape(bytes, text));
}

/* ---- what is heard ---- */

static size_t count_openings(hub_str_t text)
{
    size_t count = 0;

    for (size_t i = 0; i != text.len; ++i)
        count += text.base[i] == '[' || text.base[i] == '{';
    return count;
}

/* Both readers agree on what is JSON. Where ours stopped before the end, for depth, it did not say.
 */
static void check_json(const world_t *world, const input_t *input)
{
    hub_str_t text = hub_str_n(input->bytes, input->len);
    const hub__dialect_t *dialect = world->talk.session.dialect;
    hub__envelope_limits_t limits = {.topic_bytes = world->talk.limits.topic_bytes,
                                     .event_bytes = world->talk.limits.event_bytes,
                                     .ref_bytes = world->talk.limits.ref_bytes,
                                     .envelope_depth = world->talk.limits.envelope_depth,
                                     .payload_depth = world->talk.limits.payload_depth};
    hub__envelope_scratch_t scratch;
    hub__envelope_t envelope;
    hub_error_t error;
    hub_status_t status;
    bool unsure, ours;
    json_t *value;
    char shown[HUB_LOG_FIELD];

    if ((dialect->index == HUB__DIALECT_PHOENIX2 && input->binary) ||
        count_openings(text) > CLAIMED_DEPTH)
        return;
    status = dialect->decode(text, input->binary, &limits, &scratch, &envelope, &error);
    if (status == HUB_EDEPTH)
        return;
    value = read_json(text, &unsure);
    ours = status != HUB_ESYNTAX && status != HUB_EUTF8;
    if (memchr(text.base, '\0', text.len) != NULL) { /* jansson overlooks it behind a number */
        json_decref(value);
        value = NULL;
    }
    if (!unsure && ours != (value != NULL))
        fail_msg("seed %llu: %s says %s, jansson says %s: %s", (unsigned long long)world->seed,
                 dialect->name, hub_status_name(status), value != NULL ? "JSON" : "none",
                 hub_log_escape(text, shown));
    json_decref(value);
}

static bool has_closed(const talk_t *talk)
{
    static const char word[] = "closes ";

    for (size_t i = 0; i + sizeof(word) <= talk->heard.len; ++i)
        if ((i == 0 || talk->heard.base[i - 1] == '\n') &&
            memcmp(talk->heard.base + i, word, sizeof(word) - 1) == 0)
            return true;
    return false;
}

/* ---- cases ---- */

static void begin(world_t *world, int dialect)
{
    static const char *const patterns[] = {"room:*", "exact", "presence:*"};

    talk_init(&world->talk, dialect);
    world->talk.on_frame = on_frame;
    world->token_count = 0;
    world->frames_sent = world->joins = 0;
    world->said = 0;
    for (size_t i = 0; i != COUNT(patterns); ++i)
        talk_channel(&world->talk, NULL,
                     &(hub_channel_options_t){.pattern = patterns[i],
                                              .on_join = on_join,
                                              .events = events,
                                              .auto_ack = i == 1,
                                              .suspend_timeout_ms = 50,
                                              .join_timeout_ms = 50,
                                              .user = world});
    talk_begin(&world->talk);
}

/* The whole conversation; returns a hash of everything that was said. */
static uint64_t converse(world_t *world, int dialect)
{
    talk_t *talk = &world->talk;
    unsigned said = 0;
    bool closed = false;

    begin(world, dialect);
    for (size_t i = 0; i != world->input_count && !closed; ++i) {
        const input_t *input = &world->inputs[i];

        check_json(world, input);
        talk_say_raw(talk, hub_str_n(input->bytes, input->len), input->binary);
        ++said;
        if (input->answers && world->token_count != 0) {
            keep_promise(world);
            ++said;
        }
        talk_pass(talk, input->ms);
        closed = has_closed(talk);
        hash(world, hub__buffer_str(&talk->heard));
        talk_forget(talk);
        if (world->frames_sent > ANSWERS_MAX * said)
            fail_msg("seed %llu: %u answers to %u frames", (unsigned long long)world->seed,
                     world->frames_sent, said);
    }
    talk_end(talk);
    return world->said;
}

static unsigned long long from_environment(const char *name, unsigned long long otherwise)
{
    const char *given = getenv(name);

    return given == NULL ? otherwise : strtoull(given, NULL, 10);
}

/* Of the sanitizers' runtime, where there is one. */
__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*on_death)(void));

static size_t allocated_bytes(void)
{
    return __sanitizer_get_current_allocated_bytes != NULL
               ? __sanitizer_get_current_allocated_bytes()
               : 0;
}

static void converse_all(world_t *world, int dialect)
{
    uint64_t seed = from_environment("MUTATION_SEED", SEED);
    unsigned long long runs = from_environment("MUTATION_RUNS", RUNS), joins = 0;

    for (unsigned long long run = 0; run != runs; ++run) {
        size_t before;
        uint64_t said;

        world->random = world->seed = seed + run;
        draw_inputs(world, dialect);
        before = allocated_bytes();
        said = converse(world, dialect);
        if (allocated_bytes() != before)
            fail_msg("seed %llu: %zu bytes are kept", (unsigned long long)world->seed,
                     allocated_bytes() - before);
        if (converse(world, dialect) != said)
            fail_msg("seed %llu: not the same twice", (unsigned long long)world->seed);
        joins += world->joins;
    }
    assert_in_range(joins, runs / 2, UINT64_MAX); /* not all is spoilt */
}

static void tell_of_crash(void)
{
    if (the != NULL)
        fprintf(stderr, "mutation: MUTATION_SEED=%llu MUTATION_RUNS=1\n",
                (unsigned long long)the->seed);
}

static void on_abort(int number)
{
    tell_of_crash();
    signal(number, SIG_DFL);
    raise(number);
}

static int set_up(void **state)
{
    load_seeds();
    *state = the = calloc(1, sizeof(world_t));
    hub_log_set_level(HUB_LOG_OFF);
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell_of_crash);
    return the == NULL;
}

static int tear_down(void **state)
{
    the = NULL;
    signal(SIGABRT, SIG_DFL);
    free(*state);
    return 0;
}

static void spoilt_native_frames_do_no_harm(void **state)
{
    converse_all(*state, NATIVE);
}

static void spoilt_phoenix_1_frames_do_no_harm(void **state)
{
    converse_all(*state, V1);
}

static void spoilt_phoenix_2_frames_do_no_harm(void **state)
{
    converse_all(*state, V2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(spoilt_native_frames_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spoilt_phoenix_1_frames_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spoilt_phoenix_2_frames_do_no_harm, set_up, tear_down),
    };
    const char *corpus = getenv("MUTATION_CORPUS");

    if (corpus != NULL) {
        load_seeds();
        return write_corpus(corpus);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
