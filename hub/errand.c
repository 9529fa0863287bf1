/* SPDX-License-Identifier: MIT */
/* What is addressed to a connection by id, by identity or by token, from any thread: copied whole,
 * carried to its worker, and done there if the connection is still the one that was meant. What is
 * meant for another node is handed to the bus, and done by each worker there that has one. */
#include <stdlib.h>

#include "bus/json.h"
#include "hub/internal.h"
#include "hub/relay.h"

/* Topics of the bus on which nodes talk of connections: one of each node, with its number behind,
 * and one of all. No topic of a client's can have the control character. */
#define TOPIC "conns\x1f"
#define TOPIC_OF_ALL "all"

typedef enum hub__errand_kind {
    HUB__ERRAND_CLOSE,
    HUB__ERRAND_DISPLACE,
    HUB__ERRAND_PUSH,
    HUB__ERRAND_REPLY,
    HUB__ERRAND_JOIN,
    HUB__ERRAND_RESUME,
} hub__errand_kind_t;

/* Something to be done on the loop of a connection. */
typedef struct hub__errand {
    hub_task_t task;
    hub__worker_t *worker;
    hub_t *root;
    hub__errand_kind_t kind;
    uint64_t local; /* of one connection; 0: all of an identity */
    hub_str_t identity;
    unsigned close_code;
    hub_token_t token;
    hub_status_t code; /* of an error reply; HUB_OK: not one */
    bool accepted;
    hub_str_t topic, event, reason;
    hub_payload_t payload;
    char text[]; /* the spans above */
} hub__errand_t;

static void discard_errand(hub_task_t *task)
{
    free(HUB__CONTAINER(task, hub__errand_t, task));
}

static void push_to(hub_conn_t *conn, const hub__errand_t *errand)
{
    hub_member_t *member = hub_conn_member(conn, errand->topic);

    if (member != NULL && hub_member_push(member, errand->event, errand->payload) == HUB_EPAYLOAD)
        HUB__STAT(&hub__conn_worker(conn)->stats, skipped_total);
}

static void log_displaced(const hub_conn_t *conn)
{
    char id[HUB_CONN_ID_TEXT];

    hub__source_is_conn(conn);
    hub_log_peer(HUB_LOG_WARN, "conn.displaced", "conn=%s why=conns_per_identity",
                 hub_conn_id_format(hub_conn_id(conn), id));
    hub__source_set(NULL, NULL);
}

/* False: it is not the one that was meant, or about to end. */
static bool do_errand(hub_conn_t *conn, const hub__errand_t *errand)
{
    hub__session_t *session = &conn->session;

    if (hub__conn_seat(conn)->endpoint->hub != errand->root || !hub__conn_is_open(conn))
        return false;
    switch (errand->kind) {
    case HUB__ERRAND_CLOSE:
        hub__conn_want_close(conn, HUB_DISCONNECT_SERVER, errand->close_code, errand->reason);
        break;
    case HUB__ERRAND_DISPLACE:
        log_displaced(conn);
        hub__conn_want_close(conn, HUB_DISCONNECT_DUPLICATE, 4029, HUB_STR("too many connections"));
        break;
    case HUB__ERRAND_PUSH:
        push_to(conn, errand);
        break;
    case HUB__ERRAND_REPLY:
        hub__session_reply_later(session, &errand->token, HUB_STR("ok"), errand->code,
                                 errand->payload);
        break;
    case HUB__ERRAND_JOIN:
        hub__session_join_later(session, &errand->token, errand->accepted, errand->payload);
        break;
    case HUB__ERRAND_RESUME:
        hub__session_resume(session, &errand->token);
        break;
    }
    return true;
}

/* Returns how many connections it was for. */
static size_t perform(hub__worker_t *worker, const hub__errand_t *errand)
{
    size_t count = 0;
    uint64_t hash;

    if (errand->identity.len == 0) {
        hub_conn_t *conn = hub__worker_conn(worker, errand->local);

        return conn != NULL && do_errand(conn, errand);
    }
    hash = hub__hash(errand->identity);
    for (hub__table_node_t *node = hub__table_chain(&worker->identities, hash); node != NULL;
         node = node->next) {
        hub__conn_extra_t *extra = HUB__CONTAINER(node, hub__conn_extra_t, identity_node);

        if (node->hash != hash || !hub_str_equals(extra->identity, errand->identity))
            continue;
        count += do_errand(extra->conn, errand);
    }
    return count;
}

static void run_errand(hub_task_t *task)
{
    hub__errand_t *errand = HUB__CONTAINER(task, hub__errand_t, task);

    (void)perform(errand->worker, errand);
    free(errand);
}

/* Copies an errand with all its text. */
static hub__errand_t *copy_errand(const hub__errand_t *given)
{
    size_t size = given->identity.len + given->topic.len + given->event.len + given->reason.len +
                  given->payload.bytes.len;
    hub__errand_t *errand = malloc(sizeof(*errand) + size);
    hub_str_t *spans[5];
    char *at;

    if (errand == NULL)
        return NULL;
    *errand = *given;
    spans[0] = &errand->identity;
    spans[1] = &errand->topic;
    spans[2] = &errand->event;
    spans[3] = &errand->reason;
    spans[4] = &errand->payload.bytes;
    at = errand->text;
    for (size_t i = 0; i != 5; ++i) {
        if (spans[i]->len != 0)
            memcpy(at, spans[i]->base, spans[i]->len);
        spans[i]->base = at;
        at += spans[i]->len;
    }
    errand->task = (hub_task_t){.run = run_errand, .discard = discard_errand};
    return errand;
}

/* Closes are never refused for want of room in a mailbox. */
static hub_status_t send_errand(hub__worker_t *worker, const hub__errand_t *given)
{
    hub__errand_t *errand = copy_errand(given);
    hub_status_t err;

    if (errand == NULL)
        return HUB_ENOMEM;
    errand->worker = worker;
    err = worker->executor.post(&worker->executor, &errand->task,
                                errand->kind == HUB__ERRAND_CLOSE ||
                                    errand->kind == HUB__ERRAND_DISPLACE);
    if (err != HUB_OK)
        free(errand);
    return err;
}

hub_status_t hub__errand_displace(hub_t *root, hub__worker_t *worker, uint64_t local)
{
    return send_errand(
        worker, &(hub__errand_t){.kind = HUB__ERRAND_DISPLACE, .root = root, .local = local});
}

hub__worker_t *hub__worker_of(hub_t *root, hub_conn_id_t id)
{
    uint64_t index = (id.local >> 54) - 1;

    if (id.node != root->node || index >= HUB__WORKERS_MAX)
        return NULL;
    return root->workers[index];
}

/* ---- other nodes ---- */

/* The topic of one node; 0: of all. */
static void append_topic(hub__buffer_t *topic, const hub_t *root, uint64_t node)
{
    hub__buffer_append(topic, root->bus_prefix);
    HUB__APPEND_LITERAL(topic, TOPIC);
    if (node == 0)
        HUB__APPEND_LITERAL(topic, TOPIC_OF_ALL);
    else
        hub__buffer_printf(topic, "%016llx", (unsigned long long)node);
}

/* As much of it as a close frame has room for, in whole characters; what is not UTF-8 has none. */
static hub_str_t fitting(hub_str_t reason)
{
    if (reason.len > HUB__CLOSE_REASON_MAX) {
        reason.len = HUB__CLOSE_REASON_MAX;
        while (reason.len != 0 && ((unsigned char)reason.base[reason.len] & 0xC0) == 0x80)
            --reason.len;
    }
    return hub_utf8_valid(reason) ? reason : (hub_str_t){0};
}

static hub_status_t publish_relay(hub_t *root, uint64_t node, const hub__relay_t *relay)
{
    hub_message_options_t options = {.origin = {.node = root->node}, .payload_is_valid = true};
    hub__buffer_t topic = {0};
    hub_message_t *msg = NULL;
    size_t size = hub__relay_size(relay);
    char *bytes = size == SIZE_MAX ? NULL : malloc(size);
    hub_status_t err;

    if (bytes == NULL)
        return size == SIZE_MAX ? HUB_ETOOLARGE : HUB_ENOMEM;
    hub__relay_write(relay, bytes);
    append_topic(&topic, root, node);
    err = hub_message_create(hub__buffer_str(&topic), HUB_STR("do"), hub_binary(bytes, size),
                             &options, &msg, NULL);
    if (err == HUB_OK)
        err = hub_bus_publish(root->bus, msg, NULL);
    hub_message_release(msg);
    hub__buffer_dispose(&topic);
    free(bytes);
    if (err != HUB_OK)
        return err;
    /* one that is degraded, or keeps what it can't send, takes it all the same */
    return hub_bus_is_healthy(root->bus) ? HUB_OK : HUB_EBUSDOWN;
}

/* To `node`, 0: to all others. Not under the hub's lock. */
static hub_status_t to_node(hub_t *root, uint64_t node, const hub__errand_t *errand)
{
    hub__relay_t relay = {
        .kind = errand->kind == HUB__ERRAND_PUSH ? HUB__RELAY_PUSH : HUB__RELAY_CLOSE,
        .local = errand->local,
        .identity = errand->identity,
        .code = errand->close_code,
        .reason = fitting(errand->reason),
        .topic = errand->topic,
        .event = errand->event,
        .payload = errand->payload,
    };

    if (!atomic_load(&root->serving))
        return HUB_ECLOSED;
    if (root->owns_bus) /* nobody else is on it */
        return node == 0 ? HUB_OK : HUB_ENOTFOUND;
    return publish_relay(root, node, &relay);
}

static void relay_bad(hub__attached_t *attached, uint64_t node)
{
    HUB__STAT(&attached->worker->stats, relay_bad_total);
    hub_log_peer(HUB_LOG_WARN, "relay.bad", "hub=%s node=%016llx", attached->hub->name,
                 (unsigned long long)node);
}

static hub_status_t on_relay(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                             void *user)
{
    hub__attached_t *attached = user;
    hub__errand_t errand = {.root = attached->hub};
    hub__relay_t relay;
    hub_status_t err;

    (void)ack;
    if (msg->origin.node == attached->hub->node)
        return HUB_OK; /* our own, done when it was asked for */
    err = msg->payload.kind == HUB_PAYLOAD_BINARY ? hub__relay_read(msg->payload.bytes, &relay)
                                                  : HUB_ESYNTAX;
    if (err == HUB_OK && (relay.local == 0) != (sub == attached->to_all))
        err = HUB_ESYNTAX;
    if (err != HUB_OK) {
        if (err != HUB_ENOTFOUND)
            relay_bad(attached, msg->origin.node);
        return HUB_OK;
    }
    errand.kind = relay.kind == HUB__RELAY_PUSH ? HUB__ERRAND_PUSH : HUB__ERRAND_CLOSE;
    errand.local = relay.local;
    errand.identity = relay.identity;
    errand.close_code = relay.code;
    errand.reason = relay.reason;
    errand.topic = relay.topic;
    errand.event = relay.event;
    errand.payload = relay.payload;
    if (relay.local == 0 || (relay.local >> 54) - 1 == attached->worker->index)
        HUB__STAT_ADD(&attached->worker->stats, relayed_total, perform(attached->worker, &errand));
    return HUB_OK;
}

/* A close may be among what was lost: nobody can repeat it, so the operator learns of it. */
static void on_relay_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    hub__attached_t *attached = user;

    (void)sub;
    if (attached->worker->conn_count == 0)
        return; /* nor is there anybody whom it could have been for */
    HUB__STAT(&attached->worker->stats, relay_gaps_total);
    if (missed != 0)
        hub_log_peer(HUB_LOG_WARN, "relay.gap", "hub=%s reason=%s missed=%llu", attached->hub->name,
                     hub_gap_reason_name(reason), (unsigned long long)missed);
    else
        hub_log_peer(HUB_LOG_WARN, "relay.gap", "hub=%s reason=%s missed=unknown",
                     attached->hub->name, hub_gap_reason_name(reason));
}

static void on_relay_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    hub__attached_t *attached = user;

    (void)why;
    *(sub == attached->to_all ? &attached->to_all : &attached->to_node) = NULL;
}

static hub_status_t listen_to(hub__attached_t *attached, uint64_t node, hub_bus_sub_t **ret_sub)
{
    hub_bus_sub_options_t options = {
        .on_message = on_relay,
        .on_gap = on_relay_gap,
        .on_close = on_relay_close,
        .executor = &attached->worker->executor,
        .user = attached,
    };
    hub__buffer_t topic = {0};
    hub_status_t err;

    append_topic(&topic, attached->hub, node);
    err = hub_bus_subscribe(attached->hub->bus, hub__buffer_str(&topic), &options, ret_sub);
    hub__buffer_dispose(&topic);
    if (err == HUB_OK)
        hub_bus_sub_hurry(*ret_sub); /* who connects before it stands might be missed */
    return err;
}

hub_status_t hub__relay_open(hub__attached_t *attached)
{
    hub_status_t err;

    if (attached->hub->owns_bus)
        return HUB_OK;
    err = listen_to(attached, attached->hub->node, &attached->to_node);
    if (err == HUB_OK && (err = listen_to(attached, 0, &attached->to_all)) != HUB_OK)
        hub__relay_close(attached);
    return err;
}

void hub__relay_close(hub__attached_t *attached)
{
    hub_bus_unsubscribe(attached->to_node);
    hub_bus_unsubscribe(attached->to_all);
    attached->to_node = attached->to_all = NULL;
}

/* ---- where to ---- */

/* What a token is for is done where it was given out. */
static bool may_leave(const hub__errand_t *errand)
{
    return errand->kind == HUB__ERRAND_CLOSE || errand->kind == HUB__ERRAND_PUSH;
}

static hub_status_t to_conn(hub_t *hub, hub_conn_id_t id, hub__errand_t *errand)
{
    hub_t *root = hub__root(hub);
    hub__worker_t *worker;
    hub_status_t err;

    if (id.node != root->node && (id.node == 0 || id.local == 0 || !may_leave(errand)))
        return HUB_ENOTFOUND;
    if (id.node != root->node) {
        errand->local = id.local;
        return to_node(root, id.node, errand);
    }
    errand->root = root;
    errand->local = id.local;
    pthread_mutex_lock(&root->lock);
    worker = hub__worker_of(root, id);
    if (worker != NULL)
        err = send_errand(worker, errand);
    else /* who is gone, or never was, is no error; a token has been given out */
        err = may_leave(errand) && root->worker_count != 0 ? HUB_OK : HUB_ECLOSED;
    pthread_mutex_unlock(&root->lock);
    return err;
}

static hub_status_t to_identity(hub_t *hub, hub_str_t identity, hub__errand_t *errand)
{
    hub_t *root = hub__root(hub);
    hub_status_t err = HUB_OK, relayed;

    if (identity.len == 0)
        return HUB_EINVAL;
    errand->root = root;
    errand->identity = identity;
    pthread_mutex_lock(&root->lock);
    if (root->worker_count == 0)
        err = HUB_ECLOSED;
    for (unsigned i = 0; i != HUB__WORKERS_MAX; ++i)
        if (root->workers[i] != NULL) {
            hub_status_t sent = send_errand(root->workers[i], errand);

            err = err == HUB_OK ? sent : err;
        }
    pthread_mutex_unlock(&root->lock);
    if (err == HUB_ECLOSED)
        return err;
    relayed = to_node(root, 0, errand);
    return err == HUB_OK ? relayed : err;
}

hub_status_t hub_conn_close_id(hub_t *hub, hub_conn_id_t id, unsigned code, hub_str_t reason)
{
    return to_conn(hub, id,
                   &(hub__errand_t){.kind = HUB__ERRAND_CLOSE,
                                    .close_code = hub__close_code_valid(code) ? code : 1011,
                                    .reason = reason});
}

/* A push is judged by its connection's format there; what no format could carry is refused here. */
static hub_status_t check_push(hub_str_t event, hub_payload_t payload)
{
    hub_error_t error;

    if (event.len == 0 || event.len > UINT8_MAX || !hub_utf8_valid(event))
        return HUB_EINVAL;
    return hub_payload_check(payload, HUB_JSON_DEPTH_MAX, &error);
}

/* An included hub names topics without its prefixes. */
static hub_status_t push(hub_t *hub, hub_conn_id_t id, hub_str_t identity, hub_str_t topic,
                         hub_str_t event, hub_payload_t payload)
{
    hub_t *root = hub__root(hub);
    hub__buffer_t full = {0};
    hub__errand_t errand = {.kind = HUB__ERRAND_PUSH, .event = event, .payload = payload};
    hub_status_t err;

    if ((err = check_push(event, payload)) == HUB_OK &&
        (err = hub__full_topic(hub, topic, &full)) == HUB_OK) {
        errand.topic = hub__buffer_str(&full);
        errand.topic.base += root->bus_prefix.len;
        errand.topic.len -= root->bus_prefix.len;
        err =
            identity.base == NULL ? to_conn(hub, id, &errand) : to_identity(hub, identity, &errand);
    }
    hub__buffer_dispose(&full);
    return err;
}

hub_status_t hub_conn_push_id(hub_t *hub, hub_conn_id_t id, hub_str_t topic, hub_str_t event,
                              hub_payload_t payload)
{
    return push(hub, id, (hub_str_t){0}, topic, event, payload);
}

hub_status_t hub_push_identity(hub_t *hub, hub_str_t identity, hub_str_t topic, hub_str_t event,
                               hub_payload_t payload)
{
    if (identity.len == 0)
        return HUB_EINVAL;
    return push(hub, (hub_conn_id_t){0}, identity, topic, event, payload);
}

hub_status_t hub_disconnect(hub_t *hub, hub_str_t identity)
{
    return to_identity(hub, identity,
                       &(hub__errand_t){.kind = HUB__ERRAND_CLOSE, .close_code = 1001});
}

static hub_status_t by_token(hub_t *hub, const hub_token_t *token, uint8_t kind,
                             hub__errand_t *errand)
{
    hub_error_t error;
    hub_status_t err;

    if (token->_kind != kind)
        return HUB_EINVAL;
    if (errand->payload.bytes.base != NULL &&
        (err = hub_payload_check(errand->payload, HUB_JSON_DEPTH_MAX, &error)) != HUB_OK)
        return err;
    errand->token = *token;
    return to_conn(hub, token->_conn, errand);
}

hub_status_t hub_reply(hub_t *hub, const hub_token_t *token, hub_payload_t response)
{
    return by_token(hub, token, HUB__TOKEN_REPLY,
                    &(hub__errand_t){.kind = HUB__ERRAND_REPLY, .payload = response});
}

hub_status_t hub_reply_error(hub_t *hub, const hub_token_t *token, hub_status_t code,
                             hub_payload_t detail)
{
    return by_token(hub, token, HUB__TOKEN_REPLY,
                    &(hub__errand_t){.kind = HUB__ERRAND_REPLY,
                                     .code = code != HUB_OK ? code : HUB_EINTERNAL,
                                     .payload = detail});
}

hub_status_t hub_join_accept(hub_t *hub, const hub_token_t *token, hub_payload_t response)
{
    return by_token(
        hub, token, HUB__TOKEN_JOIN,
        &(hub__errand_t){.kind = HUB__ERRAND_JOIN, .accepted = true, .payload = response});
}

hub_status_t hub_join_reject(hub_t *hub, const hub_token_t *token, hub_payload_t detail)
{
    return by_token(hub, token, HUB__TOKEN_JOIN,
                    &(hub__errand_t){.kind = HUB__ERRAND_JOIN, .payload = detail});
}

hub_status_t hub_resume(hub_t *hub, const hub_token_t *token)
{
    return by_token(hub, token, HUB__TOKEN_RESUME, &(hub__errand_t){.kind = HUB__ERRAND_RESUME});
}
