/* SPDX-License-Identifier: MIT */
/* How a frame becomes an envelope. It is scanned once, by a cursor that validates as it goes, and
 * what it finds are spans; only topic, event and refs are looked at again, and these are short. */
#include "channels/decoding.h"

#include <stdarg.h>
#include <stdio.h>

#include "channels/dialect.h"
#include "channels/encoding.h"

#define TEXT_BYTES 160

static const char *const field_names[HUB__FIELD_COUNT] = {
    [HUB__FIELD_JOIN_REF] = "join_ref", [HUB__FIELD_REF] = "ref",
    [HUB__FIELD_TOPIC] = "topic",       [HUB__FIELD_EVENT] = "event",
    [HUB__FIELD_PAYLOAD] = "payload",
};

/* The kind alone says that a field is there. */
static void forget_fields(hub__decoding_t *decoding)
{
    for (size_t i = 0; i < HUB__FIELD_COUNT; i++)
        decoding->fields[i].kind = 0;
}

void hub__decoding_init(hub__decoding_t *decoding, hub_str_t frame,
                        const hub__envelope_limits_t *limits, hub__envelope_scratch_t *scratch,
                        hub__envelope_t *envelope, hub_error_t *error)
{
    *envelope = (hub__envelope_t){0};
    scratch->used = 0;
    decoding->frame = frame;
    decoding->limits = limits;
    decoding->scratch = scratch;
    decoding->envelope = envelope;
    decoding->error = error;
    decoding->status = HUB_OK;
    forget_fields(decoding);
}

void hub__decoding_fail(hub__decoding_t *decoding, hub_status_t status, size_t offset,
                        const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;

    if (decoding->status != HUB_OK)
        return;
    decoding->status = status;
    if (decoding->error == NULL)
        return;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    hub_error_set(decoding->error, status, offset, "%s (at byte %zu)", text, offset);
}

static size_t offset_of(const hub__decoding_t *decoding, const hub_json_value_t *value)
{
    return (size_t)(value->raw.base - decoding->frame.base);
}

static bool is_container(const hub_json_value_t *value)
{
    return value->kind == HUB_JSON_ARRAY || value->kind == HUB_JSON_OBJECT;
}

/* A key may be written with escapes, and stays the same key. */
static hub__field_t field_of(const hub_json_value_t *key)
{
    hub_str_t name = hub_str_n(key->raw.base + 1, key->raw.len - 2);
    char text[sizeof("join_ref")];

    if (key->escaped) {
        if (hub_json_unescape(key->raw, text, sizeof(text), &name.len) != HUB_OK)
            return HUB__FIELD_COUNT;
        name.base = text;
    }
    switch (name.len) {
    case 3:
        return memcmp(name.base, "ref", 3) == 0 ? HUB__FIELD_REF : HUB__FIELD_COUNT;
    case 5:
        if (memcmp(name.base, "topic", 5) == 0)
            return HUB__FIELD_TOPIC;
        return memcmp(name.base, "event", 5) == 0 ? HUB__FIELD_EVENT : HUB__FIELD_COUNT;
    case 7:
        return memcmp(name.base, "payload", 7) == 0 ? HUB__FIELD_PAYLOAD : HUB__FIELD_COUNT;
    case 8:
        return memcmp(name.base, "join_ref", 8) == 0 ? HUB__FIELD_JOIN_REF : HUB__FIELD_COUNT;
    default:
        return HUB__FIELD_COUNT;
    }
}

/* How deep the value of a field may nest. */
static size_t field_depth(const hub__decoding_t *decoding, hub__field_t field)
{
    return field == HUB__FIELD_PAYLOAD ? decoding->limits->payload_depth
                                       : decoding->limits->envelope_depth - 1;
}

static void fail_depth(hub__decoding_t *decoding, hub__field_t field, size_t limit, size_t offset)
{
    if (field < HUB__FIELD_COUNT)
        hub__decoding_fail(decoding, HUB_EDEPTH, offset, "\"%s\" is nested deeper than %zu",
                           field_names[field], limit);
    else
        hub__decoding_fail(decoding, HUB_EDEPTH, offset, "a value is nested deeper than %zu",
                           limit);
}

/* The cursor allows as much as the payload may nest, or the envelope where that is more. So a value
 * has to be looked at again only where its own limit is the smaller one: never the payload with the
 * default limits, and of the rest only a ref or unknown key that holds an array or object. */
static void check_depth(hub__decoding_t *decoding, hub__field_t field,
                        const hub_json_value_t *value, size_t allowed)
{
    size_t limit = field_depth(decoding, field);
    hub_error_t error;

    if (limit >= allowed || decoding->status != HUB_OK)
        return;
    error.offset = 0;
    if (limit == 0 || hub_json_scan(value->raw, limit, NULL, &error) != HUB_OK)
        fail_depth(decoding, field, limit, offset_of(decoding, value) + error.offset);
}

/* Reads the members of the object; `allowed` is how deep each may nest. */
static hub_status_t collect(hub__decoding_t *decoding, size_t allowed, size_t *ret_offset)
{
    hub_json_cursor_t cursor;
    hub_json_value_t key, value;
    hub_status_t err = hub_json_open(&cursor, decoding->frame, HUB_JSON_OBJECT, HUB_JSON_DEPTH_MAX);

    cursor.max_depth = allowed + 1;
    while (err == HUB_OK && (err = hub_json_next(&cursor, &key, &value)) == HUB_OK) {
        hub__field_t field = field_of(&key);

        if (is_container(&value))
            check_depth(decoding, field, &value, allowed);
        if (field == HUB__FIELD_COUNT)
            continue;
        if (decoding->fields[field].kind == 0)
            decoding->fields[field] = value;
        else
            hub__decoding_fail(decoding, HUB_EPROTOCOL, offset_of(decoding, &key),
                               "\"%s\" is given twice", field_names[field]);
    }
    *ret_offset = cursor.offset;
    return err == HUB_ENOTFOUND ? HUB_OK : err;
}

/* Not JSON: what was read before the wrong byte may not be what the client meant, so none of it is
 * kept, also where a doubled key was noted before. */
static void fail_syntax(hub__decoding_t *decoding, hub_status_t status, size_t offset)
{
    forget_fields(decoding);
    decoding->status = HUB_OK;
    if (status == HUB_EUTF8)
        hub__decoding_fail(decoding, status, offset, "the frame is not valid UTF-8");
    else if (offset == decoding->frame.len)
        hub__decoding_fail(decoding, status, offset, "the frame is not JSON, it ends too early");
    else
        hub__decoding_fail(decoding, status, offset, "the frame is not JSON, wrong byte 0x%02x",
                           (unsigned char)decoding->frame.base[offset]);
}

/* The frame does not begin as it must: is it JSON of another shape, or none? */
static void fail_shape(hub__decoding_t *decoding, const char *wanted)
{
    hub_error_t error;
    hub_status_t err = hub_json_scan(decoding->frame, HUB_JSON_DEPTH_MAX, NULL, &error);

    if (err == HUB_ESYNTAX || err == HUB_EUTF8)
        fail_syntax(decoding, err, error.offset);
    else
        hub__decoding_fail(decoding, HUB_EPROTOCOL, 0, "the envelope must be %s", wanted);
}

static bool begins_with(hub_str_t frame, char bracket)
{
    for (size_t i = 0; i < frame.len; i++) {
        char byte = frame.base[i];

        if (byte != ' ' && byte != '\t' && byte != '\n' && byte != '\r')
            return byte == bracket;
    }
    return false;
}

/* The field whose value has the byte at `offset`. */
static hub__field_t field_at(const hub__decoding_t *decoding, size_t offset)
{
    for (size_t i = 0; i < HUB__FIELD_COUNT; i++) {
        const hub_json_value_t *value = &decoding->fields[i];

        if (value->kind != 0 && offset - offset_of(decoding, value) < value->raw.len)
            return (hub__field_t)i;
    }
    return HUB__FIELD_COUNT;
}

/* Too deep somewhere. The frame is read once more without the limit, for the ref that may stand
 * behind: a client that means no harm should learn which of its messages was refused. */
static void fail_object_depth(hub__decoding_t *decoding, size_t limit, size_t offset)
{
    hub_status_t before = decoding->status;
    size_t ignored;

    forget_fields(decoding);
    decoding->status = HUB_EDEPTH; /* nothing else is noted meanwhile */
    (void)collect(decoding, HUB_JSON_DEPTH_MAX, &ignored);
    decoding->status = before;
    fail_depth(decoding, field_at(decoding, offset), limit, offset);
}

void hub__decoding_read_object(hub__decoding_t *decoding)
{
    size_t allowed = decoding->limits->payload_depth, offset;
    hub_status_t err;

    if (!begins_with(decoding->frame, '{')) {
        fail_shape(decoding, "an object");
        return;
    }
    if (allowed < decoding->limits->envelope_depth - 1)
        allowed = decoding->limits->envelope_depth - 1;
    err = collect(decoding, allowed, &offset);
    if (err == HUB_EDEPTH)
        fail_object_depth(decoding, allowed, offset);
    else if (err != HUB_OK)
        fail_syntax(decoding, err, offset);
}

void hub__decoding_read_array(hub__decoding_t *decoding)
{
    hub_json_cursor_t cursor;
    hub_json_value_t value;
    hub__field_t field = HUB__FIELD_JOIN_REF;
    hub_status_t err;

    if (!begins_with(decoding->frame, '[')) {
        fail_shape(decoding, "an array");
        return;
    }
    err = hub_json_open(&cursor, decoding->frame, HUB_JSON_ARRAY, HUB_JSON_DEPTH_MAX);
    while (err == HUB_OK) {
        /* here the place says which limit holds, so nothing is ever read twice */
        cursor.max_depth = field_depth(decoding, field) + 1;
        err = hub_json_next(&cursor, NULL, &value);
        if (err == HUB_OK && field < HUB__FIELD_COUNT)
            decoding->fields[field++] = value;
    }
    if (err == HUB_EDEPTH)
        fail_depth(decoding, field, field_depth(decoding, field), cursor.offset);
    else if (err != HUB_ENOTFOUND)
        fail_syntax(decoding, err, cursor.offset);
    else if (field < HUB__FIELD_COUNT)
        hub__decoding_fail(decoding, HUB_EPROTOCOL, decoding->frame.len,
                           "the envelope must have 5 elements, \"%s\" is missing",
                           field_names[field]);
}

static void fail_missing(hub__decoding_t *decoding, hub__field_t field)
{
    hub__decoding_fail(decoding, HUB_EPROTOCOL, decoding->frame.len, "\"%s\" is missing",
                       field_names[field]);
}

/* The text of a string that has to be there, in `*ret_text` as far as it can be had. `bad` is the
 * status for one that is empty, longer than `max` or no text. */
static bool read_name(hub__decoding_t *decoding, hub__field_t field, size_t max, hub_status_t bad,
                      hub_str_t *ret_text)
{
    const hub_json_value_t *value = &decoding->fields[field];
    hub__envelope_scratch_t *scratch = decoding->scratch;
    const char *name = field_names[field];
    hub_status_t err = HUB_OK;

    if (value->kind == 0) {
        fail_missing(decoding, field);
        return false;
    }
    if (value->kind != HUB_JSON_STRING) {
        hub__decoding_fail(decoding, HUB_EPROTOCOL, offset_of(decoding, value),
                           "\"%s\" must be a string", name);
        return false;
    }
    *ret_text = hub_str_n(value->raw.base + 1, value->raw.len - 2);
    if (value->escaped) {
        size_t room = sizeof(scratch->bytes) - scratch->used;
        char *to = scratch->bytes + scratch->used;

        *ret_text = (hub_str_t){0};
        err = hub_json_unescape(value->raw, to, max < room ? max : room, &ret_text->len);
        if (err == HUB_OK) {
            ret_text->base = to;
            scratch->used += ret_text->len;
        }
    }
    if (err == HUB_EUTF8)
        hub__decoding_fail(decoding, bad, offset_of(decoding, value),
                           "\"%s\" has an escape that is no character", name);
    else if (err != HUB_OK || ret_text->len > max)
        hub__decoding_fail(decoding, bad, offset_of(decoding, value),
                           "\"%s\" is longer than %zu bytes", name, max);
    else if (ret_text->len == 0)
        hub__decoding_fail(decoding, bad, offset_of(decoding, value), "\"%s\" is empty", name);
    else
        return true;
    return false;
}

static bool is_other_than_string(const hub_json_value_t *value)
{
    return value->kind != 0 && value->kind != HUB_JSON_STRING;
}

static void check_topic(hub__decoding_t *decoding, hub_str_t topic, size_t offset, bool allow_space)
{
    if (hub__topic_forbidden(topic, allow_space) < topic.len)
        hub__decoding_fail(decoding, HUB_ETOPIC, offset, "\"topic\" has a %scontrol character",
                           allow_space ? "" : "space or ");
}

void hub__decoding_topic(hub__decoding_t *decoding, bool any_value)
{
    const hub_json_value_t *value = &decoding->fields[HUB__FIELD_TOPIC];
    hub_str_t *topic = &decoding->envelope->topic;

    if (any_value && is_other_than_string(value)) {
        if (!is_container(value) && value->raw.len <= decoding->limits->ref_bytes)
            decoding->envelope->topic_token = value->raw;
        hub__decoding_fail(decoding, HUB_ETOPIC, offset_of(decoding, value),
                           "\"topic\" must be a string");
        return;
    }
    if (read_name(decoding, HUB__FIELD_TOPIC, decoding->limits->topic_bytes, HUB_ETOPIC, topic))
        check_topic(decoding, *topic, offset_of(decoding, value), any_value);
}

void hub__decoding_event(hub__decoding_t *decoding, bool any_value)
{
    const hub_json_value_t *value = &decoding->fields[HUB__FIELD_EVENT];
    hub_str_t *event = &decoding->envelope->event;
    size_t max = decoding->limits->event_bytes;

    if (any_value && is_other_than_string(value) && value->raw.len <= max)
        *event = value->raw;
    else if (any_value && value->kind == HUB_JSON_STRING && value->raw.len == 2)
        *event = hub_str_n(value->raw.base + 1, 0);
    else
        (void)read_name(decoding, HUB__FIELD_EVENT, max, HUB_EEVENT, event);
}

/* Writes a string token into the scratch. False where it would be longer than the limit. */
static bool keep_token(hub__decoding_t *decoding, hub_str_t text, hub_str_t *ret_token)
{
    hub__envelope_scratch_t *scratch = decoding->scratch;
    char *to = scratch->bytes + scratch->used;
    size_t len;

    if (text.len > decoding->limits->ref_bytes ||
        HUB__ESCAPED_MAX * text.len + 2 > sizeof(scratch->bytes) - scratch->used)
        return false;
    len = (size_t)(hub__put_string(to, text) - to);
    if (len - 2 > decoding->limits->ref_bytes)
        return false;
    *ret_token = hub_str_n(to, len);
    scratch->used += len;
    return true;
}

static void fail_ref_length(hub__decoding_t *decoding, hub__field_t field, size_t offset)
{
    hub__decoding_fail(decoding, HUB_ELIMIT, offset, "\"%s\" is longer than %zu bytes",
                       field_names[field], decoding->limits->ref_bytes);
}

/* A string with escapes: resolved, and only the necessary ones written again. `any_value` tells
 * native from Phoenix, which differ in how they call a wrong one. */
static void read_escaped_ref(hub__decoding_t *decoding, hub__field_t field, bool any_value,
                             hub_str_t *ret_token)
{
    const hub_json_value_t *value = &decoding->fields[field];
    char text[256];
    size_t len = 0;
    hub_status_t err = hub_json_unescape(value->raw, text, sizeof(text), &len);

    if (err == HUB_EUTF8)
        hub__decoding_fail(decoding, any_value ? HUB_EPROTOCOL : HUB_EPAYLOAD,
                           offset_of(decoding, value), "\"%s\" has an escape that is no character",
                           field_names[field]);
    else if (err != HUB_OK || !keep_token(decoding, hub_str_n(text, len), ret_token))
        fail_ref_length(decoding, field, offset_of(decoding, value));
}

static bool is_integer(const hub_json_value_t *value)
{
    if (value->kind != HUB_JSON_NUMBER)
        return false;
    for (size_t i = 0; i < value->raw.len; i++) {
        char byte = value->raw.base[i];

        if (byte == '.' || byte == 'e' || byte == 'E')
            return false;
    }
    return true;
}

static void read_ref(hub__decoding_t *decoding, hub__field_t field, bool any_value,
                     hub_str_t *ret_token)
{
    const hub_json_value_t *value = &decoding->fields[field];
    size_t quotes = value->kind == HUB_JSON_STRING ? 2 : 0;

    if (value->kind == 0 || value->kind == HUB_JSON_NULL)
        return;
    if (!any_value && value->kind != HUB_JSON_STRING && !is_integer(value))
        hub__decoding_fail(decoding, HUB_EPAYLOAD, offset_of(decoding, value),
                           "\"%s\" must be a string, an integer or null", field_names[field]);
    else if (value->escaped)
        read_escaped_ref(decoding, field, any_value, ret_token);
    else if (value->raw.len - quotes > decoding->limits->ref_bytes)
        fail_ref_length(decoding, field, offset_of(decoding, value));
    else
        *ret_token = value->raw;
}

void hub__decoding_refs(hub__decoding_t *decoding, bool required, bool any_value)
{
    if (required && decoding->fields[HUB__FIELD_REF].kind == 0)
        fail_missing(decoding, HUB__FIELD_REF);
    read_ref(decoding, HUB__FIELD_REF, any_value, &decoding->envelope->ref);
    read_ref(decoding, HUB__FIELD_JOIN_REF, any_value, &decoding->envelope->join_ref);
}

void hub__decoding_payload(hub__decoding_t *decoding, bool required)
{
    const hub_json_value_t *value = &decoding->fields[HUB__FIELD_PAYLOAD];

    decoding->envelope->payload = value->kind == 0 ? HUB_JSON("null") : hub_json(value->raw);
    if (required && value->kind == 0)
        fail_missing(decoding, HUB__FIELD_PAYLOAD);
}

static hub_str_t bytes_of(const hub__decoding_t *decoding, size_t offset, size_t len)
{
    return hub_str_n(decoding->frame.base + offset, len);
}

/* Text that no scanner has seen. False: not text, and it is left out of the envelope. */
static bool check_text(hub__decoding_t *decoding, hub__field_t field, hub_str_t text,
                       hub_status_t bad)
{
    if (hub_utf8_valid(text))
        return true;
    hub__decoding_fail(decoding, bad, (size_t)(text.base - decoding->frame.base),
                       "\"%s\" is not valid UTF-8", field_names[field]);
    return false;
}

static void check_length(hub__decoding_t *decoding, hub__field_t field, hub_str_t text, size_t max,
                         hub_status_t bad)
{
    size_t offset = (size_t)(text.base - decoding->frame.base);

    if (text.len == 0)
        hub__decoding_fail(decoding, bad, offset, "\"%s\" is empty", field_names[field]);
    else if (text.len > max)
        hub__decoding_fail(decoding, bad, offset, "\"%s\" is longer than %zu bytes",
                           field_names[field], max);
}

void hub__decoding_topic_bytes(hub__decoding_t *decoding, size_t offset, size_t len)
{
    hub_str_t topic = bytes_of(decoding, offset, len);

    if (!check_text(decoding, HUB__FIELD_TOPIC, topic, HUB_ETOPIC))
        return;
    decoding->envelope->topic = topic;
    check_length(decoding, HUB__FIELD_TOPIC, topic, decoding->limits->topic_bytes, HUB_ETOPIC);
    check_topic(decoding, topic, offset, true);
}

void hub__decoding_event_bytes(hub__decoding_t *decoding, size_t offset, size_t len)
{
    hub_str_t event = bytes_of(decoding, offset, len);

    if (!check_text(decoding, HUB__FIELD_EVENT, event, HUB_EEVENT))
        return;
    decoding->envelope->event = event;
    if (len > 0)
        check_length(decoding, HUB__FIELD_EVENT, event, decoding->limits->event_bytes, HUB_EEVENT);
}

void hub__decoding_ref_bytes(hub__decoding_t *decoding, hub__field_t field, size_t offset,
                             size_t len)
{
    hub_str_t text = bytes_of(decoding, offset, len);
    hub_str_t *token =
        field == HUB__FIELD_REF ? &decoding->envelope->ref : &decoding->envelope->join_ref;

    if (check_text(decoding, field, text, HUB_EPROTOCOL) && !keep_token(decoding, text, token))
        fail_ref_length(decoding, field, offset);
}
