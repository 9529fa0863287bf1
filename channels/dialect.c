/* SPDX-License-Identifier: MIT */
/* Which dialect a connection speaks, and the names that no program may use for its own events:
 * those of every dialect, because one channel serves clients of all of them. */
#include "channels/dialect.h"

#include "channels/internal.h"

#include "bus/json.h"
#include "bus/plain.h"

const hub__dialect_t *hub__dialect(hub__dialect_index_t index)
{
    static const hub__dialect_t *const dialects[HUB__DIALECT_COUNT] = {
        [HUB__DIALECT_NATIVE] = &hub__dialect_native,
        [HUB__DIALECT_PHOENIX1] = &hub__dialect_phoenix1,
        [HUB__DIALECT_PHOENIX2] = &hub__dialect_phoenix2,
    };

    return dialects[index];
}

/* A number as a semantic version has it: no leading zero. */
static bool is_version_number(hub_str_t text)
{
    if (text.len == 0 || (text.len > 1 && text.base[0] == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.base[i] < '0' || text.base[i] > '9')
            return false;
    }
    return true;
}

const hub__dialect_t *hub__dialect_by_vsn(hub_str_t vsn)
{
    const hub__dialect_t *dialect;

    if (hub_str_starts_with(vsn, HUB_STR("1.0.")))
        dialect = &hub__dialect_phoenix1;
    else if (hub_str_starts_with(vsn, HUB_STR("2.0.")))
        dialect = &hub__dialect_phoenix2;
    else
        return NULL;
    return is_version_number(hub_str_n(vsn.base + 4, vsn.len - 4)) ? dialect : NULL;
}

static bool is_one_of(hub_str_t name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (hub__str_is(name, *names))
            return true;
    }
    return false;
}

bool hub__event_is_servers(hub_str_t event)
{
    static const char *const names[] = {"reply",          "error",         "close", "gap",
                                        "presence_state", "presence_diff", NULL};

    return is_one_of(event, names);
}

bool hub__event_is_obeyed(hub_str_t event)
{
    static const char *const names[] = {"phx_reply", "phx_close", "phx_error", NULL};

    return hub__event_is_servers(event) || is_one_of(event, names);
}

bool hub__event_is_reserved(hub_str_t event)
{
    static const char *const names[] = {"join", "leave", "exit", "heartbeat", NULL};

    return hub__event_is_servers(event) || is_one_of(event, names) ||
           hub_str_starts_with(event, HUB_STR("phx_"));
}

/* The controls are those of Unicode: below the space, DEL, and U+0080 to U+009F. */
size_t hub__topic_forbidden(hub_str_t text, bool allow_space)
{
    const uint8_t *bytes = (const uint8_t *)text.base;
    size_t i = 0;

    /* mostly there is nothing of that, and the last eight bytes may be looked at twice */
    while (text.len - i >= 8 && hub__all_visible(bytes + i))
        i += 8;
    if (text.len >= 8 && text.len - i < 8 && hub__all_visible(bytes + text.len - 8))
        return text.len;
    for (; i < text.len; i++) {
        if ((uint8_t)(bytes[i] - 0x21) < 0x7f - 0x21)
            continue;
        if (bytes[i] < ' ' || (bytes[i] == ' ' && !allow_space) || bytes[i] == 0x7f)
            return i;
        if (bytes[i] == 0xc2 && i + 1 < text.len && bytes[i + 1] < 0xa0)
            return i;
    }
    return text.len;
}

hub_status_t hub__topic_check(hub_str_t topic, size_t max_bytes, hub_error_t *error)
{
    size_t forbidden;

    if (topic.len == 0)
        return hub_error_set(error, HUB_ETOPIC, 0, "the topic is empty");
    if (topic.len > max_bytes)
        return hub_error_set(error, HUB_ETOPIC, max_bytes, "the topic is longer than %zu bytes",
                             max_bytes);
    if (!hub_utf8_valid(topic))
        return hub_error_set(error, HUB_ETOPIC, 0, "the topic is not valid UTF-8");
    forbidden = hub__topic_forbidden(topic, false);
    if (forbidden < topic.len)
        return hub_error_set(error, HUB_ETOPIC, forbidden,
                             "the topic has a space or control character at byte %zu", forbidden);
    return HUB_OK;
}
