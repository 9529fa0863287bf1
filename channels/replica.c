/* SPDX-License-Identifier: MIT */
/* What other nodes say is read as carefully as what clients do: a node of another version, or a
 * stranger on the broker, must not bring this one down. */
#include "channels/replica.h"

#include "bus/json.h"

static const char *const EVENTS[HUB__REPLICA_COUNT] = {
    [HUB__REPLICA_HELLO] = "hello", [HUB__REPLICA_DELTA] = "delta", [HUB__REPLICA_STATE] = "state",
    [HUB__REPLICA_BEAT] = "beat",   [HUB__REPLICA_BYE] = "bye",
};

hub_str_t hub__replica_event(hub__replica_kind_t kind)
{
    return hub_str(EVENTS[kind]);
}

hub__replica_kind_t hub__replica_kind(hub_str_t event)
{
    unsigned kind = 0;

    while (kind != HUB__REPLICA_COUNT && !hub_str_equals(hub_str(EVENTS[kind]), event))
        ++kind;
    return (hub__replica_kind_t)kind;
}

/* ---- reading ---- */

static bool read_number(const hub_json_value_t *value, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (value->kind != HUB_JSON_NUMBER || value->raw.len > 19)
        return false;
    for (size_t i = 0; i != value->raw.len; ++i) {
        unsigned digit = (unsigned char)value->raw.base[i] - (unsigned)'0';

        if (digit > 9)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return number <= max;
}

/* Sixteen hexadecimal digits. */
static bool read_owner(const hub_json_value_t *value, uint64_t *ret_owner)
{
    uint64_t owner = 0;

    if (value->kind != HUB_JSON_STRING || value->raw.len != 18)
        return false;
    for (size_t i = 1; i != 17; ++i) {
        char c = value->raw.base[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (digit < 0)
            return false;
        owner = owner << 4 | (unsigned)digit;
    }
    *ret_owner = owner;
    return true;
}

static bool read_array(const hub_json_value_t *value, hub_str_t *ret_array)
{
    *ret_array = value->raw;
    return value->kind == HUB_JSON_ARRAY;
}

static bool read_flag(const hub_json_value_t *value, bool *ret_flag)
{
    *ret_flag = value->kind == HUB_JSON_TRUE;
    return value->kind == HUB_JSON_TRUE || value->kind == HUB_JSON_FALSE;
}

static bool read_member(hub_str_t name, const hub_json_value_t *value, hub__replica_t *replica)
{
    if (hub_str_equals(name, HUB_STR("\"to\"")))
        return read_owner(value, &replica->to);
    if (hub_str_equals(name, HUB_STR("\"from\"")))
        return read_number(value, UINT64_MAX, &replica->from);
    if (hub_str_equals(name, HUB_STR("\"clock\"")))
        return read_number(value, UINT64_MAX, &replica->clock);
    if (hub_str_equals(name, HUB_STR("\"joins\"")))
        return read_array(value, &replica->joins);
    if (hub_str_equals(name, HUB_STR("\"leaves\"")))
        return read_array(value, &replica->leaves);
    if (hub_str_equals(name, HUB_STR("\"have\"")))
        return read_array(value, &replica->have);
    if (hub_str_equals(name, HUB_STR("\"again\"")))
        return read_flag(value, &replica->again);
    if (hub_str_equals(name, HUB_STR("\"fresh\"")))
        return read_flag(value, &replica->fresh);
    if (hub_str_equals(name, HUB_STR("\"first\"")))
        return read_flag(value, &replica->first);
    if (hub_str_equals(name, HUB_STR("\"last\"")))
        return read_flag(value, &replica->last);
    if (hub_str_equals(name, HUB_STR("\"end\"")))
        return read_flag(value, &replica->end);
    return true;
}

hub_status_t hub__replica_decode(hub_str_t payload, hub__replica_t *ret_replica)
{
    hub__replica_t replica = {0};
    hub_json_cursor_t cursor;
    hub_json_value_t key, value;
    hub_status_t err = hub_json_open(&cursor, payload, HUB_JSON_OBJECT, HUB_JSON_DEPTH_MAX);

    while (err == HUB_OK && (err = hub_json_next(&cursor, &key, &value)) == HUB_OK)
        if (!read_member(key.raw, &value, &replica))
            return HUB_EPROTOCOL;
    if (err != HUB_ENOTFOUND)
        return HUB_EPROTOCOL;
    *ret_replica = replica;
    return HUB_OK;
}

/* Its key is unescaped into `key_bytes`, its meta cleaned into `meta`. */
static bool read_join(hub_str_t row, char *key_bytes, hub__buffer_t *meta,
                      hub__tracking_facts_t *ret_facts)
{
    hub_json_cursor_t cursor;
    hub_json_value_t fields[5];
    size_t count = 0, key_len;
    hub_status_t err = hub_json_open(&cursor, row, HUB_JSON_ARRAY, HUB_JSON_DEPTH_MAX);

    while (err == HUB_OK && count != 5 &&
           (err = hub_json_next(&cursor, NULL, &fields[count])) == HUB_OK)
        ++count;
    if (count != 5 || !read_number(&fields[0], HUB__PRESENCE_NUMBER_MAX, &ret_facts->number) ||
        ret_facts->number == 0 || !read_number(&fields[1], UINT64_MAX, &ret_facts->stamp_us) ||
        fields[2].kind != HUB_JSON_STRING ||
        hub_json_unescape(fields[2].raw, key_bytes, HUB__PRESENCE_KEY_MAX, &key_len) != HUB_OK ||
        !read_number(&fields[4], HUB__PRESENCE_NUMBER_MAX, &ret_facts->previous) ||
        hub__roster_meta(hub_json(fields[3].raw), meta) != HUB_OK)
        return false;
    ret_facts->key = hub_str_n(key_bytes, key_len);
    ret_facts->meta = hub__buffer_str(meta);
    return true;
}

hub_status_t hub__replica_joins(hub_str_t joins, hub__buffer_t *meta,
                                bool (*on_join)(const hub__tracking_facts_t *facts, void *user),
                                void *user)
{
    char key_bytes[HUB__PRESENCE_KEY_MAX];
    hub__tracking_facts_t facts;
    hub_json_cursor_t cursor;
    hub_json_value_t row;
    hub_status_t err;

    if (joins.len == 0)
        return HUB_OK;
    err = hub_json_open(&cursor, joins, HUB_JSON_ARRAY, HUB_JSON_DEPTH_MAX);
    while (err == HUB_OK && (err = hub_json_next(&cursor, NULL, &row)) == HUB_OK) {
        if (row.kind != HUB_JSON_ARRAY || !read_join(row.raw, key_bytes, meta, &facts))
            return HUB_EPROTOCOL;
        if (!on_join(&facts, user))
            return HUB_OK;
    }
    return err == HUB_ENOTFOUND ? HUB_OK : HUB_EPROTOCOL;
}

hub_status_t hub__replica_leaves(hub_str_t leaves, void (*on_leave)(uint64_t number, void *user),
                                 void *user)
{
    hub_json_cursor_t cursor;
    hub_json_value_t value;
    uint64_t number;
    hub_status_t err;

    if (leaves.len == 0)
        return HUB_OK;
    err = hub_json_open(&cursor, leaves, HUB_JSON_ARRAY, HUB_JSON_DEPTH_MAX);
    while (err == HUB_OK && (err = hub_json_next(&cursor, NULL, &value)) == HUB_OK) {
        if (!read_number(&value, HUB__PRESENCE_NUMBER_MAX, &number))
            return HUB_EPROTOCOL;
        on_leave(number, user);
    }
    return err == HUB_ENOTFOUND ? HUB_OK : HUB_EPROTOCOL;
}

bool hub__replica_has_owner(hub_str_t have, uint64_t owner)
{
    hub_json_cursor_t cursor;
    hub_json_value_t value;
    uint64_t other;

    if (have.len == 0 || hub_json_open(&cursor, have, HUB_JSON_ARRAY, HUB_JSON_DEPTH_MAX) != HUB_OK)
        return false;
    while (hub_json_next(&cursor, NULL, &value) == HUB_OK)
        if (read_owner(&value, &other) && other == owner)
            return true;
    return false;
}

/* ---- writing ---- */

static void append_comma(hub__buffer_t *out)
{
    if (out->len != 0)
        HUB__APPEND_LITERAL(out, ",");
}

size_t hub__replica_row_bound(hub_str_t key, size_t meta_len)
{
    size_t bound = 3 * 20 + sizeof("[,,\"\",{},]") + key.len + meta_len;

    for (size_t i = 0; i != key.len; ++i)
        if ((unsigned char)key.base[i] < 0x20 || key.base[i] == '"' || key.base[i] == '\\')
            bound += 5; /* \u001f */
    return bound;
}

void hub__replica_append_join(hub__buffer_t *joins, const hub__tracking_t *tracking)
{
    append_comma(joins);
    hub__buffer_printf(joins, "[%llu,%llu,", (unsigned long long)tracking->number,
                       (unsigned long long)tracking->stamp_us);
    hub__buffer_json_string(joins, hub__tracking_key(tracking));
    HUB__APPEND_LITERAL(joins, ",{");
    hub__buffer_append(joins, hub__tracking_meta(tracking));
    hub__buffer_printf(joins, "},%llu]", (unsigned long long)tracking->previous);
}

void hub__replica_append_leave(hub__buffer_t *leaves, uint64_t number)
{
    append_comma(leaves);
    hub__buffer_printf(leaves, "%llu", (unsigned long long)number);
}

void hub__replica_append_owner(hub__buffer_t *have, uint64_t owner)
{
    append_comma(have);
    hub__buffer_printf(have, "\"%016llx\"", (unsigned long long)owner);
}

static void append_number(hub__buffer_t *out, const char *name, uint64_t value)
{
    if (value != 0)
        hub__buffer_printf(out, "%s\"%s\":%llu", out->len > 1 ? "," : "", name,
                           (unsigned long long)value);
}

static void append_flag(hub__buffer_t *out, const char *name, bool value)
{
    if (value)
        hub__buffer_printf(out, "%s\"%s\":true", out->len > 1 ? "," : "", name);
}

static void append_rows(hub__buffer_t *out, const char *name, hub_str_t rows)
{
    if (rows.len == 0)
        return;
    hub__buffer_printf(out, "%s\"%s\":[", out->len > 1 ? "," : "", name);
    hub__buffer_append(out, rows);
    HUB__APPEND_LITERAL(out, "]");
}

void hub__replica_encode(const hub__replica_t *replica, hub__buffer_t *out)
{
    out->len = 0;
    HUB__APPEND_LITERAL(out, "{");
    if (replica->to != 0)
        hub__buffer_printf(out, "\"to\":\"%016llx\"", (unsigned long long)replica->to);
    append_number(out, "from", replica->from);
    append_number(out, "clock", replica->clock);
    append_flag(out, "fresh", replica->fresh);
    append_flag(out, "again", replica->again);
    append_flag(out, "first", replica->first);
    append_flag(out, "last", replica->last);
    append_flag(out, "end", replica->end);
    append_rows(out, "joins", replica->joins);
    append_rows(out, "leaves", replica->leaves);
    append_rows(out, "have", replica->have);
    HUB__APPEND_LITERAL(out, "}");
}
