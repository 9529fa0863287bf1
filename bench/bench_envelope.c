/* SPDX-License-Identifier: MIT */
/* What does an envelope cost? Decoding a client's message and encoding a broadcast in each wire
 * format, against jansson's json_loadb() of the same text. At most an eighth of that is the promise
 * for decoding around a payload of 128 bytes.
 *
 * `text` payloads are one long string, `fields` have members of many kinds. What jansson makes has
 * to be freed, and what we make has not, so both count. Each result is checked, of both. */
#define _GNU_SOURCE
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "bench/rounds.h"
#include "channels/dialect.h"

#define FRAME_BYTES 65536
#define TOPIC "bench:00001"

typedef struct payload_shape {
    const char *name;
    const char *head; /* what the string that fills the payload up stands behind */
    const char *tail;
    size_t bytes;
} payload_shape_t;

#define TEXT "{\"data\":\"", "\"}"
#define FIELDS                                                                                     \
    "{\"user\":\"ann\",\"id\":4711,\"at\":1700000000.25,\"tags\":[\"a\",true,null],\"text\":\"",   \
        "\"}"

static const payload_shape_t shapes[] = {
    {"text_128", TEXT, 128},
    {"fields_128", FIELDS, 128},
    {"fields_1024", FIELDS, 1024},
    {"text_16384", TEXT, 16384},
};
#define SHAPES (sizeof(shapes) / sizeof(*shapes))

/* One wire format around one payload. */
typedef struct subject {
    const hub__dialect_t *dialect;
    char text[FRAME_BYTES]; /* a client's message */
    size_t len;
    hub_str_t payload; /* within it */
    hub__envelope_scratch_t scratch;
    char encoded[FRAME_BYTES];
    size_t encoded_len; /* 0: not known yet */
} subject_t;

static void fill_payload(char *at, const payload_shape_t *shape)
{
    size_t head = strlen(shape->head), tail = strlen(shape->tail);

    memcpy(at, shape->head, head);
    memset(at + head, 'x', shape->bytes - head - tail);
    memcpy(at + shape->bytes - tail, shape->tail, tail);
}

static void subject_init(subject_t *subject, hub__dialect_index_t index,
                         const payload_shape_t *shape)
{
    static const struct {
        const char *before, *behind;
    } forms[HUB__DIALECT_COUNT] = {
        [HUB__DIALECT_NATIVE] = {"{\"topic\":\"" TOPIC "\",\"event\":\"msg\",\"payload\":", "}"},
        [HUB__DIALECT_PHOENIX1] = {"{\"topic\":\"" TOPIC "\",\"event\":\"msg\",\"payload\":",
                                   ",\"ref\":\"4711\"}"},
        [HUB__DIALECT_PHOENIX2] = {"[\"1\",\"4711\",\"" TOPIC "\",\"msg\",", "]"},
    };
    size_t before = strlen(forms[index].before), behind = strlen(forms[index].behind);

    subject->dialect = hub__dialect(index);
    memcpy(subject->text, forms[index].before, before);
    fill_payload(subject->text + before, shape);
    memcpy(subject->text + before + shape->bytes, forms[index].behind, behind);
    subject->len = before + shape->bytes + behind;
    subject->payload = hub_str_n(subject->text + before, shape->bytes);
    subject->encoded_len = 0;
}

static void decode(void *user)
{
    static const hub__envelope_limits_t limits = {.topic_bytes = 255,
                                                  .event_bytes = 64,
                                                  .ref_bytes = 32,
                                                  .envelope_depth = 8,
                                                  .payload_depth = 64};
    subject_t *subject = user;
    hub__envelope_t envelope;
    hub_error_t error;

    if (subject->dialect->decode(hub_str_n(subject->text, subject->len), false, &limits,
                                 &subject->scratch, &envelope, &error) != HUB_OK)
        bench_fail("%s: not decoded: %s", subject->dialect->name, error.text);
    if (envelope.topic.len != sizeof(TOPIC) - 1 || envelope.event.len != 3 ||
        envelope.payload.bytes.base != subject->payload.base ||
        envelope.payload.bytes.len != subject->payload.len)
        bench_fail("%s: decoded to something else", subject->dialect->name);
}

static void load(void *user)
{
    const subject_t *subject = user;
    json_t *json = json_loadb(subject->text, subject->len, 0, NULL);

    if (json == NULL || (json_is_object(json) ? json_object_size(json) < 3
                                              : json_array_size(json) != HUB__DIALECT_COUNT + 2))
        bench_fail("%s: jansson makes something else of it", subject->dialect->name);
    json_decref(json);
}

static void encode(void *user)
{
    subject_t *subject = user;
    const hub__outgoing_t out = {.kind = HUB__OUT_BROADCAST,
                                 .topic = HUB_STR(TOPIC),
                                 .event = HUB_STR("msg"),
                                 .payload = hub_json(subject->payload)};
    bool binary = true;
    size_t len;

    if (subject->dialect->encode_bound(&out) > sizeof(subject->encoded))
        bench_fail("%s: more than %d bytes", subject->dialect->name, FRAME_BYTES);
    len = subject->dialect->encode(&out, subject->encoded, &binary);
    if (binary || len <= subject->payload.len ||
        (subject->encoded_len != 0 && subject->encoded_len != len))
        bench_fail("%s: encoded to %zu bytes", subject->dialect->name, len);
    subject->encoded_len = len;
}

/* What was encoded last is what was meant. */
static void check_encoded(const subject_t *subject)
{
    json_t *json = json_loadb(subject->encoded, subject->encoded_len, 0, NULL);
    const json_t *payload = json_is_object(json) ? json_object_get(json, "payload")
                                                 : json_array_get(json, HUB__DIALECT_COUNT + 1);

    if (json == NULL || !json_is_object(payload) ||
        memmem(subject->encoded, subject->encoded_len, subject->payload.base,
               subject->payload.len) == NULL)
        bench_fail("%s: encoded to what is no envelope", subject->dialect->name);
    json_decref(json);
}

/* Lasts as long as the report. */
static const char *figure_name(const hub__dialect_t *dialect, const payload_shape_t *shape,
                               const char *figure)
{
    static char names[SHAPES * HUB__DIALECT_COUNT * 4][48];
    static size_t count;
    char name[sizeof(names[0])];

    snprintf(name, sizeof(name), "%s_%s_%s", dialect->name, shape->name, figure);
    for (size_t i = 0; i != count; ++i)
        if (strcmp(names[i], name) == 0)
            return names[i];
    memcpy(names[count], name, sizeof(name));
    return names[count++];
}

static void compare(report_t *report, hub__dialect_index_t index, const payload_shape_t *shape,
                    double seconds)
{
    static subject_t subject;
    contender_t contenders[] = {
        {.once = decode, .user = &subject, .ops = 1},
        {.once = load, .user = &subject, .ops = 1},
        {.once = encode, .user = &subject, .ops = 1},
    };

    subject_init(&subject, index, shape);
    rounds_take(contenders, 3, seconds);
    check_encoded(&subject);
    report_add(report, figure_name(subject.dialect, shape, "decode_ns"), contenders[0].ns);
    report_add(report, figure_name(subject.dialect, shape, "jansson_ns"), contenders[1].ns);
    report_add(report, figure_name(subject.dialect, shape, "decode_ratio"),
               contenders[0].ns / contenders[1].ns);
    report_add(report, figure_name(subject.dialect, shape, "encode_ns"), contenders[2].ns);
}

int main(int argc, char **argv)
{
    unsigned long seconds = 3, runs = 5;
    const report_option_t options[] = {
        {"seconds", "of each run", &seconds, 1, 3600, NULL, NULL},
        {"runs", "measured one after another", &runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    report_t *report = report_open("envelope", argc, argv, options);

    bench_pin(1);
    for (unsigned long run = 0; run != runs; ++run)
        for (unsigned index = 0; index != HUB__DIALECT_COUNT; ++index)
            for (size_t i = 0; i != SHAPES; ++i)
                compare(report, (hub__dialect_index_t)index, &shapes[i],
                        (double)seconds / (SHAPES * HUB__DIALECT_COUNT));
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
