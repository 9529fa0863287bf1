/* SPDX-License-Identifier: MIT */
/* Reads recorded conversations. It runs before any case does, so what is wrong with a file ends the
 * program and is no failure of a case. */
#define _GNU_SOURCE /* getline */
#include "test/recording.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MS 100 /* longer than what is said at once takes, shorter than the client waited */

static void *grow(void *array, size_t count, size_t size)
{
    void *grown = reallocarray(array, count + 1, size);

    if (grown == NULL)
        abort();
    memset((char *)grown + count * size, 0, size);
    return grown;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    if (text == NULL) {
        fprintf(stderr, "a line of a recording has no %s\n", key);
        exit(EXIT_FAILURE);
    }
    return text;
}

static recording_dir_t dir_of(const char *text)
{
    return strcmp(text, "c>s") == 0   ? RECORDING_TO_SERVER
           : strcmp(text, "s>c") == 0 ? RECORDING_TO_CLIENT
                                      : RECORDING_BESIDE;
}

static void add_line(recording_take_t *take, json_t *object)
{
    recording_line_t *line;

    take->lines = grow(take->lines, take->count, sizeof(*take->lines));
    line = &take->lines[take->count++];
    line->object = object;
    line->conn = text_of(object, "conn");
    line->kind = text_of(object, "kind");
    line->dir = dir_of(text_of(object, "dir"));
    line->data = json_object_get(object, "data");
    line->text = json_string_value(line->data);
    line->t_ms = (unsigned)json_integer_value(json_object_get(object, "t_ms"));
}

static void find_bursts(recording_take_t *take)
{
    unsigned said_ms = 0, burst = 0, part = 0;

    for (size_t i = 0; i < take->count; i++) {
        recording_line_t *line = &take->lines[i];
        unsigned before_ms = i == 0 ? 0 : take->lines[i - 1].t_ms;

        if (line->dir == RECORDING_TO_CLIENT) {
            part += line->t_ms - before_ms >= PAUSE_MS;
        } else {
            if (line->t_ms - said_ms >= PAUSE_MS) {
                burst++;
                part = 0;
            }
            said_ms = line->t_ms;
        }
        line->burst = burst;
        line->part = part;
    }
}

static recording_t *find_or_add(recording_t **recordings, size_t *count, const char *name)
{
    recording_t *recording;

    if (*count > 0 && strcmp((*recordings)[*count - 1].name, name) == 0)
        return &(*recordings)[*count - 1];
    *recordings = grow(*recordings, *count, sizeof(**recordings));
    recording = &(*recordings)[(*count)++];
    snprintf(recording->name, sizeof(recording->name), "%s", name);
    return recording;
}

void recording_load(const char *folder, const char *name, recording_t **recordings, size_t *count)
{
    size_t before = *count, size = 0;
    char path[1024], full_name[64], *text = NULL;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s.jsonl", folder, name);
    if ((file = fopen(path, "re")) == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    while (getline(&text, &size, file) > 0) {
        json_t *object = json_loads(text, 0, NULL);
        json_int_t variant = json_integer_value(json_object_get(object, "variant"));
        recording_t *recording;

        snprintf(full_name, sizeof(full_name), "%s.%s", name, text_of(object, "scenario"));
        recording = find_or_add(recordings, count, full_name);
        recording->take_count = variant == 2 ? 2 : 1;
        add_line(&recording->takes[recording->take_count - 1], object);
    }
    for (size_t i = before; i < *count; i++)
        for (size_t j = 0; j < (*recordings)[i].take_count; j++)
            find_bursts(&(*recordings)[i].takes[j]);
    free(text);
    fclose(file);
}

/* ---- frames ---- */

char *recording_format(const char *pattern, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, pattern);
    if (vasprintf(&text, pattern, args) < 0)
        abort();
    va_end(args);
    return text;
}

char *recording_hex(hub_str_t bytes)
{
    char *hex = calloc(2 * bytes.len + 1, 1);

    if (hex == NULL)
        abort();
    for (size_t i = 0; i < bytes.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)bytes.base[i]);
    return hex;
}

/* Of a binary frame of the server's, as hexadecimal digits. */
static char *topic_of_binary(hub_str_t bytes)
{
    static const struct {
        size_t names, topic; /* how many there are, and which it is */
    } kinds[] = {{3, 1}, {4, 2}, {2, 0}};
    const unsigned char *at = (const unsigned char *)bytes.base;
    size_t offset, topic;

    if (bytes.len < 5 || at[0] > 2)
        return strdup("");
    topic = kinds[at[0]].topic;
    offset = 1 + kinds[at[0]].names;
    for (size_t i = 0; i < topic; i++)
        offset += at[1 + i];
    if (offset + at[1 + topic] > bytes.len)
        return strdup("");
    return recording_format("\"%.*s\"", at[1 + topic], bytes.base + offset);
}

static int compare_keys(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

void recording_forget(recording_frame_t *frame)
{
    free(frame->text);
    free(frame->topic);
    free(frame->refs);
}

static void add_ref(json_t *object, const char *key, char **refs)
{
    const char *ref = json_string_value(json_object_get(object, key));
    char *longer;

    if (ref == NULL)
        return;
    longer = recording_format("%s%s\n", *refs == NULL ? "" : *refs, ref);
    free(*refs);
    *refs = longer;
    json_object_set_new(object, key, json_string("*"));
}

/* Two recordings never have the same references of presence: they are taken out, in the order of
 * the sorted keys. */
static void take_refs(json_t *value, char **refs)
{
    size_t i, size = json_object_size(value);
    const char **keys = calloc(size + 1, sizeof(*keys));
    const char *key;
    json_t *item;

    if (keys == NULL)
        abort();
    json_array_foreach(value, i, item) take_refs(item, refs);
    i = 0;
    json_object_foreach(value, key, item) keys[i++] = key;
    qsort(keys, size, sizeof(*keys), compare_keys);
    for (i = 0; i < size; i++)
        take_refs(json_object_get(value, keys[i]), refs);
    free(keys);
    add_ref(value, "phx_ref", refs);
    add_ref(value, "phx_ref_prev", refs);
}

recording_frame_t recording_text(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &error);
    const json_t *topic;
    recording_frame_t frame;

    /* a number past 64 bits: equal is what is the same double */
    if (value == NULL && json_error_code(&error) == json_error_numeric_overflow)
        value = json_loads(text, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    if (value == NULL)
        return (recording_frame_t){.text = recording_format("no JSON: %s", text),
                                   .topic = strdup("")};
    topic = json_is_array(value) ? json_array_get(value, 2) : json_object_get(value, "topic");
    frame.refs = NULL;
    take_refs(value, &frame.refs);
    frame.text = json_dumps(value, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
    frame.topic = topic == NULL ? strdup("") : json_dumps(topic, JSON_ENCODE_ANY);
    frame.part = 0;
    frame.matched = false;
    json_decref(value);
    return frame;
}

recording_frame_t recording_binary(hub_str_t bytes)
{
    char *hex = recording_hex(bytes);
    recording_frame_t frame = {.text = recording_format("#%s", hex),
                               .topic = topic_of_binary(bytes)};

    free(hex);
    return frame;
}

recording_frame_t recording_other(char *text)
{
    return (recording_frame_t){.text = text, .topic = strdup("")};
}

/* A message within an answer to a poll, as a frame of its own would be written. */
static json_t *plain_message(const json_t *message)
{
    json_t *value = json_loads(json_string_value(message) ?: "", JSON_DECODE_ANY, NULL), *plain;
    char *text = value == NULL ? NULL : json_dumps(value, JSON_SORT_KEYS | JSON_COMPACT);

    plain = text == NULL ? json_deep_copy(message) : json_string(text);
    free(text);
    json_decref(value);
    return plain;
}

/* An answer to a long-poll client: its messages as values, its token as one like any other. NULL:
 * something else. To be freed. */
static char *plain_answer(const char *body)
{
    json_t *answer = json_loads(body, 0, NULL), *messages = json_object_get(answer, "messages");
    char *text = NULL;

    for (size_t i = 0; i < json_array_size(messages); i++)
        json_array_set_new(messages, i, plain_message(json_array_get(messages, i)));
    if (json_object_get(answer, "token") != NULL)
        json_object_set_new(answer, "token", json_string("TOKEN"));
    if (answer != NULL)
        text = json_dumps(answer, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(answer);
    return text;
}

char *recording_token(const char *body)
{
    json_t *answer = json_loads(body, 0, NULL);
    const char *token = json_string_value(json_object_get(answer, "token"));
    char *copy = token == NULL ? NULL : strdup(token);

    json_decref(answer);
    return copy;
}

/* Texts that explain an error to a person are free. */
recording_frame_t recording_http(int status, const char *body)
{
    bool free_text = status != 403 && status != 429 && status / 100 != 2;
    char *answer = free_text ? NULL : plain_answer(body);

    if (answer != NULL) {
        recording_frame_t frame = recording_other(recording_format("http %d %s", status, answer));

        free(answer);
        return frame;
    }
    return recording_other(free_text || body[0] == '\0'
                               ? recording_format("http %d", status)
                               : recording_format("http %d %s", status, body));
}

recording_frame_t recording_upgrade(const char *protocol, const char *extensions)
{
    return recording_other(recording_format("upgrade%s%s%s%s", protocol[0] == '\0' ? "" : " ",
                                            protocol, extensions[0] == '\0' ? "" : " with ",
                                            extensions));
}

hub_str_t recording_bytes(const char *hex, char *buffer)
{
    size_t len = strlen(hex) / 2;

    for (size_t i = 0; i < len; i++) {
        unsigned byte = 0;

        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            abort();
        buffer[i] = (char)byte;
    }
    return hub_str_n(buffer, len);
}

const char *recording_string(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key)) ?: "";
}

int recording_number(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

/* What was recorded, as a frame; its text is NULL where it says nothing about the server. */
recording_frame_t recording_frame_of(const recording_line_t *line)
{
    const json_t *headers = json_object_get(line->data, "headers");
    char *buffer;
    recording_frame_t frame = {0};

    if (strcmp(line->kind, "text") == 0) {
        frame = recording_text(line->text);
    } else if (strcmp(line->kind, "binary") == 0) {
        buffer = malloc(strlen(line->text) / 2 + 1);
        if (buffer == NULL)
            abort();
        frame = recording_binary(recording_bytes(line->text, buffer));
        free(buffer);
    } else if (strcmp(line->kind, "pong") == 0) {
        frame = recording_other(recording_format("pong %s", line->text));
    } else if (strcmp(line->kind, "upgrade") == 0) {
        frame = recording_upgrade(recording_string(headers, "sec-websocket-protocol"),
                                  recording_string(headers, "sec-websocket-extensions"));
    } else if (strcmp(line->kind, "http") == 0) {
        frame = recording_http(recording_number(line->data, "status"),
                               recording_string(line->data, "body"));
    } else if (strcmp(line->kind, "close") == 0 && recording_number(line->data, "code") != 1006) {
        frame = recording_other(recording_format("close %d", recording_number(line->data, "code")));
    }
    frame.part = line->part;
    return frame;
}
