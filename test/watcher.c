/* SPDX-License-Identifier: MIT */
/* A list of who is there, merged from what a member is told. */
#include "test/watcher.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *watcher_by_refs(const json_t *presences)
{
    json_t *view = json_object(), *presence, *meta;
    const char *key;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)presences, key, presence)
    {
        json_t *metas = json_object();

        json_array_foreach(json_object_get(presence, "metas"), i, meta)
            json_object_set(metas, json_string_value(json_object_get(meta, "phx_ref")), meta);
        json_object_set_new(view, key, metas);
    }
    return view;
}

static unsigned count_metas(const json_t *presences)
{
    const char *key;
    json_t *presence;
    size_t count = 0;

    json_object_foreach((json_t *)(uintptr_t)presences, key, presence) count +=
        json_array_size(json_object_get(presence, "metas"));
    return (unsigned)count;
}

/* As phoenix.js merges: by reference, whatever it has already. */
static void merge(json_t *view, const json_t *diff)
{
    json_t *joins = watcher_by_refs(json_object_get(diff, "joins"));
    json_t *leaves = watcher_by_refs(json_object_get(diff, "leaves")), *metas, *meta;
    const char *key, *ref;

    json_object_foreach(joins, key, metas)
    {
        if (json_object_get(view, key) == NULL)
            json_object_set_new(view, key, json_object());
        json_object_update(json_object_get(view, key), metas);
    }
    json_object_foreach(leaves, key, metas)
    {
        json_object_foreach(metas, ref, meta) json_object_del(json_object_get(view, key), ref);
        if (json_object_size(json_object_get(view, key)) == 0)
            json_object_del(view, key);
    }
    json_decref(joins);
    json_decref(leaves);
}

void watcher_take(watcher_t *watcher)
{
    client_frame_t frame = client_next(watcher->client);
    json_t *value = json_loads(frame.payload.base, JSON_REJECT_DUPLICATES, NULL);
    const json_t *payload;
    const char *event;

    if (value == NULL || frame.first != CLIENT_TEXT)
        fail_msg("an unexpected frame %02x: %s", frame.first, frame.payload.base);
    event =
        json_string_value(watcher->v2 ? json_array_get(value, 3) : json_object_get(value, "event"));
    payload = watcher->v2 ? json_array_get(value, 4) : json_object_get(value, "payload");
    if (strcmp(event, "presence_state") == 0) {
        assert_true(watcher->joined); /* never before the join reply */
        json_decref(watcher->view);
        watcher->view = watcher_by_refs(payload);
    } else if (strcmp(event, "presence_diff") == 0) {
        assert_true(watcher->joined);
        if (watcher->view != NULL)
            merge(watcher->view, payload);
        watcher->joins += count_metas(json_object_get(payload, "joins"));
        watcher->leaves += count_metas(json_object_get(payload, "leaves"));
    } else {
        watcher->joined = true; /* a reply */
    }
    json_decref(value);
}

/* "alice:2 bob:1": keys and how many metas they have. To be freed. */
static char *summary(const json_t *view)
{
    json_t *counts = json_object(), *metas;
    const char *key;
    char *text;

    json_object_foreach((json_t *)(uintptr_t)view, key, metas)
        json_object_set_new(counts, key, json_integer((json_int_t)json_object_size(metas)));
    text = json_dumps(counts, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(counts);
    return text;
}

bool watcher_sees(const watcher_t *watcher, const char *wanted)
{
    char *text = summary(watcher->view), *json = client_quotes(wanted);
    bool same = watcher->view != NULL && strcmp(text, json) == 0;

    free(json);
    free(text);
    return same;
}

void watcher_expect(watcher_t *watcher, const char *wanted)
{
    while (!watcher_sees(watcher, wanted))
        watcher_take(watcher);
}

watcher_t watcher_begin(client_t *client, const char *target, const char *topic, const char *key)
{
    watcher_t watcher = {.client = client, .v2 = strstr(target, "vsn=2") != NULL};
    char frame[1200];

    if (watcher.v2)
        snprintf(frame, sizeof(frame), "['7','8','%s','phx_join',{'key':'%s'}]", topic, key);
    else
        snprintf(frame, sizeof(frame),
                 "{'topic':'%s','event':'%s','payload':{'key':'%s'},'ref':'8'}", topic,
                 strstr(target, "vsn") != NULL ? "phx_join" : "join", key);
    client_json(watcher.client, frame);
    return watcher;
}

void watcher_await_state(watcher_t *watcher)
{
    while (watcher->view == NULL)
        watcher_take(watcher);
}

void watcher_forget(watcher_t *watcher)
{
    json_decref(watcher->view);
    watcher->view = NULL;
}
