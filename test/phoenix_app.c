/* SPDX-License-Identifier: MIT */
/* The application behind the recorded conversations of test/phoenix, on this library: its
 * endpoints, its channels, and under /ctl/ what a checker wants done beside the wire. A program of
 * its own, so that clients of any kind can be pointed at it. */

#define _GNU_SOURCE /* asprintf */
#include "examples/options.h"

#include <jansson.h>

#define ASYNC_MS 100
#define WAIT_MS 10
#define LARGEST 4194304  /* message */
#define WAITING_MAX 4096 /* requests that wait behind a slow one */

/* What the members of a room keep. */
struct room {
    struct late *lates;
    unsigned late_count; /* ever: names of timers differ */
    bool is_slow;        /* an answer that is late holds up the others */
    char *shout;         /* the last one that was intercepted */
};

/* An answer that is owed. */
struct late {
    struct late *next;
    hub_token_t reply, resume;
    bool suspends;
    char *response;
};

/* ---- JSON ---- */

/* The text as a JSON string, "null" where there is none. To be freed; NULL: no memory. */
static char *quoted(hub_str_t text)
{
    json_t *value = text.base == NULL ? json_null() : json_stringn(text.base, text.len);
    char *json = json_dumps(value, JSON_ENCODE_ANY);

    json_decref(value);
    return json;
}

static hub_str_t user_of(const hub_member_t *me)
{
    return hub_conn_attribute(hub_member_conn(me), "user");
}

/* {"<key>": <the user>}, to be freed. */
static char *user_object(const hub_member_t *me, const char *key)
{
    char *user = quoted(user_of(me)), *json = NULL;

    if (user == NULL || asprintf(&json, "{\"%s\":%s}", key, user) < 0)
        json = NULL;
    free(user);
    return json;
}

static bool is_object(hub_payload_t payload)
{
    return payload.kind == HUB_PAYLOAD_JSON && payload.bytes.len > 0 &&
           payload.bytes.base[0] == '{';
}

/* ---- joining a room ---- */

static void free_room(void *user)
{
    struct room *room = user;

    while (room->lates != NULL) {
        struct late *late = room->lates;

        room->lates = late->next;
        free(late->response);
        free(late);
    }
    free(room->shout);
    free(room);
}

static hub_status_t join_reply(hub_member_t *me, const hub_message_t *msg)
{
    char *user = quoted(user_of(me)), *json = NULL;
    hub_status_t err = HUB_EINTERNAL;

    /* spliced, so that the payload comes back as it is, whatever its numbers */
    if (msg->payload.kind == HUB_PAYLOAD_JSON && user != NULL &&
        asprintf(&json, "{\"echo\":%.*s,\"user\":%s}", HUB_STR_ARG(msg->payload.bytes), user) > 0)
        err = hub_member_accept(me, hub_json(hub_str(json)));
    free(json);
    free(user);
    return err;
}

static hub_status_t join_after(hub_member_t *me, const hub_message_t *msg)
{
    char *json = user_object(me, "user");
    hub_status_t err = json == NULL
                           ? HUB_ENOMEM
                           : hub_member_push(me, HUB_STR("after_join"), hub_json(hub_str(json)));

    (void)msg;
    free(json);
    return err;
}

static hub_status_t join_secret(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    return hub_member_reject(me, HUB_JSON("{\"reason\":\"unauthorized\"}"));
}

static hub_status_t join_crashes(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EINTERNAL;
}

/* There the push is what fails; here it would wait for the reply, and goes with the join. */
static hub_status_t join_pushes(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    (void)hub_member_push(me, HUB_STR("pushed"), HUB_JSON("{}"));
    return HUB_EINTERNAL;
}

static hub_status_t join_token(hub_member_t *me, const hub_message_t *msg)
{
    char *token = quoted(hub_conn_attribute(hub_member_conn(me), "token")), *json = NULL;
    hub_status_t err = HUB_EINTERNAL;

    (void)msg;
    if (token != NULL && asprintf(&json, "{\"token\":%s}", token) > 0)
        err = hub_member_accept(me, hub_json(hub_str(json)));
    free(json);
    free(token);
    return err;
}

static hub_status_t on_room_join(hub_member_t *me, const hub_message_t *msg)
{
    static const struct {
        const char *topic;
        hub_on_join_cb on_join;
    } rows[] = {
        {"room:reply", join_reply},       {"room:after", join_after},
        {"room:secret", join_secret},     {"room:crashjoin", join_crashes},
        {"room:badreturn", join_crashes}, {"room:pushinjoin", join_pushes},
        {"room:token", join_token},
    };
    struct room *room = calloc(1, sizeof(*room));

    if (room == NULL)
        return HUB_ENOMEM;
    hub_member_set_user(me, room, free_room);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (hub_str_equals(hub_member_topic(me), hub_str(rows[i].topic)))
            return rows[i].on_join(me, msg);
    return HUB_OK;
}

/* ---- replies at once ---- */

static hub_status_t on_echo(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, msg->payload);
}

static hub_status_t on_err(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_error(me, msg, HUB_EINVAL, HUB_JSON("{\"reason\":\"bad\"}"));
}

static hub_status_t on_okonly(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, HUB_JSON("{}"));
}

static hub_status_t on_erronly(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_error(me, msg, HUB_EINVAL, HUB_JSON("{}"));
}

static hub_status_t on_custom(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply_status(me, msg, HUB_STR("whatever"), HUB_JSON("{\"a\":1}"));
}

static hub_status_t on_scalar(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, HUB_JSON("\"scalar\""));
}

static hub_status_t on_listreply(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reply(me, msg, HUB_JSON("[1,2]"));
}

static hub_status_t on_noreply(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_OK;
}

/* ---- replies later ---- */

/* Of the answers that suspend nobody the oldest goes first: timers that are due at the same
 * millisecond fire in any order. */
static struct late *oldest_of(const struct room *room)
{
    struct late *oldest = NULL;

    for (struct late *late = room->lates; late != NULL; late = late->next)
        if (!late->suspends)
            oldest = late;
    return oldest;
}

static void answer_late(hub_member_t *me, struct late *late)
{
    struct room *room = hub_member_user(me);
    struct late **link = &room->lates;
    hub_t *hub = hub_member_hub(me);
    hub_status_t err = hub_reply(hub, &late->reply, hub_json(hub_str(late->response)));

    if (late->suspends)
        room->is_slow = false;
    if (err == HUB_OK && late->suspends)
        err = hub_resume(hub, &late->resume);
    if (err != HUB_OK)
        hub_member_stop(me, err);
    while (*link != late)
        link = &(*link)->next;
    *link = late->next;
    free(late->response);
    free(late);
}

static void on_slow_over(hub_member_t *me, const char *name, void *user)
{
    (void)name;
    answer_late(me, user);
}

static void on_late(hub_member_t *me, const char *name, void *user)
{
    struct room *room = hub_member_user(me);
    char again[32];

    (void)name, (void)user;
    if (room->is_slow) { /* it waits for its turn */
        snprintf(again, sizeof(again), "again %u", ++room->late_count);
        if (hub_member_timer_start(me, again, WAIT_MS, 0, on_late, NULL) == HUB_OK)
            return;
    }
    answer_late(me, oldest_of(room));
}

/* Answers with `response`, which is taken, in `delay_ms`. */
static hub_status_t reply_late(hub_member_t *me, const hub_message_t *msg, uint32_t delay_ms,
                               bool suspends, char *response)
{
    struct room *room = hub_member_user(me);
    struct late *late = calloc(1, sizeof(*late));
    char name[32];

    if (late == NULL || response == NULL) {
        free(late);
        free(response);
        return HUB_ENOMEM;
    }
    *late = (struct late){.next = room->lates,
                          .reply = hub_member_token(me, msg),
                          .suspends = suspends,
                          .response = response};
    if (suspends) {
        late->resume = hub_member_suspend(me);
        room->is_slow = true;
    }
    room->lates = late;
    snprintf(name, sizeof(name), "late %u", ++room->late_count);
    return suspends ? hub_member_timer_start(me, name, delay_ms, 0, on_slow_over, late)
                    : hub_member_timer_start(me, name, delay_ms, 0, on_late, NULL);
}

static hub_status_t on_async(hub_member_t *me, const hub_message_t *msg)
{
    return reply_late(me, msg, ASYNC_MS, false, strdup("{\"late\":true}"));
}

/* Sleeping here would stop everybody: the member alone is made to wait. */
static hub_status_t on_slow(hub_member_t *me, const hub_message_t *msg)
{
    json_t *payload = msg->payload.kind == HUB_PAYLOAD_JSON
                          ? json_loadb(msg->payload.bytes.base, msg->payload.bytes.len, 0, NULL)
                          : NULL;
    const json_t *member = json_object_get(payload, "ms");
    json_int_t ms = json_is_integer(member) ? json_integer_value(member) : -1;
    char *response = NULL;

    json_decref(payload);
    if (ms < 0 || ms > UINT32_MAX)
        return HUB_EPAYLOAD;
    if (asprintf(&response, "{\"slept\":%lld}", (long long)ms) < 0)
        return HUB_ENOMEM;
    return reply_late(me, msg, (uint32_t)ms, true, response);
}

/* ---- sending ---- */

static hub_status_t on_pushback(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_push(me, HUB_STR("pushed"), msg->payload);
}

static hub_status_t on_pushthenreply(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = on_pushback(me, msg);

    if (err == HUB_OK)
        err = hub_member_broadcast(me, HUB_STR("bcast"), msg->payload);
    return err != HUB_OK ? err : on_okonly(me, msg);
}

static hub_status_t on_broadcast(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast(me, msg->event, msg->payload);
}

static hub_status_t on_new_msg_reply(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, HUB_STR("new_msg"), msg->payload);

    return err != HUB_OK ? err : on_okonly(me, msg);
}

static hub_status_t on_new_msg_from(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_broadcast_from(me, msg->event, msg->payload);
}

/* Whether an object has no members: nothing but white space between its braces. */
static bool is_empty(hub_str_t object)
{
    for (size_t i = 1; i + 1 < object.len; i++)
        if (strchr(" \t\r\n", object.base[i]) == NULL)
            return false;
    return true;
}

/* A shout on its way to one member: its payload, and who hears it. */
static hub_update_t on_shout_out(hub_member_t *me, const hub_message_t *msg,
                                 hub_payload_t *ret_payload)
{
    struct room *room = hub_member_user(me);
    char *user = quoted(user_of(me)), *json = NULL;
    int len = (int)msg->payload.bytes.len - 1; /* without the brace at its end */

    if (!is_object(msg->payload) || user == NULL ||
        asprintf(&json, "%.*s%s\"intercepted_by\":%s}", len, msg->payload.bytes.base,
                 is_empty(msg->payload.bytes) ? "" : ",", user) < 0) {
        free(user);
        hub_member_stop(me, HUB_EPAYLOAD);
        return HUB_UPDATE_SKIP;
    }
    free(user);
    free(room->shout);
    room->shout = json;
    *ret_payload = hub_json(hub_str(json));
    return HUB_UPDATE_REPLACE;
}

/* ---- bytes ---- */

static hub_status_t bytes_of(const hub_message_t *msg)
{
    return msg->payload.kind == HUB_PAYLOAD_BINARY ? HUB_OK : HUB_EPAYLOAD;
}

static hub_status_t on_binerr(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = bytes_of(msg);

    return err != HUB_OK ? err : hub_member_reply_error(me, msg, HUB_EINVAL, msg->payload);
}

static hub_status_t on_binpush(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = bytes_of(msg);

    return err != HUB_OK ? err : hub_member_push(me, HUB_STR("binpushed"), msg->payload);
}

static hub_status_t on_binbcast(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = bytes_of(msg);

    return err != HUB_OK ? err : hub_member_broadcast(me, HUB_STR("binbcast"), msg->payload);
}

static hub_status_t on_binbcast_from(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = bytes_of(msg);

    return err != HUB_OK ? err : hub_member_broadcast_from(me, HUB_STR("binbcast"), msg->payload);
}

/* ---- ends ---- */

static hub_status_t on_crash(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_EINTERNAL;
}

static hub_status_t on_stop(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_stop(me, HUB_OK);
    return HUB_OK;
}

static hub_status_t on_stopbad(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_member_stop(me, HUB_EINTERNAL);
    return HUB_OK;
}

static hub_status_t on_stopreply(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_reply(me, msg, HUB_JSON("{\"bye\":true}"));

    hub_member_stop(me, HUB_OK);
    return err;
}

/* ---- presence ---- */

/* Who gave no user is known by an empty one. */
static hub_str_t presence_key(const hub_member_t *me)
{
    hub_str_t user = user_of(me);

    return user.base != NULL ? user : HUB_STR("");
}

static hub_status_t on_presence_join(hub_member_t *me, const hub_message_t *msg)
{
    json_t *payload = msg->payload.kind == HUB_PAYLOAD_JSON
                          ? json_loadb(msg->payload.bytes.base, msg->payload.bytes.len, 0, NULL)
                          : NULL;
    json_t *k = json_object_get(payload, "k");
    json_t *meta = json_pack("{sI}", "online_at", (json_int_t)1700000000);
    char *text = NULL;
    hub_status_t err = HUB_ENOMEM;

    if (k != NULL)
        json_object_set(meta, "k", k);
    if ((text = json_dumps(meta, JSON_COMPACT)) != NULL)
        err = hub_presence_track(me, presence_key(me), hub_json(hub_str(text)));
    free(text);
    json_decref(meta);
    json_decref(payload);
    return err != HUB_OK ? err : hub_presence_push(me);
}

static hub_status_t on_presence_update(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_presence_update(me, presence_key(me), msg->payload);

    return err != HUB_OK ? err : on_okonly(me, msg);
}

static hub_status_t on_presence_list(hub_member_t *me, const hub_message_t *msg)
{
    hub_payload_t list;
    hub_status_t err = hub_presence_list(me, &list);

    return err != HUB_OK ? err : hub_member_reply(me, msg, list);
}

static hub_status_t on_presence_untrack(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_presence_untrack(me, presence_key(me));

    return err != HUB_OK && err != HUB_ENOTFOUND ? err : on_okonly(me, msg);
}

static hub_status_t add_channels(hub_t *hub)
{
    static const hub_event_handler_t events[] = {
        {"echo", on_echo},
        {"binecho", on_echo},
        {"err", on_err},
        {"okonly", on_okonly},
        {"erronly", on_erronly},
        {"custom", on_custom},
        {"scalar", on_scalar},
        {"listreply", on_listreply},
        {"async", on_async},
        {"slow", on_slow},
        {"noreply", on_noreply},
        {"pushback", on_pushback},
        {"pushthenreply", on_pushthenreply},
        {"new_msg", on_broadcast},
        {"new_msg_reply", on_new_msg_reply},
        {"new_msg_from", on_new_msg_from},
        {"shout", on_broadcast},
        {"binerr", on_binerr},
        {"binpush", on_binpush},
        {"binbcast", on_binbcast},
        {"binbcast_from", on_binbcast_from},
        {"crash", on_crash},
        {"kill", on_crash},
        {"stop", on_stop},
        {"stopshutdown", on_stop},
        {"stopbad", on_stopbad},
        {"stopreply", on_stopreply},
        {NULL, NULL},
    };
    static const hub_event_handler_t presence_events[] = {
        {"update", on_presence_update},
        {"list", on_presence_list},
        {"untrack", on_presence_untrack},
        {NULL, NULL},
    };
    static const char *const intercept[] = {"shout", NULL};
    static const hub_presence_options_t presence = {.diff_ms = HUB_PRESENCE_AT_ONCE};
    hub_status_t err = hub_channel_add(hub, &(hub_channel_options_t){.pattern = "room:*",
                                                                     .on_join = on_room_join,
                                                                     .events = events,
                                                                     .on_update = on_shout_out,
                                                                     .intercept = intercept,
                                                                     .pending_limit = WAITING_MAX});

    if (err == HUB_OK)
        err = hub_channel_add(hub, &(hub_channel_options_t){.pattern = "presence:*",
                                                            .on_join = on_presence_join,
                                                            .events = presence_events,
                                                            .presence = &presence,
                                                            .pending_limit = WAITING_MAX});
    return err != HUB_OK ? err : hub_channel_add(hub, &(hub_channel_options_t){.pattern = "exact"});
}

/* ---- connecting ---- */

static hub_status_t grant_user(hub_request_t *request)
{
    hub_str_t user = hub_request_query(request, "user");
    hub_str_t token = hub_request_auth_token(request);
    hub_attribute_t attributes[2];
    size_t count = 0;
    char *identity = NULL;
    int len = 0;

    if (user.base != NULL && (len = asprintf(&identity, "user:%.*s", HUB_STR_ARG(user))) < 0)
        return HUB_ENOMEM;
    if (user.base != NULL)
        attributes[count++] = (hub_attribute_t){"user", user};
    if (token.base != NULL)
        attributes[count++] = (hub_attribute_t){"token", token};
    hub_request_grant(request, &(hub_grant_t){.identity = hub_str_n(identity, (size_t)len),
                                              .attributes = attributes,
                                              .attribute_count = count});
    free(identity);
    return HUB_OK;
}

static hub_status_t on_connect(hub_request_t *request, void *user)
{
    (void)user;
    if (hub_request_query(request, "crash").base != NULL)
        return HUB_EINTERNAL;
    if (hub_request_query(request, "deny").base != NULL)
        return HUB_EREJECTED;
    return grant_user(request);
}

/* Has words of its own for a refusal that gives a reason. */
static hub_status_t on_connect_custerr(hub_request_t *request, void *user)
{
    bool raises = hub_request_query(request, "crash").base != NULL;

    if (!raises && hub_str_equals(hub_request_query(request, "deny"), HUB_STR("reason")))
        return hub_request_refuse(request, 429, 0, NULL, HUB_STR("custom: because"));
    return on_connect(request, user);
}

static hub_status_t on_connect_any(hub_request_t *request, void *user)
{
    (void)user;
    return grant_user(request);
}

/* As wide as Phoenix is, or as this library goes. */
static hub_limits_t wide_limits(size_t message_bytes, size_t idle_ms)
{
    return (hub_limits_t){
        .message_bytes = message_bytes,
        .fragments = HUB_OFF,
        .topic_bytes = 1024,
        .event_bytes = 255,
        .ref_bytes = 64,
        .envelope_depth = 256,
        .payload_depth = 256,
        .bad_envelopes = HUB_OFF,
        .topics = 100,
        .outbox_bytes = 67108864,
        .outbox_messages = HUB_OFF,
        .ping_ms = HUB_OFF,
        .idle_ms = idle_ms,
        .longpoll_window_ms = 2000,
        .longpoll_body_bytes = message_bytes,
        .messages_per_s = HUB_OFF,
        .messages_burst = HUB_OFF,
        .bytes_per_s = HUB_OFF,
        .bytes_burst = HUB_OFF,
        .joins_per_s = HUB_OFF,
        .joins_burst = HUB_OFF,
        .controls_per_s = HUB_OFF,
        .controls_burst = HUB_OFF,
        .conns_per_identity = HUB_OFF,
    };
}

static hub_status_t mount_endpoints(hub_server_t *server, hub_t *hub)
{
    enum { IDLE_MS = 60000 };
    static const char *const hosts[] = {"localhost", NULL};
    static const char *const protocols[] = {"foo", "bar", NULL};
    const struct {
        const char *path;
        hub_on_authorize_cb on_authorize;
        const char *const *protocols;
        size_t message_bytes, idle_ms;
        bool auth_token, longpoll, deflate;
    } rows[] = {
        {"/socket", on_connect, NULL, LARGEST, IDLE_MS, false, true, false},
        {"/custerr", on_connect_custerr, NULL, LARGEST, IDLE_MS, false, false, false},
        {"/sub", on_connect_any, protocols, LARGEST, IDLE_MS, false, false, false},
        {"/auth", on_connect_any, NULL, LARGEST, IDLE_MS, true, false, false},
        {"/compress", on_connect_any, NULL, LARGEST, IDLE_MS, false, false, true},
        {"/small", on_connect_any, NULL, 1024, IDLE_MS, false, false, false},
        {"/short", on_connect_any, NULL, LARGEST, 2000, false, false, false},
    };
    hub_status_t err = HUB_OK;

    for (size_t i = 0; err == HUB_OK && i < sizeof(rows) / sizeof(rows[0]); i++)
        err = hub_server_mount(server, hub,
                               &(hub_endpoint_options_t){
                                   .path = rows[i].path,
                                   .path_form = HUB_ENDPOINT_SUFFIX,
                                   .on_authorize = rows[i].on_authorize,
                                   .authorize_early = true,
                                   .origin_rule = HUB_ORIGIN_HOST,
                                   .origins = hosts,
                                   .protocols = rows[i].protocols,
                                   .auth_token = rows[i].auth_token,
                                   .longpoll = rows[i].longpoll,
                                   .deflate.enabled = rows[i].deflate,
                                   .format_without_vsn = HUB_FORMAT_PHOENIX1,
                                   .limits = wide_limits(rows[i].message_bytes, rows[i].idle_ms)});
    return err;
}

/* ---- what a checker wants done ---- */

static void respond(hub_http_t *http, hub_status_t err)
{
    hub_http_respond(http, err == HUB_OK ? 200 : 400, "text/plain", hub_str(hub_status_text(err)));
}

static void on_ctl_broadcast(hub_http_t *http, void *hub)
{
    hub_str_t topic = hub_http_query(http, "topic"), event = hub_http_query(http, "event");
    char *data = quoted(hub_http_query(http, "data")), *json = NULL;

    if (data == NULL || asprintf(&json, "{\"data\":%s}", data) < 0)
        respond(http, HUB_EINVAL);
    else
        respond(http, hub_publish(hub, topic, event, hub_json(hub_str(json))));
    free(json);
    free(data);
}

static void on_ctl_disconnect(hub_http_t *http, void *hub)
{
    hub_str_t user = hub_http_query(http, "user");
    char *identity = NULL;
    int len = asprintf(&identity, "user:%.*s", HUB_STR_ARG(user));

    respond(http, len < 0 ? HUB_ENOMEM : hub_disconnect(hub, hub_str_n(identity, (size_t)len)));
    free(identity);
}

static void on_ctl_stop(hub_http_t *http, void *hub)
{
    respond(http, HUB_OK);
    hub_stop(hub);
}

static hub_status_t add_routes(hub_server_t *server, hub_t *hub)
{
    hub_status_t err = hub_server_route(server, "POST", "/ctl/broadcast", on_ctl_broadcast, hub);

    if (err == HUB_OK)
        err = hub_server_route(server, "POST", "/ctl/disconnect", on_ctl_disconnect, hub);
    if (err == HUB_OK)
        err = hub_server_route(server, "POST", "/ctl/stop", on_ctl_stop, hub);
    return err;
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1";
    unsigned long port = 4100, threads = 1;
    const struct choice choices[] = {
        {"host", "the address to listen on", .text = &host},
        {"port", "0 lets the kernel pick one", .number = &port, .max = 65535},
        {"threads", "workers", .number = &threads, .min = 1, .max = 64},
        {.name = NULL}};
    hub_error_t error = {HUB_OK, 0, ""};
    hub_server_t *server = NULL;
    hub_t *hub = NULL;
    hub_status_t err;

    read_options(argc, argv, choices);
    err = hub_create(&(hub_options_t){.ret_error = &error}, &hub);
    if (err == HUB_OK)
        err = hub_server_create(&(hub_server_options_t){.threads = (unsigned)threads,
                                                        .limits.body_bytes = 2 * LARGEST,
                                                        .ret_error = &error},
                                &server);
    if (err == HUB_OK)
        err = add_channels(hub);
    if (err == HUB_OK)
        err = mount_endpoints(server, hub);
    if (err == HUB_OK)
        err = add_routes(server, hub);
    if (err == HUB_OK)
        err = serve(server, argv[0], host, port, NULL, &error);
    hub_server_destroy(server);
    hub_destroy(hub);
    return err == HUB_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
