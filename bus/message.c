/* SPDX-License-Identifier: MIT */
/* A message that lasts is one block: the count, the visible struct and every byte that it points
 * to. Nothing in it changes after it was made, so the count is all that threads share. */
#include "bus/message.h"

#include <assert.h>
#include <stdatomic.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"
#include "bus/json.h"
#include "bus/log.h"

#define NAME_BYTES_MAX 1024

/* What `message._counted` != 0 promises to be around the message. */
struct block {
    atomic_uint count;
    hub_message_t message;
    char bytes[];
};

static struct block *block_of(const hub_message_t *message)
{
    return (struct block *)((uintptr_t)message - offsetof(struct block, message));
}

/* Copies to `*at` and moves it on. What was absent stays absent. */
static hub_str_t copy_str(char **at, hub_str_t str)
{
    hub_str_t copy = hub_str_n(str.base == NULL ? NULL : *at, str.len);

    if (str.len > 0)
        memcpy(*at, str.base, str.len);
    *at += str.len;
    return copy;
}

/* A counted copy, its count one; NULL where there is no memory. */
/* Of all threads. */
static atomic_size_t held;

size_t hub__messages_held(void)
{
    return atomic_load_explicit(&held, memory_order_relaxed);
}

static hub_message_t *block_create(const hub_message_t *source)
{
    const hub_str_t *parts[] = {&source->topic, &source->event, &source->payload.bytes,
                                &source->ref, &source->join_ref};
    size_t size = sizeof(struct block);
    struct block *block;
    char *at;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (__builtin_add_overflow(size, parts[i]->len, &size))
            return NULL;
    }
    block = malloc(size);
    if (block == NULL)
        return NULL;
    atomic_fetch_add_explicit(&held, malloc_usable_size(block), memory_order_relaxed);
    atomic_init(&block->count, 1);
    at = block->bytes;
    block->message = *source;
    block->message.topic = copy_str(&at, source->topic);
    block->message.event = copy_str(&at, source->event);
    block->message.payload.bytes = copy_str(&at, source->payload.bytes);
    block->message.ref = copy_str(&at, source->ref);
    block->message.join_ref = copy_str(&at, source->join_ref);
    block->message._counted = 1;
    return &block->message;
}

/* The offset of the first character that is not well-formed. */
static size_t utf8_prefix(hub_str_t text)
{
    size_t done = 0;

    for (size_t len = 1; len <= 4 && done + len <= text.len; len++) {
        if (hub_utf8_valid(hub_str_n(text.base + done, len))) {
            done += len;
            len = 0;
        }
    }
    return done;
}

/* `what` is "topic" or "event", `status` what a bad one is answered with. */
static hub_status_t check_name(const char *what, hub_str_t name, hub_status_t status,
                               hub_error_t *error)
{
    char field[HUB_LOG_FIELD];

    if (name.len == 0)
        return hub_error_set(error, status, 0, "the %s is empty", what);
    if (name.len > NAME_BYTES_MAX)
        return hub_error_set(error, status, NAME_BYTES_MAX,
                             "the %s has %zu bytes, more than %d: %s", what, name.len,
                             NAME_BYTES_MAX, hub_log_escape(name, field));
    if (!hub_utf8_valid(name))
        return hub_error_set(error, status, utf8_prefix(name), "the %s is not valid UTF-8: %s",
                             what, hub_log_escape(name, field));
    return HUB_OK;
}

const char *hub_conn_id_format(hub_conn_id_t id, char buffer[HUB_CONN_ID_TEXT])
{
    snprintf(buffer, HUB_CONN_ID_TEXT, "%016llx%016llx", (unsigned long long)id.node,
             (unsigned long long)id.local);
    return buffer;
}

/* Sixteen digits, lower case as they are written: one id has one text. */
static bool parse_word(const char *digits, uint64_t *ret_word)
{
    uint64_t word = 0;

    for (int i = 0; i < 16; i++) {
        unsigned digit = (unsigned char)digits[i];

        if (digit - '0' < 10)
            digit -= '0';
        else if (digit - 'a' < 6)
            digit = digit - 'a' + 10;
        else
            return false;
        word = word << 4 | digit;
    }
    *ret_word = word;
    return true;
}

hub_status_t hub_conn_id_parse(hub_str_t text, hub_conn_id_t *ret_id)
{
    hub_conn_id_t id;

    if (text.len != HUB_CONN_ID_TEXT - 1 || !parse_word(text.base, &id.node) ||
        !parse_word(text.base + 16, &id.local))
        return HUB_ESYNTAX;
    *ret_id = id;
    return HUB_OK;
}

hub_status_t hub_payload_check(hub_payload_t payload, size_t max_depth, hub_error_t *error)
{
    hub_error_t scan_error;

    if (payload.kind == HUB_PAYLOAD_BINARY)
        return HUB_OK;
    if (payload.kind != HUB_PAYLOAD_JSON)
        return hub_error_set(error, HUB_EPAYLOAD, 0, "payload: no such kind %d", (int)payload.kind);
    if (hub_json_scan(payload.bytes, max_depth, NULL, &scan_error) == HUB_OK)
        return HUB_OK;
    return hub_error_set(error, HUB_EPAYLOAD, scan_error.offset, "payload: %s", scan_error.text);
}

hub_status_t hub_message_create(hub_str_t topic, hub_str_t event, hub_payload_t payload,
                                const hub_message_options_t *options, hub_message_t **ret_message,
                                hub_error_t *error)
{
    static const hub_message_options_t defaults;
    hub_message_t source = {.topic = topic, .event = event, .payload = payload}, *message;
    hub_status_t err;

    if (options == NULL)
        options = &defaults;
    err = check_name("topic", topic, HUB_ETOPIC, error);
    if (err == HUB_OK)
        err = check_name("event", event, HUB_EINVAL, error);
    if (err == HUB_OK && !options->payload_is_valid)
        err = hub_payload_check(payload, options->max_depth, error);
    if (err != HUB_OK)
        return err;
    source.origin = options->origin;
    source.position = options->position;
    source.flags = options->flags;
    message = block_create(&source);
    if (message == NULL)
        return hub_error_set(error, HUB_ENOMEM, 0, "no memory for a payload of %zu bytes",
                             payload.bytes.len);
    *ret_message = message;
    return HUB_OK;
}

hub_message_t *hub_message_retain(const hub_message_t *message)
{
    struct block *block = block_of(message);

    if (message->_counted == 0)
        return block_create(message);
    /* whoever retains holds a reference already, so there is nothing to order */
    atomic_fetch_add_explicit(&block->count, 1, memory_order_relaxed);
    return &block->message;
}

void hub_message_release(hub_message_t *message)
{
    if (message == NULL)
        return;
    assert(message->_counted != 0); /* a borrowed one is not the caller's to release */
    /* the last one to go must see all that the others did with the bytes */
    if (atomic_fetch_sub_explicit(&block_of(message)->count, 1, memory_order_acq_rel) != 1)
        return;
    atomic_fetch_sub_explicit(&held, malloc_usable_size(block_of(message)), memory_order_relaxed);
    free(block_of(message));
}
