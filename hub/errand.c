/* SPDX-License-Identifier: MIT */
/* What is addressed to a connection by id, by identity or by token, from any thread: copied whole,
 * carried to its worker, and done there if the connection is still the one that was meant. */
#include <stdlib.h>

#include "bus/json.h"
#include "hub/internal.h"

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

    if (member != NULL)
        (void)hub_member_push(member, errand->event, errand->payload);
}

static void log_displaced(const hub_conn_t *conn)
{
    char id[HUB_CONN_ID_TEXT];

    hub__source_is_conn(conn);
    hub_log_peer(HUB_LOG_WARN, "conn.displaced", "conn=%s why=conns_per_identity",
                 hub_conn_id_format(hub_conn_id(conn), id));
    hub__source_set(NULL, NULL);
}

static void do_errand(hub_conn_t *conn, const hub__errand_t *errand)
{
    hub__session_t *session = &conn->session;

    if (hub__conn_seat(conn)->endpoint->hub != errand->root || !hub__conn_is_open(conn))
        return;
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
}

static void run_errand(hub_task_t *task)
{
    hub__errand_t *errand = HUB__CONTAINER(task, hub__errand_t, task);
    hub__worker_t *worker = errand->worker;

    if (errand->identity.len == 0) {
        hub_conn_t *conn = hub__worker_conn(worker, errand->local);

        if (conn != NULL)
            do_errand(conn, errand);
    } else {
        uint64_t hash = hub__hash(errand->identity);

        for (hub__table_node_t *node = hub__table_chain(&worker->identities, hash); node != NULL;
             node = node->next) {
            hub__conn_extra_t *extra = HUB__CONTAINER(node, hub__conn_extra_t, identity_node);

            if (node->hash == hash && hub_str_equals(extra->identity, errand->identity))
                do_errand(extra->conn, errand);
        }
    }
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

static hub_status_t to_conn(hub_t *hub, hub_conn_id_t id, hub__errand_t *errand)
{
    hub_t *root = hub__root(hub);
    hub__worker_t *worker;
    hub_status_t err;

    errand->root = root;
    errand->local = id.local;
    pthread_mutex_lock(&root->lock);
    worker = hub__worker_of(root, id);
    err = worker != NULL          ? send_errand(worker, errand)
          : id.node == root->node ? HUB_ECLOSED
                                  : HUB_ENOTFOUND;
    pthread_mutex_unlock(&root->lock);
    return err;
}

static hub_status_t to_identity(hub_t *hub, hub_str_t identity, hub__errand_t *errand)
{
    hub_t *root = hub__root(hub);
    hub_status_t err = HUB_OK;

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
    return err;
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
