/* SPDX-License-Identifier: MIT */
/* A session's world: what it asks for, carried out by its connection, its worker and its hub. */
#include "hub/internal.h"

#include "bus/json.h"

static hub_conn_t *conn_of(hub__session_t *session)
{
    return (hub_conn_t *)session;
}

static hub_conn_id_t io_conn_id(hub__session_t *session)
{
    return hub_conn_id(conn_of(session));
}

/* A frame that hooks want to follow stands alone in its run, with what it is about. */
static hub__run_t *noted_run(const hub_conn_t *conn, const hub__outgoing_t *out)
{
    static const char *const events[] = {"reply", NULL, NULL, "close", "error"};
    hub_message_options_t options = {.payload_is_valid = true, .origin = hub_conn_id(conn)};
    hub_str_t event = events[out->kind] != NULL ? hub_str(events[out->kind]) : out->event;
    hub__run_t *run = hub__run_create(256);

    if (run != NULL && out->topic.len != 0 &&
        hub_message_create(out->topic, event, out->payload, &options, &run->note, NULL) != HUB_OK)
        run->note = NULL;
    return run;
}

bool hub__conn_place_fragments(hub_conn_t *conn, hub_member_t *member, hub__run_t *edges,
                               uint32_t first_len, hub__run_t *body)
{
    if (conn->is_longpoll || hub__fanout_must_wait(member) || hub__slow_waits(member))
        return false;
    hub__fanout_settle_member(member);
    /* a filter may have done anything */
    if (member->state != HUB__MEMBER_JOINED || hub__fanout_must_wait(member) ||
        hub__slow_waits(member) || !hub__conn_is_open(conn) ||
        !hub__conn_has_room(conn, edges->len + body->len, 1))
        return false;
    (void)(hub__conn_enqueue(conn, edges, 0, first_len, 0, 0) == HUB_OK &&
           hub__conn_enqueue(conn, body, 0, body->len, 0, 0) == HUB_OK &&
           hub__conn_enqueue(conn, edges, first_len, edges->len, 1, 0) == HUB_OK);
    return true;
}

/* Behind the join reply, which is still to come. */
static hub_status_t hold(const hub_conn_t *conn, hub_member_t *member, hub__run_t *run,
                         uint32_t start, uint32_t end)
{
    hub__outbox_t *held;

    if (hub__member_extra(member) == NULL)
        return HUB_ENOMEM;
    held = &member->extra->held;
    return hub__outbox_bytes(held) + (end - start) > hub__conn_limits(conn)->outbox_bytes
               ? HUB_ESLOW
               : hub__outbox_append(held, run, start, end, 1, 0);
}

hub_status_t hub__conn_place(hub_conn_t *conn, hub_member_t *member, hub__run_t *run,
                             uint32_t start, uint32_t end, uint64_t key)
{
    hub_status_t err;

    if (member == NULL)
        return hub__conn_enqueue(conn, run, start, end, 1, 0);
    if (hub__fanout_must_wait(member))
        return hub__fanout_wait(member, run, start, end, key);
    ++run->refs; /* what filters send now may seal it */
    hub__fanout_settle_member(member);
    if (hub__member_is_joining(member))
        err = hold(conn, member, run, start, end);
    else if (hub__channel_keeps(hub__member_channel(member)))
        err = hub__slow_place(member, run, start, end, key);
    else
        err = hub__conn_enqueue(conn, run, start, end, 1, 0);
    hub__run_release(run);
    return err;
}

/* What a program pushes may be dropped where its channel says so, and so may a broadcast that a
 * filter has kept late; answers are waited for. */
static uint64_t key_of(const hub_member_t *member, const hub__outgoing_t *out)
{
    const hub_message_t msg = {.topic = out->topic, .event = out->event, .payload = out->payload};
    bool is_news = out->kind == HUB__OUT_PUSH || out->kind == HUB__OUT_BROADCAST;

    return member == NULL || !is_news || hub__event_is_obeyed(out->event) ||
                   !hub__channel_keeps(hub__member_channel(member))
               ? HUB__KEY_FIXED
               : hub__slow_key(hub__member_channel(member), &msg);
}

/* A client that waits for what never comes is worse off than one that is told to come again. A push
 * is the program's: it learns of it. */
static hub_status_t without_memory(hub_conn_t *conn, const hub__outgoing_t *out)
{
    if (out->kind != HUB__OUT_PUSH)
        hub__conn_want_close(conn, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
    return HUB_ENOMEM;
}

static hub_status_t io_send(hub__session_t *session, hub_member_t *member,
                            const hub__outgoing_t *out)
{
    hub_conn_t *conn = conn_of(session);
    hub__worker_t *worker = hub__conn_worker(conn);
    bool noted = hub__wants_notes(hub__conn_root(conn));
    hub__run_t *run = noted ? noted_run(conn, out) : hub__worker_run(worker);
    hub_status_t err;
    uint32_t start;

    if (run == NULL)
        return without_memory(conn, out);
    start = run->len;
    if ((err = hub__run_encode(run, session->dialect, out)) == HUB_OK) {
        HUB__STAT(&worker->stats, encodes_total);
        hub__conn_deflate(conn, run, start);
        err = hub__conn_place(conn, member, run, start, run->len, key_of(member, out));
    }
    if (noted)
        hub__run_release(run);
    return err == HUB_ENOMEM ? without_memory(conn, out) : err;
}

static hub_status_t io_subscribe(hub__session_t *session, hub_member_t *member)
{
    hub_conn_t *conn = conn_of(session);

    return hub__fanout_subscribe(hub__conn_worker(conn), hub__conn_root(conn), member);
}

static bool io_awaits(hub__session_t *session, hub_member_t *member)
{
    (void)session;
    return hub__fanout_awaits(member);
}

static void io_hurry(hub__session_t *session, hub_member_t *member)
{
    (void)session;
    hub__fanout_hurry(member);
}

static bool io_admits(hub__session_t *session, hub_str_t topic)
{
    hub_conn_t *conn = conn_of(session);
    hub__worker_t *worker = hub__conn_worker(conn);

    return hub__server_has_memory(worker) &&
           hub__fanout_has_room(worker, hub__conn_root(conn), topic);
}

static void io_unsubscribe(hub__session_t *session, hub_member_t *member)
{
    (void)session;
    hub__fanout_unsubscribe(member);
}

static void io_release(hub__session_t *session, hub_member_t *member)
{
    hub_conn_t *conn = conn_of(session);
    hub__outbox_t *held = member->extra != NULL ? &member->extra->held : NULL;

    for (uint32_t i = 0; held != NULL && i != hub__outbox_len(held); ++i) {
        const hub__range_t *range = hub__outbox_at(held, i);

        (void)hub__conn_enqueue(conn, range->run, range->start, range->end, range->messages,
                                range->tag);
    }
    if (held != NULL)
        hub__outbox_dispose(held, NULL, NULL);
    if (member->extra != NULL && member->extra->presence != NULL)
        hub__presence_joined(member);
}

static hub_status_t io_publish(hub__session_t *session, hub_member_t *member, hub_str_t event,
                               hub_payload_t payload, bool payload_is_valid, unsigned flags)
{
    hub_conn_t *conn = conn_of(session);
    hub_t *root = hub__conn_root(conn);
    hub_str_t topic = hub__member_name(member);
    hub_message_options_t options = {.origin = hub_conn_id(conn),
                                     .flags =
                                         flags | hub__channel_flags(hub__member_channel(member)),
                                     .payload_is_valid = payload_is_valid,
                                     .max_depth = HUB_JSON_DEPTH_MAX};
    hub__buffer_t prefixed = {.fallible = true};
    hub_message_t *msg;
    hub_error_t error;
    hub_status_t err;

    if (root->bus_prefix.len != 0) {
        hub__buffer_append(&prefixed, root->bus_prefix);
        hub__buffer_append(&prefixed, topic);
        topic = hub__buffer_str(&prefixed);
    }
    if (prefixed.failed) {
        hub__buffer_dispose(&prefixed);
        return HUB_ENOMEM;
    }
    err = hub_message_create(topic, event, payload, &options, &msg, &error);
    hub__buffer_dispose(&prefixed);
    if (err != HUB_OK) {
        hub_log_peer(HUB_LOG_WARN, "member.broadcast", "error=\"%s\" offset=%zu", error.text,
                     error.offset);
        return err;
    }
    err = hub_bus_publish(root->bus, msg, NULL);
    hub_message_release(msg);
    return err;
}

static void io_close(hub__session_t *session, hub_disconnect_reason_t why, unsigned code,
                     hub_str_t reason)
{
    hub__conn_want_close(conn_of(session), why, code, reason);
}

static void io_schedule(hub__session_t *session)
{
    session->scheduled = true;
    hub__conn_want_proceed(conn_of(session));
}

static void io_timer_arm(hub__session_t *session, hub__timer_t *timer, uint64_t due_ms)
{
    hub__timer_arm(hub__conn_worker(conn_of(session))->wheel, timer, due_ms);
}

static void io_timer_disarm(hub__session_t *session, hub__timer_t *timer)
{
    hub__timer_disarm(hub__conn_worker(conn_of(session))->wheel, timer);
}

static void job_back(hub_task_t *task)
{
    hub__job_t *job = HUB__CONTAINER(task, hub__job_t, task);
    hub__worker_t *worker = (hub__worker_t *)job->executor;

    --worker->jobs_out;
    hub__session_job_done(job);
}

static hub_status_t io_offload(hub__session_t *session, hub__job_t *job)
{
    hub_conn_t *conn = conn_of(session);
    hub__worker_t *worker = hub__conn_worker(conn);
    hub_status_t err;

    job->executor = &worker->executor;
    job->task = (hub_task_t){.run = job_back, .discard = job_back};
    err = hub__pool_submit(hub__conn_root(conn)->pool, job);
    if (err == HUB_OK) {
        ++worker->jobs_out;
        HUB__STAT(&worker->stats, offload_jobs_total);
    } else if (err == HUB_ELIMIT) {
        HUB__STAT(&worker->stats, offload_full_total);
    }
    return err;
}

static hub_status_t io_hook(hub__session_t *session, hub_hook_event_t *event)
{
    hub_conn_t *conn = conn_of(session);

    event->conn = conn;
    return hub__conn_run_hooks(conn, event);
}

static void io_presence_end(hub__session_t *session, hub_member_t *member, bool may_return)
{
    (void)session;
    hub__presence_leave(member, may_return);
}

static void io_over_rate(hub__session_t *session, bool of_join)
{
    hub__conn_over_rate(conn_of(session), of_join);
}

static void io_called(const hub_member_t *member, const char *callback, hub_str_t name)
{
    hub__worker_called(hub__conn_worker(conn_of(member->session)), callback,
                       hub__member_channel(member)->options.pattern, name);
}

static hub_conn_t *io_conn(hub__session_t *session)
{
    return conn_of(session);
}

const hub__session_io_t hub__conn_session_io = {
    .send = io_send,
    .admits = io_admits,
    .subscribe = io_subscribe,
    .unsubscribe = io_unsubscribe,
    .awaits = io_awaits,
    .hurry = io_hurry,
    .release = io_release,
    .publish = io_publish,
    .close = io_close,
    .schedule = io_schedule,
    .timer_arm = io_timer_arm,
    .timer_disarm = io_timer_disarm,
    .offload = io_offload,
    .hook = io_hook,
    .presence_end = io_presence_end,
    .over_rate = io_over_rate,
    .called = io_called,
    .conn = io_conn,
    .conn_id = io_conn_id,
};
