/* SPDX-License-Identifier: MIT */
/* One query is under way at a time: the rows of up to 256 notices, in the order of the notices,
 * which is the order of the commits; or all LISTEN and UNLISTEN that are due. Rows are handed on
 * one by one as they come, so no more than one is held here. */
#include "bus/postgres_ear.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus/buffer.h"

#define FETCH_ROWS_MAX 256
#define HEARD_MAX (256 * 1024) /* notices whose rows were not fetched yet */
#define DIGITS_MAX 21          /* of a number, and what stands around it */

struct topic {
    hub__table_node_t node; /* its hash has a key of this process, so no peer chooses collisions */
    uint64_t hash;          /* stands for the name */
    unsigned names;         /* different topics of one hash: hardly ever two */
};

static const char prepare_sql[] =
    "PREPARE sockethub_fetch (bigint[], bigint) AS"
    " SELECT m.topic, m.body FROM unnest($1) WITH ORDINALITY AS heard (id, place)"
    " CROSS JOIN LATERAL (SELECT topic, body FROM sockethub.messages"
    " WHERE id = heard.id AND octet_length(body) <= $2 OFFSET 0) m" /* by the key, one by one */
    " ORDER BY heard.place";

bool hub__postgres_ear_prepare(hub__postgres_ear_t *ear, hub__courier_t *courier,
                               uint64_t deadline_ms, hub_error_t *error)
{
    PGresult *result = hub__postgres_link_ask(&ear->link, courier, prepare_sql, deadline_ms, error);

    PQclear(result);
    return result != NULL;
}

static hub__postgres_bucket_t *bucket_of(hub__postgres_ear_t *ear, uint64_t hash)
{
    return &ear->buckets[hash >> 56];
}

static uint64_t keyed(uint64_t hash)
{
    return hub__hash(hub_str_n((const char *)&hash, sizeof(hash)));
}

static struct topic *find_topic(const hub__postgres_ear_t *ear, uint64_t hash)
{
    hub__table_node_t *node = hub__table_chain(&ear->topics, keyed(hash));

    for (; node != NULL; node = node->next) {
        struct topic *topic = HUB__CONTAINER(node, struct topic, node);

        if (topic->hash == hash)
            return topic;
    }
    return NULL;
}

/* ---- topics ---- */

static bool no_memory(const hub__postgres_ear_t *ear, hub_error_t *error)
{
    hub_error_set(error, HUB_ENOMEM, 0, "%s: no memory", ear->link.use);
    return false;
}

static bool add_topic(hub__postgres_ear_t *ear, uint64_t hash)
{
    struct topic *topic = find_topic(ear, hash);

    if (topic == NULL) {
        topic = calloc(1, sizeof(*topic));
        if (topic == NULL)
            return false;
        topic->hash = hash;
        topic->node.hash = keyed(hash);
        hub__table_insert(&ear->topics, &topic->node);
    }
    topic->names++;
    bucket_of(ear, hash)->topics++;
    return true;
}

static void remove_topic(hub__postgres_ear_t *ear, uint64_t hash)
{
    struct topic *topic = find_topic(ear, hash);

    if (topic == NULL)
        return;
    bucket_of(ear, hash)->topics--;
    if (--topic->names > 0)
        return;
    hub__table_remove(&ear->topics, &topic->node);
    free(topic);
}

static void confirm(hub__postgres_ear_t *ear, hub__order_t *order)
{
    hub_bus_remote_subscribed(ear->bus, order->topic, order->token);
    free(order);
}

static bool is_settled(const hub__postgres_bucket_t *bucket)
{
    return bucket->listening == (bucket->topics > 0);
}

bool hub__postgres_ear_take(hub__postgres_ear_t *ear, hub__order_t *order, hub_error_t *error)
{
    uint64_t hash = hub__postgres_topic_hash(order->topic);
    hub__postgres_bucket_t *bucket = bucket_of(ear, hash);
    bool added = order->kind == HUB__ORDER_SUBSCRIBE;

    if (added && !add_topic(ear, hash)) {
        free(order);
        return no_memory(ear, error);
    }
    if (!added) {
        remove_topic(ear, hash);
        free(order);
    } else if (bucket->listening) {
        confirm(ear, order);
    } else {
        order->next = bucket->waiting;
        bucket->waiting = order;
    }
    ear->unsettled |= !is_settled(bucket);
    return true;
}

static bool ask_listen(hub__postgres_ear_t *ear, hub_error_t *error)
{
    hub__buffer_t sql = {0};
    bool sent = true;

    ear->unsettled = false;
    ear->listened_last = true;
    for (unsigned i = 0; i < HUB__POSTGRES_BUCKETS; i++) {
        hub__postgres_bucket_t *bucket = &ear->buckets[i];

        if (is_settled(bucket))
            continue;
        bucket->asked = bucket->topics > 0;
        bucket->listening = false; /* until it is known: who comes meanwhile waits for that */
        hub__buffer_printf(&sql, "%s " HUB__POSTGRES_CHANNEL "%02x;",
                           bucket->asked ? "LISTEN" : "UNLISTEN", i);
    }
    if (sql.len > 0) {
        ear->doing = HUB__EAR_LISTENING;
        sent = hub__postgres_link_sent(&ear->link, PQsendQuery(ear->link.conn, sql.base), error);
    }
    hub__buffer_dispose(&sql);
    return sent;
}

static void finish_listen(hub__postgres_ear_t *ear)
{
    for (unsigned i = 0; i < HUB__POSTGRES_BUCKETS; i++) {
        hub__postgres_bucket_t *bucket = &ear->buckets[i];
        hub__order_t *order;

        bucket->listening |= bucket->asked;
        bucket->asked = false;
        while (bucket->listening && (order = bucket->waiting) != NULL) {
            bucket->waiting = order->next;
            confirm(ear, order);
        }
        ear->unsettled |= !is_settled(bucket);
    }
}

/* ---- notices and their rows ---- */

static bool add_heard(hub__postgres_ear_t *ear, int64_t number, hub_error_t *error)
{
    if (ear->heard_count == HEARD_MAX) {
        hub_error_set(error, HUB_ELIMIT, 0, "%s: more than %d notices behind", ear->link.use,
                      HEARD_MAX);
        return false;
    }
    if (ear->heard_first + ear->heard_count == ear->heard_capacity && ear->heard_first > 0) {
        memmove(ear->heard, ear->heard + ear->heard_first, ear->heard_count * sizeof(number));
        ear->heard_first = 0;
    }
    if (ear->heard_count == ear->heard_capacity) {
        size_t capacity = ear->heard_capacity == 0 ? FETCH_ROWS_MAX : 2 * ear->heard_capacity;
        int64_t *heard = realloc(ear->heard, capacity * sizeof(number));

        if (heard == NULL)
            return no_memory(ear, error);
        ear->heard = heard;
        ear->heard_capacity = capacity;
    }
    ear->heard[ear->heard_first + ear->heard_count++] = number;
    return true;
}

/* "<id> <16 hex>", as sockethub.publish() tells it. */
static bool read_notice(const char *text, int64_t *ret_number, uint64_t *ret_hash)
{
    char *end;
    long long number = strtoll(text, &end, 10);

    if (number <= 0 || *end != ' ' || strspn(end + 1, "0123456789abcdef") != 16 || end[17] != '\0')
        return false;
    *ret_number = number;
    *ret_hash = strtoull(end + 1, NULL, 16);
    return true;
}

static bool take_notices(hub__postgres_ear_t *ear, hub_error_t *error)
{
    PGnotify *notice;
    bool good = true;

    while (good && (notice = PQnotifies(ear->link.conn)) != NULL) {
        int64_t number;
        uint64_t hash;

        if (!read_notice(notice->extra, &number, &hash))
            hub_bus_remote_invalid(ear->bus, hub_str(notice->relname), "no notice of ours");
        else if (find_topic(ear, hash) != NULL)
            good = add_heard(ear, number, error);
        PQfreemem(notice);
    }
    return good;
}

static bool ask_rows(hub__postgres_ear_t *ear, hub_error_t *error)
{
    char numbers[FETCH_ROWS_MAX * DIGITS_MAX + 2], largest[DIGITS_MAX];
    const char *values[] = {numbers, largest};
    size_t len = 0, count = ear->heard_count;
    bool taken;

    if (count > FETCH_ROWS_MAX)
        count = FETCH_ROWS_MAX;
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(numbers + len, sizeof(numbers) - len, "%c%lld", i == 0 ? '{' : ',',
                                (long long)ear->heard[ear->heard_first + i]);
    snprintf(numbers + len, sizeof(numbers) - len, "}");
    snprintf(largest, sizeof(largest), "%zu", ear->largest);
    ear->heard_first += count;
    ear->heard_count -= count;
    ear->fetching = count;
    ear->listened_last = false;
    ear->doing = HUB__EAR_FETCHING;
    taken = PQsendQueryPrepared(ear->link.conn, "sockethub_fetch", 2, values, NULL, NULL, 1) &&
            PQsetSingleRowMode(ear->link.conn);
    return hub__postgres_link_sent(&ear->link, taken, error);
}

static hub_str_t cell(const PGresult *result, int row, int column)
{
    return hub_str_n(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}

static void take_rows(hub__postgres_ear_t *ear, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++) {
        ear->fetching -= ear->fetching > 0;
        hub_bus_remote_message(ear->bus, cell(result, i, 0), cell(result, i, 1));
    }
}

static void finish_rows(hub__postgres_ear_t *ear)
{
    for (; ear->fetching > 0; ear->fetching--)
        hub_bus_remote_invalid(ear->bus, HUB_STR("sockethub.messages"),
                               "a row was gone before it was fetched, or is too large");
}

/* ---- the query under way ---- */

static bool take_result(hub__postgres_ear_t *ear, const PGresult *result, hub_error_t *error)
{
    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK:
        take_rows(ear, result);
        return true;
    case PGRES_COMMAND_OK:
        return true;
    default:
        return hub__postgres_link_fail(&ear->link, result, error);
    }
}

static void finish(hub__postgres_ear_t *ear)
{
    bool listened = ear->doing == HUB__EAR_LISTENING;

    ear->doing = HUB__EAR_IDLE;
    ear->link.busy = false;
    if (listened)
        finish_listen(ear);
    else
        finish_rows(ear);
}

static bool take_results(hub__postgres_ear_t *ear, hub_error_t *error)
{
    while (ear->doing != HUB__EAR_IDLE && !PQisBusy(ear->link.conn)) {
        PGresult *result = PQgetResult(ear->link.conn);
        bool good = result == NULL || take_result(ear, result, error);

        PQclear(result);
        if (!good)
            return false;
        if (result == NULL && PQstatus(ear->link.conn) == CONNECTION_BAD)
            return hub__postgres_link_fail(&ear->link, NULL, error);
        if (result == NULL)
            finish(ear);
    }
    return true;
}

bool hub__postgres_ear_proceed(hub__postgres_ear_t *ear, hub_error_t *error)
{
    if (!take_results(ear, error) || !take_notices(ear, error))
        return false;
    if (PQstatus(ear->link.conn) == CONNECTION_BAD)
        return hub__postgres_link_fail(&ear->link, NULL, error);
    if (ear->doing != HUB__EAR_IDLE)
        return true;
    /* the two take turns where both are due */
    if (ear->unsettled && (ear->heard_count == 0 || !ear->listened_last))
        return ask_listen(ear, error);
    return ear->heard_count == 0 || ask_rows(ear, error);
}

/* ---- the end ---- */

static void free_topic(hub__table_node_t *node, void *user)
{
    (void)user;
    free(HUB__CONTAINER(node, struct topic, node));
}

void hub__postgres_ear_close(hub__postgres_ear_t *ear)
{
    hub__postgres_link_close(&ear->link);
    hub__table_foreach(&ear->topics, free_topic, NULL);
    hub__table_dispose(&ear->topics);
    for (unsigned i = 0; i < HUB__POSTGRES_BUCKETS; i++) {
        hub__order_t *order;

        while ((order = ear->buckets[i].waiting) != NULL) {
            ear->buckets[i].waiting = order->next;
            free(order);
        }
    }
    free(ear->heard);
    *ear =
        (hub__postgres_ear_t){.link.use = ear->link.use, .bus = ear->bus, .largest = ear->largest};
}
