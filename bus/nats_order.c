/* SPDX-License-Identifier: MIT */
/* Looked for first and made only where it is missing: so a node needs no right to make it where an
 * operator did, who may have given it replicas or limits that are none of ours. */
#include "bus/nats_order.h"

#include <stdio.h>

#include "bus/json.h"
#include "bus/log.h"

#define ANSWER_MS 2000 /* JetStream's own answers take a fraction of that */
#define JSON_DEPTH 16
#define STREAM_NOT_FOUND "10059"

extern unsigned hub__nats_order_again_ms; /* tests don't wait so long */
unsigned hub__nats_order_again_ms = 500;

/* ---- JSON ---- */

/* False: the object has no such member, or is none. */
static bool find(hub_str_t object, const char *key, hub_json_value_t *ret_value)
{
    hub_json_cursor_t cursor;
    hub_json_value_t name, value;

    if (hub_json_open(&cursor, object, HUB_JSON_OBJECT, JSON_DEPTH) != HUB_OK)
        return false;
    while (hub_json_next(&cursor, &name, &value) == HUB_OK) {
        if (hub_str_equals(hub_str_n(name.raw.base + 1, name.raw.len - 2), hub_str(key))) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool is_text(hub_json_value_t value, const char *text)
{
    return value.kind == HUB_JSON_STRING && !value.escaped &&
           hub_str_equals(hub_str_n(value.raw.base + 1, value.raw.len - 2), hub_str(text));
}

static bool has_text(hub_str_t object, const char *key, const char *text)
{
    hub_json_value_t value;

    return find(object, key, &value) && is_text(value, text);
}

/* Of the error in an answer; the absent string: there is none. */
static hub_str_t error_member(hub_str_t answer, const char *key)
{
    hub_json_value_t error, value;

    if (!find(answer, "error", &error) || !find(error.raw, key, &value))
        return hub_str(NULL);
    if (value.kind != HUB_JSON_STRING)
        return value.raw;
    return hub_str_n(value.raw.base + 1, value.raw.len - 2);
}

hub_str_t hub__nats_order_ack_error(hub_str_t answer)
{
    return error_member(answer, "description");
}

bool hub__nats_order_is_ack(const hub__nats_order_t *order, hub_str_t answer)
{
    return hub__nats_order_ack_error(answer).base == NULL &&
           has_text(answer, "stream", order->stream);
}

/* ---- the stream's configuration ---- */

/* Each message replaces the one before: nothing has to be kept for it to be republished. */
static void write_config(const hub__nats_order_t *order, hub__buffer_t *body)
{
    hub__buffer_printf(
        body,
        "{\"name\":\"%s\",\"subjects\":[\"%s.order.*\"],\"republish\":{\"src\":\"%s.order.*\","
        "\"dest\":\"%s.$1\"},\"storage\":\"memory\",\"retention\":\"limits\",\"discard\":\"old\","
        "\"max_msgs\":1,\"max_bytes\":-1,\"max_age\":0,\"max_msg_size\":-1,\"max_consumers\":-1,"
        "\"num_replicas\":1}",
        order->stream, order->name, order->name, order->name);
}

static bool is_true(hub_str_t object, const char *key)
{
    hub_json_value_t value;

    return find(object, key, &value) && value.kind == HUB_JSON_TRUE;
}

static bool has(hub_str_t object, const char *key)
{
    hub_json_value_t value;

    return find(object, key, &value) && value.kind != HUB_JSON_NULL;
}

/* Whether the array has this text and no more. */
static bool has_alone(hub_str_t object, const char *key, const char *text)
{
    hub_json_value_t array, first, second;
    hub_json_cursor_t cursor;

    return find(object, key, &array) &&
           hub_json_open(&cursor, array.raw, HUB_JSON_ARRAY, JSON_DEPTH) == HUB_OK &&
           hub_json_next(&cursor, NULL, &first) == HUB_OK && is_text(first, text) &&
           hub_json_next(&cursor, NULL, &second) != HUB_OK;
}

/* What is wrong with somebody else's, or NULL. */
static const char *find_fault(const hub__nats_order_t *order, hub_str_t config)
{
    char source[HUB__SUBJECT_NAME_BYTES + 16], target[2][HUB__SUBJECT_NAME_BYTES + 24];
    hub_json_value_t republish;

    snprintf(source, sizeof(source), "%s.order.*", order->name);
    snprintf(target[0], sizeof(target[0]), "%s.$1", order->name);
    snprintf(target[1], sizeof(target[1]), "%s.{{wildcard(1)}}", order->name);
    if (!has_alone(config, "subjects", source))
        return "its subjects";
    if (!find(config, "republish", &republish) || !has_text(republish.raw, "src", source) ||
        !(has_text(republish.raw, "dest", target[0]) || has_text(republish.raw, "dest", target[1])))
        return "its republish";
    if (is_true(republish.raw, "headers_only"))
        return "its republish of headers only";
    if (has(config, "sources") || has(config, "mirror"))
        return "its sources";
    if (has(config, "subject_transform")) /* what is renamed is not republished */
        return "its subject_transform";
    if (is_true(config, "no_ack"))
        return "its no_ack";
    if (!has_text(config, "retention", "limits")) /* others republish nothing without a consumer */
        return "its retention";
    return NULL;
}

/* ---- states ---- */

static void enter(hub__nats_order_t *order, hub__nats_order_state_t state)
{
    order->state = state;
    order->asked = false;
    order->due_ms = 0;
}

static void tell_that_it_stands(hub__nats_order_t *order)
{
    order->reason[0] = '\0';
    order->doubted = false;
    hub_log(HUB_LOG_INFO, "bus.order", "backend=nats stream=%s how=%s", order->stream, order->how);
}

static void stand(hub__nats_order_t *order, const char *how)
{
    enter(order, HUB__NATS_ORDER_STANDS);
    atomic_store(&order->refused, false);
    order->how = how;
    if (!order->doubted)
        tell_that_it_stands(order);
}

void hub__nats_order_prove(hub__nats_order_t *order)
{
    if (order->doubted)
        tell_that_it_stands(order);
}

/* Where nothing but the reason is ever wrong anew, there is one line. */
static void tell_reason(hub__nats_order_t *order, hub_log_level_t level, const char *event,
                        const char *why)
{
    char field[HUB_LOG_FIELD];

    if (strcmp(order->reason, why) == 0)
        return;
    snprintf(order->reason, sizeof(order->reason), "%s", why);
    hub_log(level, event, "backend=nats stream=%s why=%s", order->stream,
            hub_log_escape(hub_str(order->reason), field));
}

void hub__nats_order_refuse(hub__nats_order_t *order, const char *why, uint64_t now_ms)
{
    order->doubted |= order->state == HUB__NATS_ORDER_STANDS;
    enter(order, HUB__NATS_ORDER_REFUSED);
    order->due_ms = now_ms + hub__nats_order_again_ms;
    atomic_store(&order->refused, true);
    tell_reason(order, HUB_LOG_ERROR, "bus.order_refused", why);
}

static void refuse_as_said(hub__nats_order_t *order, hub_str_t said, uint64_t now_ms)
{
    char why[sizeof(order->reason)];

    snprintf(why, sizeof(why), "%s: %.*s", order->request, (int)(said.len < 160 ? said.len : 160),
             said.base == NULL ? "" : said.base);
    hub__nats_order_refuse(order, why, now_ms);
}

static void take_config(hub__nats_order_t *order, hub_str_t config, uint64_t now_ms)
{
    const char *fault = find_fault(order, config);
    char why[sizeof(order->reason)];

    if (fault == NULL) {
        stand(order, order->state == HUB__NATS_ORDER_MAKING ? "made" : "found");
        return;
    }
    snprintf(why, sizeof(why), "this stream is not as nodes make it (%s): remove it", fault);
    hub__nats_order_refuse(order, why, now_ms);
}

void hub__nats_order_answer(hub__nats_order_t *order, hub_str_t answer, bool nobody,
                            uint64_t now_ms)
{
    hub_json_value_t config;
    hub_str_t code = error_member(answer, "err_code");

    if (!order->asked)
        return;
    if (nobody)
        hub__nats_order_refuse(order, "no JetStream there: nats-server -js has it", now_ms);
    else if (find(answer, "config", &config))
        take_config(order, config.raw, now_ms);
    else if (order->state == HUB__NATS_ORDER_LOOKING &&
             hub_str_equals(code, HUB_STR(STREAM_NOT_FOUND)))
        enter(order, HUB__NATS_ORDER_MAKING);
    else
        refuse_as_said(order, code.base == NULL ? answer : error_member(answer, "description"),
                       now_ms);
}

void hub__nats_order_lose(hub__nats_order_t *order, const char *why)
{
    enter(order, HUB__NATS_ORDER_IDLE);
    order->doubted = true;
    tell_reason(order, HUB_LOG_WARN, "bus.order_lost", why);
}

/* ---- asking ---- */

static void expire(hub__nats_order_t *order, uint64_t now_ms)
{
    if (now_ms < order->due_ms)
        return;
    if (order->state == HUB__NATS_ORDER_REFUSED)
        enter(order, HUB__NATS_ORDER_IDLE);
    else if (order->asked)
        refuse_as_said(order, HUB_STR("no answer"), now_ms);
}

bool hub__nats_order_ask(hub__nats_order_t *order, uint64_t now_ms, hub__buffer_t *ret_body)
{
    bool looks;

    expire(order, now_ms);
    if (order->state == HUB__NATS_ORDER_IDLE && atomic_load(&order->wanted))
        enter(order, HUB__NATS_ORDER_LOOKING);
    looks = order->state == HUB__NATS_ORDER_LOOKING;
    if (order->asked || (!looks && order->state != HUB__NATS_ORDER_MAKING))
        return false;
    order->asked = true;
    order->due_ms = now_ms + ANSWER_MS;
    snprintf(order->request, sizeof(order->request), "$JS.API.STREAM.%s.%s",
             looks ? "INFO" : "CREATE", order->stream);
    *ret_body = (hub__buffer_t){0};
    if (!looks)
        write_config(order, ret_body);
    return true;
}

uint64_t hub__nats_order_due_ms(const hub__nats_order_t *order)
{
    return order->due_ms == 0 ? UINT64_MAX : order->due_ms;
}

/* ---- life ---- */

void hub__nats_order_init(hub__nats_order_t *order, const char *name)
{
    *order = (hub__nats_order_t){.name = name};
    atomic_init(&order->wanted, false);
    atomic_init(&order->refused, false);
    snprintf(order->stream, sizeof(order->stream), "sockethub-%s", name);
}

void hub__nats_order_begin(hub__nats_order_t *order)
{
    enter(order, HUB__NATS_ORDER_IDLE);
}
