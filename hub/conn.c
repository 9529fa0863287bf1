/* SPDX-License-Identifier: MIT */
/* One client, whatever its transport: its outbox and its bounds, its deadlines, and its end. A
 * connection that is to end finishes the callback at hand first, then its session, then what is
 * queued, then the transport. */
#include "hub/internal.h"
#include "hub/drain.h"
#include "hub/handshake.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>

#define H2O_SOCKET 224 /* what h2o has for one */

static const char *const REASONS[] = {
#define HUB_DISCONNECT_TEXT(name, text) text,
    HUB_DISCONNECT_MAP(HUB_DISCONNECT_TEXT)
#undef HUB_DISCONNECT_TEXT
};

static const char *const HOOKS[] = {
    [HUB_HOOK_MESSAGE_IN] = "message_in",
    [HUB_HOOK_OPEN] = "open",
    [HUB_HOOK_JOIN] = "join",
    [HUB_HOOK_LEAVE] = "leave",
    [HUB_HOOK_DISCONNECTING] = "disconnecting",
    [HUB_HOOK_DISCONNECT] = "disconnect",
    [HUB_HOOK_MESSAGE_SENT] = "message_sent",
    [HUB_HOOK_MESSAGE_FAILED] = "message_failed",
    [HUB_HOOK_ERROR] = "error",
};

const char *hub_disconnect_reason_name(hub_disconnect_reason_t reason)
{
    return (size_t)reason < sizeof(REASONS) / sizeof(*REASONS) ? REASONS[reason] : "unknown";
}

hub__worker_t *hub__conn_worker(const hub_conn_t *conn)
{
    return hub__conn_seat(conn)->worker;
}

static const hub__transport_t *transport_of(const hub_conn_t *conn)
{
    return conn->is_longpoll ? &hub__longpoll
           : conn->is_tls    ? &hub__websocket_tls
                             : &hub__websocket;
}

hub__conn_extra_t *hub__conn_extra(hub_conn_t *conn)
{
    if (conn->extra == NULL && (conn->extra = hub__peer_alloc_zeroed(sizeof(*conn->extra))) != NULL)
        conn->extra->conn = conn;
    return conn->extra;
}

/* ---- the end of turn ---- */

void hub__conn_want_proceed(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    if (conn->due)
        return;
    conn->due = true;
    hub__worker_line_up(worker, &worker->due, conn);
    hub__worker_touch(worker);
}

static void line_up(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    hub__worker_line_up(worker, &worker->flushing, conn);
    hub__worker_touch(worker);
}

bool hub__conn_is_ready(const hub_conn_t *conn)
{
    return hub__conn_is_open(conn) && !conn->is_longpoll && !conn->is_tls && !conn->flushing &&
           !conn->blocked && hub__outbox_is_empty(&conn->outbox);
}

void hub__conn_set_ready(hub_conn_t *conn)
{
    if (hub__conn_is_ready(conn))
        hub__conn_worker(conn)->slots[conn->slot].ready_fd = conn->fd;
}

static void set_unready(hub_conn_t *conn)
{
    hub__conn_worker(conn)->slots[conn->slot].ready_fd = -1;
}

void hub__conn_set_blocked(hub_conn_t *conn, bool blocked)
{
    hub_stats_t *stats = &hub__conn_worker(conn)->stats;

    if (conn->blocked == blocked)
        return;
    conn->blocked = blocked;
    if (blocked)
        HUB__STAT(stats, conns_blocked);
    else
        HUB__STAT_SUB(stats, conns_blocked, 1);
}

void hub__conn_want_flush(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    if (conn->flushing || conn->destroyed)
        return;
    set_unready(conn);
    conn->flushing = true;
    if (worker->reading != conn)
        line_up(conn);
}

/* What is there may be all that the turn has for it: then it leaves while everything about this
 * connection is at hand, here and in the kernel. */
static bool may_flush_early(const hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    return !conn->due && !worker->behind && worker->dirty_first == NULL && !worker->emits_waiting &&
           !worker->presence_due && hub__worker_may_write(worker);
}

void hub__conn_read(hub_conn_t *conn, char *bytes, size_t len)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    bool in_line = conn->flushing;

    worker->reading = conn;
    hub__websocket_feed(conn, bytes, len);
    worker->reading = NULL;
    if (in_line || !conn->flushing)
        return;
    if (may_flush_early(conn))
        hub__conn_flush(conn);
    else
        line_up(conn);
}

void hub__conn_flush(hub_conn_t *conn)
{
    conn->flushing = false;
    if (conn->destroyed)
        hub__conn_destroy(conn);
    else
        transport_of(conn)->flush(conn);
}

/* Without memory it is a goodbye without a reason. */
static void keep_reason(hub_conn_t *conn, hub_str_t reason)
{
    size_t len = reason.len < HUB__CLOSE_REASON_MAX ? reason.len : HUB__CLOSE_REASON_MAX;
    char *copy = hub__conn_extra(conn) != NULL ? malloc(len + 1) : NULL;

    if (copy == NULL)
        return;
    memcpy(copy, reason.base, len);
    copy[len] = '\0';
    conn->extra->close_reason = copy;
}

void hub__conn_want_close(hub_conn_t *conn, hub_disconnect_reason_t why, unsigned code,
                          hub_str_t reason)
{
    if (conn->close_wanted || conn->state != HUB__CONN_OPEN)
        return;
    set_unready(conn);
    conn->close_wanted = true;
    conn->session.closing = true;
    conn->close_why = (uint8_t)why;
    conn->close_code = (uint16_t)code;
    if (reason.len != 0)
        keep_reason(conn, reason);
    hub__conn_want_proceed(conn);
}

/* ---- outbox ---- */

/* The root's first, then those of each included hub down to the member's own. */
static hub_status_t run_hooks_down(hub_t *hub, hub_hook_event_t *event)
{
    hub_status_t err = hub->parent != NULL ? run_hooks_down(hub->parent, event) : HUB_OK;

    return err != HUB_OK ? err : hub__run_hooks(hub, event);
}

hub_status_t hub__conn_run_hooks(const hub_conn_t *conn, hub_hook_event_t *event)
{
    hub_t *root = hub__conn_root(conn);
    hub_status_t err;

    if (!root->hooks_any[event->hook])
        return HUB_OK;
    err = run_hooks_down(event->member != NULL ? hub__member_channel(event->member)->hub : root,
                         event);
    hub__worker_called(hub__conn_worker(conn), "hook", root->name, hub_str(HOOKS[event->hook]));
    return err;
}

static void note_hook(hub_conn_t *conn, const hub_message_t *note, hub_hook_t hook,
                      hub_status_t status)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    hub_hook_event_t event = {.hook = hook, .msg = note, .status = status, .conn = conn};

    if (worker->noting)
        return; /* what a hook sends and cannot is not told to hooks again */
    worker->noting = true;
    event.member = conn->session.ended ? NULL : hub__session_find(&conn->session, note->topic);
    (void)hub__conn_run_hooks(conn, &event);
    worker->noting = false;
}

void hub__conn_on_sent(const hub_message_t *note, void *conn)
{
    note_hook(conn, note, HUB_HOOK_MESSAGE_SENT, HUB_OK);
}

static void on_lost(const hub_message_t *note, void *conn)
{
    note_hook(conn, note, HUB_HOOK_MESSAGE_FAILED, HUB_ECLOSED);
}

hub_status_t hub__conn_drop(hub_conn_t *conn, const hub__run_t *run, uint32_t messages,
                            hub_status_t status)
{
    HUB__STAT_ADD(&hub__conn_worker(conn)->stats, dropped_total, messages);
    if (run->note != NULL)
        note_hook(conn, run->note, HUB_HOOK_MESSAGE_FAILED, status);
    return status;
}

static bool is_full(const hub_conn_t *conn, size_t bytes, size_t messages)
{
    const hub_limits_t *limits = hub__conn_limits(conn);
    const hub__outbox_t *outbox = &conn->outbox;

    return !hub__outbox_is_empty(outbox) &&
           (hub__outbox_bytes(outbox) + bytes > limits->outbox_bytes ||
            hub__outbox_messages(outbox) + messages > limits->outbox_messages ||
            hub__outbox_len(outbox) > limits->outbox_messages);
}

/* A burst of one turn is no sign of a slow reader: that the socket takes no more is. */
bool hub__conn_has_room(hub_conn_t *conn, size_t bytes, size_t messages)
{
    if (!is_full(conn, bytes, messages))
        return true;
    if (!hub__wants_notes(hub__conn_root(conn)))
        transport_of(conn)->relieve(conn);
    return hub__conn_is_open(conn) && !is_full(conn, bytes, messages);
}

hub_status_t hub__conn_enqueue(hub_conn_t *conn, hub__run_t *run, uint32_t start, uint32_t end,
                               uint32_t messages, uint32_t tag)
{
    hub_stats_t *stats = &hub__conn_worker(conn)->stats;

    if (!hub__conn_is_open(conn))
        return hub__conn_drop(conn, run, messages, HUB_ECLOSED);
    if (!hub__conn_has_room(conn, end - start, messages)) {
        hub__conn_want_close(conn, HUB_DISCONNECT_SLOW, 4008, HUB_STR("slow"));
        return hub__conn_drop(conn, run, messages, HUB_ESLOW);
    }
    hub__run_stamp(run, hub__conn_worker(conn)->now_ms);
    if (hub__outbox_append(&conn->outbox, run, start, end, messages, tag) != HUB_OK) {
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
        return hub__conn_drop(conn, run, messages, HUB_ENOMEM);
    }
    HUB__STAT_ADD(stats, messages_out_total, messages);
    HUB__STAT_ADD(stats, outbox_bytes, end - start);
    hub__conn_want_flush(conn);
    return HUB_OK;
}

void hub__conn_enqueue_rest(hub_conn_t *conn, hub__run_t *run, size_t wrote, uint32_t tag)
{
    if (hub__conn_enqueue(conn, run, 0, run->len, run->messages, tag) != HUB_OK || wrote == 0)
        return;
    HUB__STAT_SUB(&hub__conn_worker(conn)->stats, outbox_bytes, wrote);
    hub__outbox_consume(&conn->outbox, wrote, NULL, NULL);
}

void hub__conn_control(hub_conn_t *conn, hub__opcode_t opcode, hub_str_t payload)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    hub__run_t *run = hub__worker_run(worker);
    uint32_t start;

    if (run == NULL || conn->lost)
        return;
    if (hub__conn_is_open(conn) && !hub__conn_has_room(conn, 0, 0)) {
        /* pongs that nobody reads are no way around the bound */
        hub__conn_want_close(conn, HUB_DISCONNECT_SLOW, 4008, HUB_STR("slow"));
        return;
    }
    start = run->len;
    hub__run_stamp(run, worker->now_ms);
    if (hub__run_append(run, HUB__FRAME_FIN | opcode, payload) != HUB_OK ||
        hub__outbox_append(&conn->outbox, run, start, run->len, 0, 0) != HUB_OK) {
        conn->lost = conn->state != HUB__CONN_OPEN;
        return;
    }
    HUB__STAT_ADD(&worker->stats, outbox_bytes, run->len - start);
    hub__conn_want_flush(conn);
}

/* ---- deadlines ---- */

static bool reached(uint32_t now, uint32_t since, size_t ms)
{
    return ms != HUB_OFF && (uint32_t)(now - since) >= ms;
}

static void earliest(uint64_t *due, uint64_t now_ms, uint32_t now, uint32_t since, size_t ms)
{
    uint64_t at;

    if (ms == HUB_OFF)
        return;
    at = now_ms + ms - (uint32_t)(now - since);
    if (at < *due)
        *due = at;
}

/* Of pings and what goes with them. Traffic only moves last_seen: a deadline that it has put off is
 * found to be early when the timer fires. */
static uint64_t ping_due_at(const hub_conn_t *conn)
{
    const hub_limits_t *limits = hub__conn_limits(conn);
    const hub__worker_t *worker = hub__conn_worker(conn);
    uint32_t now = (uint32_t)worker->now_ms;
    uint64_t due = UINT64_MAX;

    if (conn->paused)
        due = hub__conn_readable_at(conn);
    else if (conn->pinged)
        earliest(&due, worker->now_ms, now, conn->ping_at, limits->pong_ms);
    else
        earliest(&due, worker->now_ms, now, conn->last_seen, limits->ping_ms);
    if (!conn->paused)
        earliest(&due, worker->now_ms, now, conn->last_seen, limits->idle_ms);
    if (!conn->paused && conn->unfinished)
        earliest(&due, worker->now_ms, now, hub__frame_reader_stamped(&conn->reader),
                 limits->unfinished_ms);
    if (conn->blocked && !hub__outbox_is_empty(&conn->outbox))
        earliest(&due, worker->now_ms, now, hub__outbox_since(&conn->outbox),
                 limits->outbox_age_ms);
    return due;
}

/* The next moment at which something has to be looked at. */
void hub__conn_rearm(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    uint64_t due;

    if (conn->state != HUB__CONN_OPEN)
        return; /* the closing deadline stands */
    due = transport_of(conn)->due_at != NULL ? transport_of(conn)->due_at(conn) : ping_due_at(conn);
    if (conn->extra != NULL && conn->extra->expires_at_ms != 0 && conn->extra->expires_at_ms < due)
        due = conn->extra->expires_at_ms;
    if (conn->extra != NULL && conn->extra->join_by_ms != 0 && conn->extra->join_by_ms < due)
        due = conn->extra->join_by_ms;
    if (due == UINT64_MAX)
        hub__timer_disarm(worker->wheel, &conn->timer);
    else
        hub__timer_arm(worker->wheel, &conn->timer, due);
}

static void on_closing_deadline(hub_conn_t *conn)
{
    hub__conn_destroy(conn);
}

/* Its time to join something is over. */
static void on_join_by(hub_conn_t *conn, uint64_t now_ms)
{
    if (conn->session.has_joined)
        conn->extra->join_by_ms = 0;
    else if (conn->session.members.count != 0) /* its answer is still to come */
        conn->extra->join_by_ms = now_ms + hub__conn_limits(conn)->unjoined_ms;
    else
        hub__conn_want_close(conn, HUB_DISCONNECT_STALE, 4001, HUB_STR("stale"));
}

static void on_deadline(hub__timer_t *timer, uint64_t now_ms)
{
    hub_conn_t *conn = HUB__CONTAINER(timer, hub_conn_t, timer);
    const hub_limits_t *limits = hub__conn_limits(conn);
    uint32_t now = (uint32_t)now_ms;

    if (conn->state != HUB__CONN_OPEN) {
        on_closing_deadline(conn);
        return;
    }
    if (conn->extra != NULL && conn->extra->expires_at_ms != 0 &&
        now_ms >= conn->extra->expires_at_ms)
        hub__conn_want_close(conn, HUB_DISCONNECT_EXPIRED, 4003, HUB_STR("expired"));
    else if (conn->extra != NULL && conn->extra->join_by_ms != 0 &&
             now_ms >= conn->extra->join_by_ms)
        on_join_by(conn, now_ms);
    else if (transport_of(conn)->on_due != NULL)
        transport_of(conn)->on_due(conn, now_ms);
    else if (conn->paused && now_ms >= hub__conn_readable_at(conn))
        hub__conn_resume(conn);
    else if (conn->blocked && !hub__outbox_is_empty(&conn->outbox) &&
             reached(now, hub__outbox_since(&conn->outbox), limits->outbox_age_ms))
        hub__conn_want_close(conn, HUB_DISCONNECT_SLOW, 4008, HUB_STR("slow"));
    else if (conn->paused) /* it has no chance to answer */
        ;
    else if (conn->pinged && reached(now, conn->ping_at, limits->pong_ms))
        hub__conn_want_close(conn, HUB_DISCONNECT_PING_TIMEOUT, 0, (hub_str_t){0});
    else if (reached(now, conn->last_seen, limits->idle_ms))
        hub__conn_want_close(conn, HUB_DISCONNECT_IDLE, 1001, HUB_STR("idle"));
    else if (conn->unfinished &&
             reached(now, hub__frame_reader_stamped(&conn->reader), limits->unfinished_ms))
        hub__conn_want_close(conn, HUB_DISCONNECT_LIMIT, 1008, HUB_STR("unfinished message"));
    else if (!conn->pinged && reached(now, conn->last_seen, limits->ping_ms)) {
        conn->pinged = true;
        conn->ping_at = now;
        transport_of(conn)->ping(conn);
    }
    hub__conn_rearm(conn);
}

void hub__conn_seen(hub_conn_t *conn)
{
    const hub__seat_t *seat = hub__conn_seat(conn);
    uint32_t now = (uint32_t)seat->worker->now_ms, elapsed = now - conn->last_seen;

    if (elapsed != 0)
        hub__debts_pay(&conn->session.debts, &seat->host.rates, elapsed);
    conn->last_seen = now;
    if (conn->pinged) {
        conn->pinged = false;
        hub__conn_rearm(conn);
    }
}

/* ---- life ---- */

static size_t grant_size(const hub__conn_birth_t *birth)
{
    const hub_grant_t *grant = birth->grant;
    size_t size = birth->query.len + birth->protocol.len;

    if (grant == NULL)
        return size;
    size += grant->identity.len + grant->attribute_count * sizeof(hub_attribute_t);
    for (size_t i = 0; i != grant->attribute_count; ++i)
        size += strlen(grant->attributes[i].name) + 1 + grant->attributes[i].value.len;
    return size + sizeof(max_align_t);
}

static hub_str_t put(char **at, hub_str_t text)
{
    hub_str_t copy = hub_str_n(text.base == NULL ? NULL : *at, text.len);

    if (text.len != 0)
        memcpy(*at, text.base, text.len);
    *at += text.len;
    return copy;
}

static void put_attributes(hub__conn_extra_t *extra, const hub_grant_t *grant, char **at)
{
    uintptr_t aligned = ((uintptr_t)*at + _Alignof(hub_attribute_t) - 1) &
                        ~(uintptr_t)(_Alignof(hub_attribute_t) - 1);

    extra->attributes = (hub_attribute_t *)aligned;
    extra->attribute_count = grant->attribute_count;
    *at = (char *)(extra->attributes + grant->attribute_count);
    for (size_t i = 0; i != grant->attribute_count; ++i) {
        size_t name_size = strlen(grant->attributes[i].name) + 1;

        extra->attributes[i].name = *at;
        memcpy(*at, grant->attributes[i].name, name_size);
        *at += name_size;
        extra->attributes[i].value = put(at, grant->attributes[i].value);
    }
}

/* What few connections have: identity, attributes, a kept query, a subprotocol. False: no memory.
 */
static bool make_extra(hub_conn_t *conn, const hub__conn_birth_t *birth)
{
    const hub_grant_t *grant = birth->grant;
    bool granted = grant != NULL &&
                   (grant->identity.len != 0 || grant->attribute_count != 0 ||
                    grant->expires_in_ms != 0 || grant->user != NULL || grant->on_free != NULL);
    hub__worker_t *worker = hub__conn_worker(conn);
    hub__conn_extra_t *extra;
    char *at;

    if (!granted && birth->query.len == 0 && birth->protocol.len == 0 &&
        !birth->deflate.client_context)
        return true;
    if ((extra = hub__peer_alloc_zeroed(sizeof(*extra) + grant_size(birth))) == NULL)
        return false;
    extra->conn = conn;
    at = extra->text;
    if (granted) {
        put_attributes(extra, grant, &at);
        if (grant->identity.len != 0)
            extra->identity = put(&at, grant->identity);
        extra->user = grant->user;
        extra->on_free = grant->on_free;
        if (grant->expires_in_ms != 0)
            extra->expires_at_ms = worker->now_ms + grant->expires_in_ms;
        if (extra->identity.len != 0) {
            extra->has_identity = true;
            extra->identity_node.hash = hub__hash(extra->identity);
            hub__table_insert(&worker->identities, &extra->identity_node);
        }
    }
    extra->query = put(&at, birth->query);
    extra->protocol = put(&at, birth->protocol);
    conn->extra = extra;
    return true;
}

static void free_extra(hub_conn_t *conn)
{
    hub__conn_extra_t *extra = conn->extra;

    if (extra == NULL)
        return;
    hub__kin_leave(&hub__conn_seat(conn)->endpoint->kin, &extra->kin);
    if (extra->has_identity)
        hub__table_remove(&hub__conn_worker(conn)->identities, &extra->identity_node);
    if (extra->on_free != NULL)
        extra->on_free(extra->user);
    free(extra->close_reason);
    hub__inflater_destroy(extra->inflater);
    hub__peer_free(extra);
    conn->extra = NULL;
}

/* The limits of what it is rather than of what it does. False: no memory. */
static bool limit_extra(hub_conn_t *conn)
{
    hub__endpoint_t *endpoint = hub__conn_seat(conn)->endpoint;
    hub__worker_t *worker = hub__conn_worker(conn);
    size_t unjoined_ms = endpoint->options.limits.unjoined_ms;

    if (endpoint->hub != NULL && unjoined_ms != HUB_OFF) {
        if (hub__conn_extra(conn) == NULL)
            return false;
        conn->extra->join_by_ms = worker->now_ms + unjoined_ms;
    }
    if (conn->extra == NULL || !conn->extra->has_identity)
        return true;
    conn->extra->kin.worker = worker;
    conn->extra->kin.local = hub__worker_local(worker, conn->slot);
    return hub__kin_enter(&endpoint->kin, &conn->extra->kin, conn->extra->identity) == HUB_OK;
}

static hub_conn_t *conn_alloc(hub__worker_t *worker)
{
    hub_conn_t *conn;

    if (!hub__worker_conn_made(worker))
        return NULL;
    if ((conn = hub__peer_alloc_zeroed(sizeof(*conn))) == NULL) {
        hub__worker_conn_freed(worker);
        return NULL;
    }
    hub__account.bytes += H2O_SOCKET;
    return conn;
}

static void conn_free(hub__worker_t *worker, hub_conn_t *conn)
{
    hub__account.bytes -= H2O_SOCKET;
    hub__worker_conn_freed(worker);
    hub__peer_free(conn);
}

hub_conn_t *hub__conn_create(const hub__conn_birth_t *birth)
{
    hub__worker_t *worker = birth->seat->worker;
    hub_conn_t *conn = conn_alloc(worker);

    if (conn == NULL)
        goto Failed;
    if (hub__worker_slot_take(worker, conn, &conn->slot) != HUB_OK) {
        conn_free(worker, conn);
        goto Failed;
    }
    if ((conn->is_longpoll = birth->longpoll != NULL))
        conn->longpoll = birth->longpoll;
    else if ((conn->is_tls = birth->tls != NULL))
        conn->tls = birth->tls;
    else
        conn->socket = birth->socket;
    conn->fd = conn->is_longpoll ? -1 : h2o_socket_get_fd(birth->socket);
    if (birth->deflate.server_bits != 0)
        conn->window = (uint8_t)(hub__window_for(birth->deflate.server_bits) & 3);
    if (birth->deflate.client_context)
        conn->context_bits = (uint8_t)(birth->deflate.client_bits & 15);
    conn->timer.on_due = on_deadline;
    hub__session_init(&conn->session, &birth->seat->host, birth->dialect);
    if (!make_extra(conn, birth)) {
        hub__worker_slot_free(worker, conn->slot);
        conn_free(worker, conn);
        goto Failed;
    }
    if (!limit_extra(conn)) {
        free_extra(conn);
        hub__worker_slot_free(worker, conn->slot);
        conn_free(worker, conn);
        return NULL;
    }
    conn->last_seen = (uint32_t)worker->now_ms;
    HUB__STAT(&worker->stats, conns);
    HUB__STAT(&worker->stats, conns_total);
    hub__conn_rearm(conn);
    return conn;

Failed:
    if (birth->grant != NULL && birth->grant->on_free != NULL)
        birth->grant->on_free(birth->grant->user);
    return NULL;
}

static void log_conn(const hub_conn_t *conn, const char *event, const char *reason)
{
    char id[HUB_CONN_ID_TEXT];

    if (hub_log_enabled(HUB_LOG_DEBUG))
        hub_log(HUB_LOG_DEBUG, event, "conn=%s%s%s", hub_conn_id_format(hub_conn_id(conn), id),
                reason != NULL ? " reason=" : "", reason != NULL ? reason : "");
}

void hub__conn_open(hub_conn_t *conn)
{
    const hub__endpoint_t *endpoint = hub__conn_seat(conn)->endpoint;
    hub_hook_event_t event = {.hook = HUB_HOOK_OPEN, .conn = conn};
    hub_status_t err;

    conn->opened = true;
    log_conn(conn, "conn.open", NULL);
    if (endpoint->hub != NULL) {
        (void)hub__conn_run_hooks(conn, &event);
        return;
    }
    if (endpoint->raw.on_open == NULL)
        return;
    err = endpoint->raw.on_open(conn, endpoint->raw.user);
    hub__worker_called(hub__conn_worker(conn), "on_open", endpoint->path, (hub_str_t){0});
    if (err != HUB_OK)
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("Internal Server Error"));
}

static void raw_message(hub_conn_t *conn, hub_str_t bytes, bool binary)
{
    const hub__endpoint_t *endpoint = hub__conn_seat(conn)->endpoint;
    hub__worker_t *worker = hub__conn_worker(conn);
    hub_status_t err = endpoint->raw.on_message(conn, bytes, binary, endpoint->raw.user);

    hub__worker_called(worker, "on_message", endpoint->path, (hub_str_t){0});
    if (err == HUB_OK)
        return;
    HUB__STAT(&worker->stats, handler_errors_total);
    hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("Internal Server Error"));
}

void hub__conn_message(hub_conn_t *conn, hub_str_t bytes, bool binary)
{
    const hub__endpoint_t *endpoint = hub__conn_seat(conn)->endpoint;
    hub__worker_t *worker = hub__conn_worker(conn);

    HUB__STAT(&worker->stats, messages_in_total);
    hub__source_is_conn(conn);
    if (endpoint->hub != NULL)
        hub__session_receive(&conn->session, bytes, binary, &worker->scratch);
    else if (!hub__rate_take(&conn->session.debts.messages,
                             &hub__conn_seat(conn)->host.rates.messages))
        hub__conn_over_rate(conn, false);
    else
        raw_message(conn, bytes, binary);
    hub__source_set(NULL, NULL);
}

static void count_end(hub_stats_t *stats, hub_disconnect_reason_t why)
{
    uint64_t *const counters[] = {
        &stats->closed_client_total,    &stats->closed_lost_total,
        &stats->closed_server_total,    &stats->closed_protocol_total,
        &stats->closed_too_large_total, &stats->closed_limit_total,
        &stats->closed_slow_total,      &stats->closed_ping_timeout_total,
        &stats->closed_idle_total,      &stats->closed_refused_total,
        &stats->closed_error_total,     &stats->closed_shutdown_total,
        &stats->closed_duplicate_total, &stats->closed_expired_total,
        &stats->closed_stale_total,
    };

    _Static_assert(sizeof(counters) / sizeof(*counters) == sizeof(REASONS) / sizeof(*REASONS),
                   "every reason has a counter");
    __atomic_store_n(counters[why], *counters[why] + 1, __ATOMIC_RELAXED);
}

/* on_exit of all members, on_disconnect: exactly once. */
static void end_session(hub_conn_t *conn, hub_disconnect_reason_t why)
{
    hub__endpoint_t *endpoint = hub__conn_seat(conn)->endpoint;
    hub__worker_t *worker = hub__conn_worker(conn);

    if (conn->extra != NULL)
        hub__kin_leave(&endpoint->kin, &conn->extra->kin);
    log_conn(conn, "conn.close", hub_disconnect_reason_name(why));
    count_end(&worker->stats, why);
    HUB__STAT_SUB(&worker->stats, conns, 1);
    if (!conn->opened)
        conn->session.ended = true;
    else if (endpoint->hub != NULL)
        hub__session_end(&conn->session, why);
    else if (endpoint->raw.on_close != NULL) {
        endpoint->raw.on_close(conn, why, endpoint->raw.user);
        hub__worker_called(worker, "on_close", endpoint->path, (hub_str_t){0});
    }
    conn->session.ended = true;
}

/* What waits when a connection ends for its full outbox would stand between the client and the
 * news. */
static void make_room(hub_conn_t *conn)
{
    size_t before = hub__outbox_bytes(&conn->outbox);
    uint32_t lost = hub__outbox_trim(&conn->outbox, on_lost, conn);

    HUB__STAT_SUB(&hub__conn_worker(conn)->stats, outbox_bytes,
                  before - hub__outbox_bytes(&conn->outbox));
    HUB__STAT_ADD(&hub__conn_worker(conn)->stats, dropped_total, lost);
}

static void begin_close(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    hub_str_t reason = hub_str(conn->extra != NULL ? conn->extra->close_reason : NULL);
    char restart[HUB__RESTART_REASON];

    if (conn->close_why == HUB_DISCONNECT_SHUTDOWN)
        reason = hub__restart_reason(hub__worker_retry_ms(worker), restart);
    end_session(conn, conn->close_why);
    conn->state = HUB__CONN_CLOSING;
    if (conn->close_why == HUB_DISCONNECT_SLOW)
        make_room(conn);
    if (conn->lost || conn->close_why == HUB_DISCONNECT_PING_TIMEOUT) {
        hub__conn_destroy(conn);
        return;
    }
    hub__timer_arm(worker->wheel, &conn->timer, worker->now_ms + hub__conn_limits(conn)->close_ms);
    transport_of(conn)->close(conn, conn->close_code, reason);
}

void hub__conn_proceed(hub_conn_t *conn)
{
    if (conn->session.scheduled)
        hub__session_proceed(&conn->session);
    if (conn->close_wanted && conn->state == HUB__CONN_OPEN)
        begin_close(conn);
}

void hub__conn_lost(hub_conn_t *conn, hub_disconnect_reason_t why)
{
    if (conn->state == HUB__CONN_OPEN) {
        conn->lost = true;
        end_session(conn, conn->close_wanted ? conn->close_why : why);
        conn->state = HUB__CONN_CLOSING;
    }
    hub__conn_destroy(conn);
}

void hub__conn_destroy(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    if (!conn->destroyed) {
        conn->destroyed = true;
        hub__conn_set_blocked(conn, false);
        hub__timer_disarm(worker->wheel, &conn->timer);
        HUB__STAT_SUB(&worker->stats, outbox_bytes, hub__outbox_bytes(&conn->outbox));
        HUB__STAT_ADD(&worker->stats, dropped_total, hub__outbox_messages(&conn->outbox));
        hub__outbox_dispose(&conn->outbox, on_lost, conn);
        transport_of(conn)->dispose(conn);
        free_extra(conn);
        hub__worker_slot_free(worker, conn->slot);
        hub__seat_dismiss(hub__conn_seat(conn));
    }
    if (!conn->due && !conn->flushing)
        conn_free(worker, conn);
}

/* ---- public ---- */

hub_conn_id_t hub_conn_id(const hub_conn_t *conn)
{
    hub_t *root = hub__conn_root(conn);

    return (hub_conn_id_t){.node = root != NULL ? root->node : 0,
                           .local = hub__worker_local(hub__conn_worker(conn), conn->slot)};
}

hub_str_t hub_conn_identity(const hub_conn_t *conn)
{
    return conn->extra != NULL ? conn->extra->identity : (hub_str_t){0};
}

hub_str_t hub_conn_attribute(const hub_conn_t *conn, const char *name)
{
    for (size_t i = 0; conn->extra != NULL && i != conn->extra->attribute_count; ++i)
        if (strcmp(conn->extra->attributes[i].name, name) == 0)
            return conn->extra->attributes[i].value;
    return (hub_str_t){0};
}

/* Asks the kernel: h2o would keep the answer in a block of its own as long as the socket lives. */
static hub_str_t peer_text(int fd, char *buffer, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char host[NI_MAXHOST];
    size_t host_len;
    int wrote;

    if (getpeername(fd, (struct sockaddr *)&address, &len) != 0)
        return (hub_str_t){0};
    if (address.ss_family != AF_INET && address.ss_family != AF_INET6)
        return HUB_STR("unix");
    host_len = h2o_socket_getnumerichost((struct sockaddr *)&address, len, host);
    if (host_len == SIZE_MAX)
        return (hub_str_t){0};
    wrote = snprintf(buffer, size, address.ss_family == AF_INET6 ? "[%.*s]:%d" : "%.*s:%d",
                     (int)host_len, host, (int)h2o_socket_getport((struct sockaddr *)&address));
    return hub_str_n(buffer, (size_t)wrote < size ? (size_t)wrote : size - 1);
}

hub_str_t hub__peer_text(h2o_socket_t *socket, char *buffer, size_t size)
{
    return peer_text(h2o_socket_get_fd(socket), buffer, size);
}

static hub_str_t ask_conn(const void *who, char text[HUB__SOURCE_TEXT])
{
    const hub_conn_t *conn = who;

    return conn->is_longpoll ? hub_conn_peer(conn) : peer_text(conn->fd, text, HUB__SOURCE_TEXT);
}

void hub__source_is_conn(const hub_conn_t *conn)
{
    hub__source_set(ask_conn, conn);
}

static hub_str_t ask_socket(const void *who, char text[HUB__SOURCE_TEXT])
{
    /* h2o asks for a socket that it may change, and does not */
    return hub__peer_text((h2o_socket_t *)(uintptr_t)who, text, HUB__SOURCE_TEXT);
}

void hub__source_is_socket(h2o_socket_t *socket)
{
    hub__source_set(ask_socket, socket);
}

hub_str_t hub_conn_peer(const hub_conn_t *conn)
{
    return transport_of(conn)->peer(conn);
}

hub_str_t hub_conn_protocol(const hub_conn_t *conn)
{
    return conn->extra != NULL ? conn->extra->protocol : (hub_str_t){0};
}

hub_str_t hub_conn_format(const hub_conn_t *conn)
{
    return hub__conn_seat(conn)->endpoint->hub == NULL ? HUB_STR("raw")
                                                       : hub_str(conn->session.dialect->name);
}

hub_str_t hub_conn_query(const hub_conn_t *conn, const char *name)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    hub_str_t query = conn->extra != NULL && conn->extra->query.len != 0 ? conn->extra->query
                                                                         : worker->opening_query;
    hub_str_t value;

    if (query.len == 0 || hub__query_param(query, hub_str(name), worker->text, sizeof(worker->text),
                                           &value) != HUB_OK)
        return (hub_str_t){0};
    return value;
}

size_t hub_conn_member_count(const hub_conn_t *conn)
{
    return conn->session.members.count;
}

hub_member_t *hub_conn_member(const hub_conn_t *conn, hub_str_t topic)
{
    hub_member_t *member = hub__session_find(&conn->session, topic);

    return member != NULL && member->state == HUB__MEMBER_JOINED ? member : NULL;
}

void hub_conn_set_user(hub_conn_t *conn, void *user, void (*on_free)(void *user))
{
    hub__conn_extra_t *extra = hub__conn_extra(conn);

    if (extra == NULL)
        abort();
    if (extra->on_free != NULL && extra->user != user)
        extra->on_free(extra->user);
    extra->user = user;
    extra->on_free = on_free;
}

void *hub_conn_user(const hub_conn_t *conn)
{
    return conn->extra != NULL ? conn->extra->user : NULL;
}

void hub_conn_close(hub_conn_t *conn, unsigned code, hub_str_t reason)
{
    hub__conn_want_close(conn, HUB_DISCONNECT_SERVER, hub__close_code_valid(code) ? code : 1011,
                         reason);
}

hub_status_t hub_conn_send(hub_conn_t *conn, hub_str_t bytes, bool binary)
{
    hub__run_t *run = hub__worker_run(hub__conn_worker(conn));
    uint32_t start;
    hub_status_t err;

    if (hub__conn_seat(conn)->endpoint->hub != NULL)
        return HUB_EINVAL;
    if (!hub__conn_is_open(conn))
        return HUB_ECLOSED;
    if (run == NULL)
        return HUB_ENOMEM;
    start = run->len;
    err = hub__run_append(run, HUB__FRAME_FIN | (binary ? HUB__OP_BINARY : HUB__OP_TEXT), bytes);
    if (err != HUB_OK)
        return err;
    hub__conn_deflate(conn, run, start);
    return hub__conn_enqueue(conn, run, start, run->len, 1, 0);
}
