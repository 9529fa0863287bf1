/* SPDX-License-Identifier: MIT */
/* Keys and trackings of one topic, and the difference between what they are and what was told of
 * them. Only keys that changed are looked at when a diff is made; with a sample, only those in it.
 */
#include "channels/roster.h"

#include <sodium/utils.h>
#include <stdlib.h>

#include "bus/json.h"
#include "bus/log.h"

#define DIFF_MS 50
#define KEYS_MAX 1000
#define SAMPLE_KEYS 100
#define STATE_BYTES 262144
#define KEY_BYTES 16      /* around one: "":{"metas":[]}, */
#define META_OWN_BYTES 32 /* {"phx_ref":"…"}, */
#define META_BYTES 4096
#define META_BYTES_CEILING 65536
#define KEYS_PER_MEMBER 16
#define META_DEPTH (HUB_JSON_DEPTH_MAX - 3) /* what it is in on its way is a document as well */
#define REF_RAW_BYTES 12

struct hub__roster_key {
    hub__table_node_t node; /* in its roster, by name */
    hub__roster_key_t *newer, *older;
    hub__roster_key_t *dirty_next;
    hub__tracking_t *first, *last; /* oldest first */
    hub__tracking_t *placed;       /* the last one that came, unless it has left */
    hub__tracking_t *left;         /* told, and gone; latest first */
    void *slot;
    size_t bytes; /* in a state; 0: without trackings */
    uint32_t count;
    uint8_t name_len;
    bool dirty;
    bool sampled;
    char name[];
};

struct hub__roster {
    hub_str_t topic;
    const hub_presence_options_t *options;
    hub__share_t *shares;
    hub__table_t trackings, keys;
    hub__roster_key_t *first, *last; /* with trackings, oldest first */
    size_t key_count;
    size_t bytes;
    hub__roster_key_t *dirty_first, **dirty_last;
    hub_presence_row_t *rows; /* for on_fetch */
    size_t row_count, row_capacity;
    bool is_sample;
    size_t sampled, sampled_bytes;
    size_t told_keys, told_metas; /* as the counts say that members have */
    uint64_t told_number;
};

/* ---- options ---- */

static void set_default(uint32_t *option, uint32_t value)
{
    if (*option == 0)
        *option = value;
}

hub_status_t hub__presence_options_resolve(hub_presence_options_t *options, hub_error_t *error)
{
    set_default(&options->diff_ms, DIFF_MS);
    set_default(&options->keys_max, KEYS_MAX);
    set_default(&options->state_bytes, STATE_BYTES);
    if (options->sample_keys == 0)
        options->sample_keys = options->keys_max < SAMPLE_KEYS ? options->keys_max : SAMPLE_KEYS;
    set_default(&options->meta_bytes, META_BYTES);
    set_default(&options->keys_per_member, KEYS_PER_MEMBER);
    if (options->meta_bytes > META_BYTES_CEILING)
        return hub_error_set(error, HUB_EINVAL, 0, "presence: meta_bytes = %u: at most %d",
                             options->meta_bytes, META_BYTES_CEILING);
    if (options->sample_keys > options->keys_max)
        return hub_error_set(error, HUB_EINVAL, 0,
                             "presence: sample_keys = %u: at most keys_max, which is %u",
                             options->sample_keys, options->keys_max);
    return HUB_OK;
}

/* ---- metas ---- */

static bool is_named(const hub_json_value_t *key, const char *const *names)
{
    char text[16];
    size_t len;

    if (hub_json_unescape(key->raw, text, sizeof(text), &len) != HUB_OK)
        return false;
    for (; *names != NULL; ++names)
        if (hub_str_equals(hub_str_n(text, len), hub_str(*names)))
            return true;
    return false;
}

/* The members of an object but those of these names, without the braces. */
static hub_status_t copy_members(hub_str_t object, const char *const *names, hub__buffer_t *out)
{
    hub_json_cursor_t cursor;
    hub_json_value_t key, value;
    hub_status_t err = hub_json_open(&cursor, object, HUB_JSON_OBJECT, META_DEPTH);
    bool first = true;

    while (err == HUB_OK && (err = hub_json_next(&cursor, &key, &value)) == HUB_OK) {
        if (is_named(&key, names))
            continue;
        if (!first)
            HUB__APPEND_LITERAL(out, ",");
        first = false;
        hub__buffer_append(out, key.raw);
        HUB__APPEND_LITERAL(out, ":");
        hub__buffer_append(out, value.raw);
    }
    return err == HUB_ENOTFOUND ? HUB_OK : HUB_EPAYLOAD;
}

hub_status_t hub__roster_meta(hub_payload_t payload, hub__buffer_t *ret_meta)
{
    static const char *const names[] = {"phx_ref", "phx_ref_prev", NULL};

    ret_meta->len = 0;
    return payload.kind == HUB_PAYLOAD_JSON ? copy_members(payload.bytes, names, ret_meta)
                                            : HUB_EPAYLOAD;
}

static void put_number(unsigned char *at, uint64_t number)
{
    for (int i = 0; i != 6; ++i)
        at[i] = (unsigned char)(number >> (40 - 8 * i));
}

static void append_ref(hub__buffer_t *out, uint64_t owner, uint64_t number)
{
    unsigned char raw[REF_RAW_BYTES];
    char text[HUB__PRESENCE_REF_BYTES + 1];

    put_number(raw, owner);
    put_number(raw + 6, number);
    sodium_bin2base64(text, sizeof(text), raw, sizeof(raw),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    hub__buffer_append(out, hub_str_n(text, HUB__PRESENCE_REF_BYTES));
}

static void append_meta(hub__buffer_t *out, const hub__tracking_t *tracking)
{
    HUB__APPEND_LITERAL(out, "{");
    hub__buffer_append(out, hub__tracking_meta(tracking));
    if (tracking->meta_len != 0)
        HUB__APPEND_LITERAL(out, ",");
    HUB__APPEND_LITERAL(out, "\"phx_ref\":\"");
    append_ref(out, tracking->owner, tracking->number);
    if (tracking->previous != 0) {
        HUB__APPEND_LITERAL(out, "\",\"phx_ref_prev\":\"");
        append_ref(out, tracking->owner, tracking->previous);
    }
    HUB__APPEND_LITERAL(out, "\"}");
}

/* ---- keys ---- */

static hub_str_t key_name(const hub__roster_key_t *key)
{
    return hub_str_n(key->name, key->name_len);
}

static hub__roster_key_t *key_find(const hub__roster_t *roster, uint64_t hash, hub_str_t name)
{
    for (hub__table_node_t *node = hub__table_chain(&roster->keys, hash); node != NULL;
         node = node->next) {
        hub__roster_key_t *key = HUB__CONTAINER(node, hub__roster_key_t, node);

        if (node->hash == hash && hub_str_equals(key_name(key), name))
            return key;
    }
    return NULL;
}

static hub__roster_key_t *key_get(hub__roster_t *roster, hub_str_t name)
{
    uint64_t hash = hub__hash(name);
    hub__roster_key_t *key = key_find(roster, hash, name);

    if (key != NULL || (key = calloc(1, sizeof(*key) + name.len)) == NULL)
        return key;
    key->node.hash = hash;
    key->name_len = (uint8_t)name.len;
    memcpy(key->name, name.base, name.len);
    hub__table_insert(&roster->keys, &key->node);
    return key;
}

static void key_touch(hub__roster_t *roster, hub__roster_key_t *key)
{
    if (key->dirty)
        return;
    key->dirty = true;
    key->dirty_next = NULL;
    *roster->dirty_last = key;
    roster->dirty_last = &key->dirty_next;
}

static size_t bytes_of(const hub__tracking_t *tracking)
{
    size_t refs = tracking->previous == 0 ? 1 : 2;

    return tracking->meta_len + refs * META_OWN_BYTES;
}

static void key_count_bytes(hub__roster_t *roster, hub__roster_key_t *key, size_t more, size_t less)
{
    key->bytes = key->bytes + more - less;
    roster->bytes = roster->bytes + more - less;
    if (key->sampled)
        roster->sampled_bytes = roster->sampled_bytes + more - less;
}

/* From now on it counts, as the newest. */
static void key_appear(hub__roster_t *roster, hub__roster_key_t *key)
{
    key->newer = NULL;
    key->older = roster->last;
    if (roster->last != NULL)
        roster->last->newer = key;
    else
        roster->first = key;
    roster->last = key;
    ++roster->key_count;
    key_count_bytes(roster, key, key->name_len + KEY_BYTES, 0);
}

static void key_vanish(hub__roster_t *roster, hub__roster_key_t *key)
{
    if (key->older != NULL)
        key->older->newer = key->newer;
    else
        roster->first = key->newer;
    if (key->newer != NULL)
        key->newer->older = key->older;
    else
        roster->last = key->older;
    --roster->key_count;
    key_count_bytes(roster, key, 0, key->bytes);
}

static void key_free_left(hub__roster_key_t *key)
{
    while (key->left != NULL) {
        hub__tracking_t *tracking = key->left;

        key->left = tracking->newer;
        free(tracking);
    }
}

static void key_destroy(hub__roster_t *roster, hub__roster_key_t *key)
{
    hub__table_remove(&roster->keys, &key->node);
    free(key);
}

/* By age; those that other owners made a while ago come late. */
static bool is_older(const hub__tracking_t *left, const hub__tracking_t *right)
{
    if (left->stamp_us != right->stamp_us)
        return left->stamp_us < right->stamp_us;
    if (left->owner != right->owner)
        return left->owner < right->owner;
    return left->number < right->number;
}

static hub__tracking_t *newer_than(const hub__roster_key_t *key, const hub__tracking_t *tracking)
{
    return tracking != NULL ? tracking->newer : key->first;
}

/* Mostly it is the newest, or stands near to `hint`; NULL: then near to the one placed last, for
 * what another owner has comes in order. */
static void key_add(hub__roster_key_t *key, hub__tracking_t *tracking, hub__tracking_t *hint)
{
    hub__tracking_t *older = hint != NULL ? hint : key->placed, *next;

    if (older == NULL || (key->last != NULL && !is_older(tracking, key->last)))
        older = key->last;
    while (older != NULL && is_older(tracking, older))
        older = older->older;
    while ((next = newer_than(key, older)) != NULL && !is_older(tracking, next))
        older = next;
    key->placed = tracking;
    tracking->older = older;
    tracking->newer = next;
    if (tracking->newer != NULL)
        tracking->newer->older = tracking;
    else
        key->last = tracking;
    if (older != NULL)
        older->newer = tracking;
    else
        key->first = tracking;
    ++key->count;
}

static void key_remove(hub__roster_key_t *key, hub__tracking_t *tracking)
{
    if (key->placed == tracking)
        key->placed = tracking->older;
    if (tracking->older != NULL)
        tracking->older->newer = tracking->newer;
    else
        key->first = tracking->newer;
    if (tracking->newer != NULL)
        tracking->newer->older = tracking->older;
    else
        key->last = tracking->older;
    --key->count;
}

/* ---- shares and trackings ---- */

hub__share_t *hub__roster_share(const hub__roster_t *roster, uint64_t owner)
{
    hub__share_t *share = roster->shares;

    while (share != NULL && share->owner != owner)
        share = share->next;
    return share;
}

hub__share_t *hub__roster_shares(const hub__roster_t *roster)
{
    return roster->shares;
}

hub__share_t *hub__share_create(hub__roster_t *roster, uint64_t owner)
{
    hub__share_t *share = calloc(1, sizeof(*share));

    if (share == NULL)
        return NULL;
    share->roster = roster;
    share->owner = owner;
    share->next = roster->shares;
    roster->shares = share;
    return share;
}

void hub__share_destroy(hub__share_t *share)
{
    hub__share_t **link = &share->roster->shares;

    while (share->first != NULL)
        hub__share_leave(share->first);
    while (*link != share)
        link = &(*link)->next;
    *link = share->next;
    free(share);
}

static uint64_t tracking_hash(uint64_t owner, uint64_t number)
{
    return hub__hash_mix(owner, number);
}

hub__tracking_t *hub__share_find(const hub__share_t *share, uint64_t number)
{
    uint64_t hash = tracking_hash(share->owner, number);

    for (hub__table_node_t *node = hub__table_chain(&share->roster->trackings, hash); node != NULL;
         node = node->next) {
        hub__tracking_t *tracking = HUB__CONTAINER(node, hub__tracking_t, node);

        if (node->hash == hash && tracking->number == number && tracking->owner == share->owner)
            return tracking;
    }
    return NULL;
}

hub__tracking_t *hub__roster_oldest(const hub__roster_t *roster, hub_str_t key)
{
    const hub__roster_key_t *found = key_find(roster, hub__hash(key), key);

    return found != NULL ? found->first : NULL;
}

hub_str_t hub__tracking_key(const hub__tracking_t *tracking)
{
    return key_name(tracking->key);
}

void **hub__tracking_slot(const hub__tracking_t *tracking)
{
    return &tracking->key->slot;
}

hub_str_t hub__tracking_meta(const hub__tracking_t *tracking)
{
    return hub_str_n(tracking->meta, tracking->meta_len);
}

static void share_append(hub__share_t *share, hub__tracking_t *tracking)
{
    tracking->prev = share->last;
    tracking->next = NULL;
    if (share->last != NULL)
        share->last->next = tracking;
    else
        share->first = tracking;
    share->last = tracking;
    ++share->count;
}

static void share_remove(hub__share_t *share, hub__tracking_t *tracking)
{
    if (tracking->prev != NULL)
        tracking->prev->next = tracking->next;
    else
        share->first = tracking->next;
    if (tracking->next != NULL)
        tracking->next->prev = tracking->prev;
    else
        share->last = tracking->prev;
    --share->count;
    tracking->share = NULL;
}

/* One that has left, but nobody was told yet. */
static hub__tracking_t *take_back(hub__roster_key_t *key, uint64_t owner, uint64_t number)
{
    for (hub__tracking_t **link = &key->left; *link != NULL; link = &(*link)->newer) {
        hub__tracking_t *tracking = *link;

        if (tracking->owner == owner && tracking->number == number) {
            *link = tracking->newer;
            return tracking;
        }
    }
    return NULL;
}

/* NULL: no memory. */
static hub__tracking_t *tracking_create(hub__roster_key_t *key, uint64_t owner,
                                        const hub__tracking_facts_t *facts)
{
    hub__tracking_t *tracking = malloc(sizeof(*tracking) + facts->meta.len);

    if (tracking == NULL)
        return NULL;
    *tracking = (hub__tracking_t){
        .node = {.hash = tracking_hash(owner, facts->number)},
        .key = key,
        .owner = owner,
        .number = facts->number,
        .previous = facts->previous,
        .stamp_us = facts->stamp_us,
        .meta_len = (uint32_t)facts->meta.len,
    };
    if (facts->meta.len != 0)
        memcpy(tracking->meta, facts->meta.base, facts->meta.len);
    return tracking;
}

hub__tracking_t *hub__share_join(hub__share_t *share, const hub__tracking_facts_t *facts)
{
    hub__roster_t *roster = share->roster;
    hub__tracking_t *tracking = hub__share_find(share, facts->number), *replaced = NULL;
    hub__roster_key_t *key;

    if (tracking != NULL) {
        tracking->generation = share->generation;
        return tracking;
    }
    if (facts->previous != 0)
        replaced = hub__share_find(share, facts->previous);
    if ((key = key_get(roster, facts->key)) == NULL)
        return NULL;
    if ((tracking = take_back(key, share->owner, facts->number)) == NULL &&
        (tracking = tracking_create(key, share->owner, facts)) == NULL) {
        if (key->count == 0 && !key->dirty)
            key_destroy(roster, key);
        return NULL;
    }
    tracking->share = share;
    tracking->generation = share->generation;
    hub__table_insert(&roster->trackings, &tracking->node);
    share_append(share, tracking);
    key_add(key, tracking, replaced != NULL && replaced->key == key ? replaced : NULL);
    if (key->count == 1)
        key_appear(roster, key);
    key_count_bytes(roster, key, bytes_of(tracking), 0);
    key_touch(roster, key);
    return tracking;
}

void hub__share_leave(hub__tracking_t *tracking)
{
    hub__roster_key_t *key = tracking->key;
    hub__roster_t *roster = tracking->share->roster;

    hub__table_remove(&roster->trackings, &tracking->node);
    share_remove(tracking->share, tracking);
    key_remove(key, tracking);
    key_count_bytes(roster, key, 0, bytes_of(tracking));
    if (key->count == 0)
        key_vanish(roster, key);
    key_touch(roster, key);
    if (!tracking->told && !tracking->shown && !tracking->is_sent) {
        free(tracking);
        return;
    }
    tracking->newer = key->left;
    key->left = tracking;
}

/* ---- the roster ---- */

hub__roster_t *hub__roster_create(hub_str_t topic, const hub_presence_options_t *options)
{
    hub__roster_t *roster = calloc(1, sizeof(*roster));

    if (roster == NULL)
        return NULL;
    roster->topic = topic;
    roster->options = options;
    roster->dirty_last = &roster->dirty_first;
    return roster;
}

static void destroy_key(hub__table_node_t *node, void *user)
{
    hub__roster_key_t *key = HUB__CONTAINER(node, hub__roster_key_t, node);

    (void)user;
    key_free_left(key);
    while (key->first != NULL) {
        hub__tracking_t *tracking = key->first;

        key->first = tracking->newer;
        free(tracking);
    }
    free(key);
}

void hub__roster_destroy(hub__roster_t *roster)
{
    if (roster == NULL)
        return;
    hub__table_foreach(&roster->keys, destroy_key, NULL);
    hub__table_dispose(&roster->keys);
    hub__table_dispose(&roster->trackings);
    while (roster->shares != NULL) {
        hub__share_t *share = roster->shares;

        roster->shares = share->next;
        free(share);
    }
    free(roster->rows);
    free(roster);
}

hub_str_t hub__roster_topic(const hub__roster_t *roster)
{
    return roster->topic;
}

const hub_presence_options_t *hub__roster_options(const hub__roster_t *roster)
{
    return roster->options;
}

hub__roster_stats_t hub__roster_stats(const hub__roster_t *roster)
{
    return (hub__roster_stats_t){.keys = roster->key_count, .trackings = roster->trackings.count};
}

bool hub__roster_has_news(const hub__roster_t *roster)
{
    return roster->dirty_first != NULL;
}

void hub__roster_changes(hub__roster_t *roster, const hub__share_t *share,
                         void (*on_join)(hub__tracking_t *tracking, void *user),
                         void (*on_leave)(uint64_t number, void *user), void *user)
{
    for (const hub__roster_key_t *key = roster->dirty_first; key != NULL; key = key->dirty_next) {
        for (const hub__tracking_t *tracking = key->left; tracking != NULL;
             tracking = tracking->newer)
            if (tracking->owner == share->owner && tracking->is_sent)
                on_leave(tracking->number, user);
        for (hub__tracking_t *tracking = key->first; tracking != NULL; tracking = tracking->newer)
            if (tracking->share == share && !tracking->is_sent)
                on_join(tracking, user);
    }
}

/* ---- telling ---- */

static void rows_push(hub__roster_t *roster, const hub__roster_key_t *key)
{
    if (roster->row_count == roster->row_capacity) {
        roster->row_capacity = roster->row_capacity == 0 ? 16 : roster->row_capacity * 2;
        roster->rows = hub__realloc(roster->rows, roster->row_capacity * sizeof(*roster->rows));
    }
    roster->rows[roster->row_count++] = (hub_presence_row_t){.key = key_name(key)};
}

static void fetch(hub__roster_t *roster)
{
    if (roster->options->on_fetch != NULL && roster->row_count != 0)
        roster->options->on_fetch(roster->topic, roster->rows, roster->row_count,
                                  roster->options->user);
}

/* What on_fetch gave: a mistake in it is the program's, and leaves the diff whole. */
static void append_extra(hub__buffer_t *out, hub_str_t topic, hub_str_t extra)
{
    static const char *const names[] = {"metas", NULL};
    size_t before = out->len;
    char field[HUB_LOG_FIELD];

    if (extra.len == 0)
        return;
    HUB__APPEND_LITERAL(out, ",");
    if (copy_members(extra, names, out) != HUB_OK) {
        hub_log_peer(HUB_LOG_WARN, "presence.fetch", "topic=%s error=\"extra is no JSON object\"",
                     hub_log_escape(topic, field));
        out->len = before;
    } else if (out->len == before + 1) {
        out->len = before;
    }
}

/* Writes one object of keys: its parts are begun and ended here, so that commas stand where they
 * must. */
struct writer {
    hub__buffer_t *out;
    bool has_key, has_meta;
};

static void begin_key(struct writer *writer, hub_str_t name)
{
    if (writer->has_key)
        HUB__APPEND_LITERAL(writer->out, ",");
    writer->has_key = true;
    writer->has_meta = false;
    hub__buffer_json_string(writer->out, name);
    HUB__APPEND_LITERAL(writer->out, ":{\"metas\":[");
}

static void begin_meta(struct writer *writer)
{
    if (writer->has_meta)
        HUB__APPEND_LITERAL(writer->out, ",");
    writer->has_meta = true;
}

static void end_key(struct writer *writer)
{
    HUB__APPEND_LITERAL(writer->out, "]");
}

static void close_key(struct writer *writer)
{
    HUB__APPEND_LITERAL(writer->out, "}");
}

static void write_counts_meta(hub__buffer_t *out, const hub__roster_t *roster, uint64_t number,
                              size_t keys, size_t metas)
{
    hub__buffer_printf(out, "{\"keys\":%zu,\"metas\":%zu,\"sample\":%u,\"phx_ref\":\"counts-%llu\"",
                       keys, metas, roster->options->sample_keys, (unsigned long long)number);
    if (number > 1)
        hub__buffer_printf(out, ",\"phx_ref_prev\":\"counts-%llu\"",
                           (unsigned long long)(number - 1));
    HUB__APPEND_LITERAL(out, "}");
}

static void write_counts(struct writer *writer, const hub__roster_t *roster)
{
    begin_key(writer, HUB_STR(HUB__PRESENCE_COUNTS));
    write_counts_meta(writer->out, roster, roster->told_number, roster->told_keys,
                      roster->told_metas);
    end_key(writer);
    close_key(writer);
}

static bool is_visible(const hub__roster_t *roster, const hub__roster_key_t *key)
{
    return !roster->is_sample || key->sampled;
}

static bool has_joins(const hub__roster_key_t *key)
{
    for (const hub__tracking_t *tracking = key->first; tracking != NULL; tracking = tracking->newer)
        if (!tracking->told)
            return true;
    return false;
}

/* The diff's joins, or its leaves. Rows were gathered in the same order. */
static void write_changes(hub__roster_t *roster, struct writer *writer, bool joins)
{
    size_t row = 0;

    for (const hub__roster_key_t *key = roster->dirty_first; key != NULL; key = key->dirty_next) {
        const hub_presence_row_t *fetched;

        if (!is_visible(roster, key))
            continue;
        fetched = &roster->rows[row++];
        if (joins ? !has_joins(key) : key->left == NULL)
            continue;
        begin_key(writer, key_name(key));
        for (const hub__tracking_t *tracking = joins ? key->first : key->left; tracking != NULL;
             tracking = tracking->newer) {
            if (joins && tracking->told)
                continue;
            begin_meta(writer);
            append_meta(writer->out, tracking);
        }
        end_key(writer);
        append_extra(writer->out, roster->topic, fetched->extra);
        close_key(writer);
    }
}

/* Nothing of a dirty key is news any more. */
static void settle_keys(hub__roster_t *roster)
{
    hub__roster_key_t *key = roster->dirty_first;

    roster->dirty_first = NULL;
    roster->dirty_last = &roster->dirty_first;
    while (key != NULL) {
        hub__roster_key_t *next = key->dirty_next;

        key->dirty = false;
        key_free_left(key);
        for (hub__tracking_t *tracking = key->first; tracking != NULL; tracking = tracking->newer)
            tracking->told = true;
        if (key->count == 0)
            key_destroy(roster, key);
        key = next;
    }
}

static void count_anew(hub__roster_t *roster)
{
    roster->told_keys = roster->key_count;
    roster->told_metas = roster->trackings.count;
    ++roster->told_number;
}

static bool has_room(const hub__roster_t *roster)
{
    return roster->sampled < roster->options->sample_keys &&
           roster->sampled_bytes < roster->options->state_bytes / 4;
}

static bool sample_key(hub__roster_t *roster, hub__roster_key_t *key)
{
    if (key->sampled || key->bytes > roster->options->state_bytes / 16)
        return false;
    key->sampled = true;
    ++roster->sampled;
    roster->sampled_bytes += key->bytes;
    return true;
}

/* Those of the sample that are gone make room for the oldest of the others. */
static void fill_sample(hub__roster_t *roster)
{
    for (hub__roster_key_t *key = roster->dirty_first; key != NULL; key = key->dirty_next)
        if (key->sampled && key->count == 0)
            --roster->sampled; /* it stays visible until its leave was told */
    for (hub__roster_key_t *key = roster->first; key != NULL && has_room(roster);
         key = key->newer) {
        if (!sample_key(roster, key))
            continue;
        key_free_left(key); /* nobody has heard of those */
        for (hub__tracking_t *tracking = key->first; tracking != NULL; tracking = tracking->newer)
            tracking->told = false;
        key_touch(roster, key);
    }
}

/* Whether the budget is passed, with some distance on the way back. */
static bool wants_sample(const hub__roster_t *roster)
{
    size_t keys = roster->options->keys_max, bytes = roster->options->state_bytes;

    if (roster->is_sample) {
        keys -= keys / 10;
        bytes -= bytes / 10;
    }
    return roster->key_count > keys || roster->bytes > bytes;
}

static void change_mode(hub__roster_t *roster, bool is_sample)
{
    for (hub__roster_key_t *key = roster->first; key != NULL; key = key->newer)
        key->sampled = false;
    roster->sampled = roster->sampled_bytes = 0;
    roster->is_sample = is_sample;
    for (hub__roster_key_t *key = roster->first; is_sample && key != NULL && has_room(roster);
         key = key->newer)
        (void)sample_key(roster, key);
    if (is_sample)
        count_anew(roster);
}

/* The counts' part of a diff: what they were leaves, what they are joins. */
static bool counts_differ(const hub__roster_t *roster)
{
    return roster->is_sample && (roster->told_keys != roster->key_count ||
                                 roster->told_metas != roster->trackings.count);
}

static hub__roster_news_t write_diff(hub__roster_t *roster, hub__buffer_t *out)
{
    struct writer joins = {.out = out}, leaves = {.out = out};
    bool has_counts = counts_differ(roster);
    size_t keys = roster->told_keys, metas = roster->told_metas;

    fetch(roster);
    HUB__APPEND_LITERAL(out, "{\"joins\":{");
    write_changes(roster, &joins, true);
    if (has_counts) {
        count_anew(roster);
        write_counts(&joins, roster);
    }
    HUB__APPEND_LITERAL(out, "},\"leaves\":{");
    write_changes(roster, &leaves, false);
    if (has_counts) {
        begin_key(&leaves, HUB_STR(HUB__PRESENCE_COUNTS));
        write_counts_meta(out, roster, roster->told_number - 1, keys, metas);
        end_key(&leaves);
        close_key(&leaves);
    }
    HUB__APPEND_LITERAL(out, "}}");
    return joins.has_key || leaves.has_key ? HUB__ROSTER_DIFF : HUB__ROSTER_NOTHING;
}

/* Leaves of trackings that members never heard of are none to them. */
static void forget_untold_leaves(hub__roster_key_t *key)
{
    hub__tracking_t **link = &key->left;

    while (*link != NULL) {
        hub__tracking_t *tracking = *link;

        if (tracking->told || tracking->shown) {
            link = &tracking->newer;
            continue;
        }
        *link = tracking->newer;
        free(tracking);
    }
}

/* Keys in the sample have gained metas: another one is chosen. */
static bool has_outgrown(const hub__roster_t *roster)
{
    return roster->is_sample && roster->sampled_bytes > roster->options->state_bytes / 2;
}

hub__roster_news_t hub__roster_tell(hub__roster_t *roster, hub__buffer_t *ret_payload)
{
    bool is_sample = wants_sample(roster);
    hub__roster_news_t news;

    ret_payload->len = 0;
    if (is_sample != roster->is_sample || has_outgrown(roster)) {
        change_mode(roster, is_sample);
        settle_keys(roster);
        hub__roster_state(roster, ret_payload);
        return HUB__ROSTER_STATE;
    }
    if (is_sample)
        fill_sample(roster);
    roster->row_count = 0;
    for (hub__roster_key_t *key = roster->dirty_first; key != NULL; key = key->dirty_next) {
        forget_untold_leaves(key);
        if (is_visible(roster, key))
            rows_push(roster, key);
    }
    news = write_diff(roster, ret_payload);
    settle_keys(roster);
    return news;
}

void hub__roster_state(hub__roster_t *roster, hub__buffer_t *ret_payload)
{
    struct writer writer = {.out = ret_payload};
    size_t row = 0;

    ret_payload->len = 0;
    roster->row_count = 0;
    for (const hub__roster_key_t *key = roster->first; key != NULL; key = key->newer)
        if (is_visible(roster, key))
            rows_push(roster, key);
    fetch(roster);
    HUB__APPEND_LITERAL(ret_payload, "{");
    for (const hub__roster_key_t *key = roster->first; key != NULL && row != roster->row_count;
         key = key->newer) {
        if (!is_visible(roster, key))
            continue;
        begin_key(&writer, key_name(key));
        for (hub__tracking_t *tracking = key->first; tracking != NULL; tracking = tracking->newer) {
            tracking->shown = true;
            begin_meta(&writer);
            append_meta(ret_payload, tracking);
        }
        end_key(&writer);
        append_extra(ret_payload, roster->topic, roster->rows[row++].extra);
        close_key(&writer);
    }
    if (roster->is_sample)
        write_counts(&writer, roster);
    HUB__APPEND_LITERAL(ret_payload, "}");
}
