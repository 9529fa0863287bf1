/* SPDX-License-Identifier: MIT */
/* What a program does with a member: look at it, answer, send, pause, and own timers and jobs that
 * end with it. Nothing here touches the session's tables while a callback runs; what would is noted
 * and done by session.c afterwards. */
#include "hub/session.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bus/json.h"

/* ---- who and where ---- */

hub_str_t hub_member_topic(const hub_member_t *member)
{
    return hub__member_name(member);
}

hub_str_t hub_member_local_topic(const hub_member_t *member)
{
    hub_str_t name = hub__member_name(member);

    return hub_str_n(name.base + member->prefix_len, name.len - member->prefix_len);
}

hub_str_t hub_member_param(const hub_member_t *member, const char *name)
{
    size_t index = hub__pattern_param_index(member->route->pattern, hub_str(name));
    hub__span_t span;

    if (index >= member->param_count)
        return (hub_str_t){0};
    memcpy(&span, member->tail + index * sizeof(span), sizeof(span));
    return hub_str_n(hub__member_name(member).base + span.start, (size_t)(span.end - span.start));
}

hub_status_t hub_member_param_int(const hub_member_t *member, const char *name, int64_t *ret_value)
{
    hub_str_t text = hub_member_param(member, name);
    char digits[24], *end;
    long long value;

    if (text.base == NULL)
        return HUB_ENOTFOUND;
    if (text.len == 0 || text.len >= sizeof(digits) ||
        !(text.base[0] == '-' || (text.base[0] >= '0' && text.base[0] <= '9')))
        return HUB_EINVAL;
    memcpy(digits, text.base, text.len);
    digits[text.len] = '\0';
    errno = 0;
    value = strtoll(digits, &end, 10);
    if (errno != 0 || end != digits + text.len)
        return HUB_EINVAL;
    *ret_value = value;
    return HUB_OK;
}

hub_conn_t *hub_member_conn(const hub_member_t *member)
{
    return member->session->host->io->conn(member->session);
}

hub_t *hub_member_hub(const hub_member_t *member)
{
    return hub__member_channel(member)->hub;
}

void *hub_member_channel_user(const hub_member_t *member)
{
    return hub__member_channel(member)->options.user;
}

void hub_member_set_user(hub_member_t *member, void *user, void (*on_free)(void *user))
{
    if (member->on_free != NULL && member->user != user)
        member->on_free(member->user);
    member->user = user;
    member->on_free = on_free;
}

void *hub_member_user(const hub_member_t *member)
{
    return member->user;
}

/* ---- answering ---- */

/* A payload that was proven valid before: the one of the message at hand. */
static bool is_current_payload(const hub__session_host_t *host, hub_payload_t payload)
{
    const hub_message_t *msg = host->current;

    return msg != NULL && payload.kind == msg->payload.kind &&
           payload.bytes.base == msg->payload.bytes.base &&
           payload.bytes.len == msg->payload.bytes.len;
}

static hub_status_t check_payload(const hub__session_t *session, hub_payload_t payload)
{
    hub_error_t error;
    hub_status_t err;

    if (!session->dialect->carries(payload.kind)) {
        hub_log_peer(HUB_LOG_WARN, "member.payload", "error=\"%s cannot carry a binary payload\"",
                     session->dialect->name);
        return HUB_EPAYLOAD;
    }
    if (is_current_payload(session->host, payload))
        return HUB_OK;
    err = hub_payload_check(payload, HUB_JSON_DEPTH_MAX, &error);
    if (err != HUB_OK)
        hub_log_peer(HUB_LOG_WARN, "member.payload", "error=\"%s\" offset=%zu", error.text,
                     error.offset);
    return err;
}

static hub_status_t keep_detail(hub_member_t *member, hub_payload_t payload)
{
    hub__session_host_t *host = member->session->host;
    hub_status_t err;

    assert(member->state == HUB__MEMBER_JOINING);
    if ((err = check_payload(member->session, payload)) != HUB_OK)
        return err;
    hub__buffer_clear(&host->detail);
    hub__buffer_append(&host->detail, payload.bytes);
    if (host->detail.failed)
        return HUB_ENOMEM;
    host->detail_kind = payload.kind;
    host->has_detail = true;
    return HUB_OK;
}

hub_status_t hub_member_accept(hub_member_t *member, hub_payload_t response)
{
    return keep_detail(member, response);
}

hub_status_t hub_member_reject(hub_member_t *member, hub_payload_t detail)
{
    hub_status_t err = keep_detail(member, detail);

    return err == HUB_OK ? HUB_EREJECTED : err;
}

static hub_str_t join_ref_for(const hub_member_t *member, const hub_message_t *msg)
{
    return msg->join_ref.len != 0 ? msg->join_ref : hub__member_sent_join_ref(member);
}

/* A reply that could not be sent is none: the failure that the handler then returns is answered. */
static hub_status_t replied(hub_member_t *member, const hub_message_t *msg, hub_status_t err)
{
    if (err == HUB_OK && msg == member->session->host->current)
        member->session->host->replied = true;
    return err;
}

static hub_status_t reply(hub_member_t *member, const hub_message_t *msg, hub_str_t status,
                          hub_payload_t response)
{
    hub_status_t err;

    if (member->state == HUB__MEMBER_ENDED)
        return HUB_ECLOSED;
    if ((err = check_payload(member->session, response)) != HUB_OK)
        return err;
    return replied(member, msg,
                   hub__session_reply(member->session, member, msg->ref, join_ref_for(member, msg),
                                      status, response));
}

hub_status_t hub_member_reply(hub_member_t *member, const hub_message_t *msg,
                              hub_payload_t response)
{
    return reply(member, msg, HUB_STR("ok"), response);
}

hub_status_t hub_member_reply_status(hub_member_t *member, const hub_message_t *msg,
                                     hub_str_t status, hub_payload_t response)
{
    if (status.len == 0 || status.len > UINT8_MAX || !hub_utf8_valid(status))
        return HUB_EINVAL;
    return reply(member, msg, status, response);
}

hub_status_t hub_member_reply_error(hub_member_t *member, const hub_message_t *msg,
                                    hub_status_t code, hub_payload_t detail)
{
    hub_status_t err;

    if (member->state == HUB__MEMBER_ENDED)
        return HUB_ECLOSED;
    if ((err = check_payload(member->session, detail)) != HUB_OK)
        return err;
    return replied(member, msg,
                   hub__session_refuse(member->session, member, hub__member_name(member), msg->ref,
                                       join_ref_for(member, msg), hub__code_of_status(code),
                                       &detail, false));
}

static hub_token_t make_token(hub_member_t *member, hub_str_t ref, uint8_t kind)
{
    hub_token_t token = {
        ._conn = member->session->host->io->conn_id(member->session),
        ._member = member->node.hash << 32 | member->serial,
        ._kind = kind,
        ._ref_len = (uint8_t)ref.len,
    };

    assert(ref.len <= sizeof(token._ref));
    if (ref.len != 0)
        memcpy(token._ref, ref.base, ref.len);
    return token;
}

hub_token_t hub_member_token(hub_member_t *member, const hub_message_t *msg)
{
    if (msg == member->session->host->current)
        member->session->host->will_reply = true;
    return make_token(member, msg->ref, HUB__TOKEN_REPLY);
}

hub_status_t hub_member_defer(hub_member_t *member, hub_token_t *ret_token)
{
    assert(member->state == HUB__MEMBER_JOINING);
    *ret_token = make_token(member, (hub_str_t){0}, HUB__TOKEN_JOIN);
    return HUB_PENDING;
}

/* ---- sending ---- */

static hub_status_t check_event(hub_str_t event)
{
    return event.len == 0 || event.len > UINT8_MAX || !hub_utf8_valid(event) ? HUB_EINVAL : HUB_OK;
}

static bool is_object(hub_payload_t payload)
{
    size_t i = 0;

    if (payload.kind != HUB_PAYLOAD_JSON)
        return true;
    while (i != payload.bytes.len && strchr(" \t\r\n", payload.bytes.base[i]) != NULL)
        ++i;
    return i != payload.bytes.len && payload.bytes.base[i] == '{';
}

hub_status_t hub_member_push(hub_member_t *member, hub_str_t event, hub_payload_t payload)
{
    hub__session_t *session = member->session;
    hub__outgoing_t out = {
        .kind = HUB__OUT_PUSH,
        .topic = hub__member_name(member),
        .event = event,
        .join_ref = hub__member_sent_join_ref(member),
        .payload = payload,
    };
    hub_status_t err;

    if (member->state == HUB__MEMBER_ENDED)
        return HUB_ECLOSED;
    if ((err = check_event(event)) != HUB_OK || (err = check_payload(session, payload)) != HUB_OK)
        return err;
    if (session->dialect->broadcast_must_be_object && !is_object(payload))
        return HUB_EPAYLOAD;
    return session->host->io->send(session, member, &out);
}

static hub_status_t broadcast(hub_member_t *member, hub_str_t event, hub_payload_t payload,
                              unsigned flags)
{
    hub__session_t *session = member->session;
    hub_status_t err;

    if ((err = check_event(event)) != HUB_OK)
        return err;
    if (session->dialect->broadcast_must_be_object && !is_object(payload))
        return HUB_EPAYLOAD;
    if ((err = hub__member_subscribe_early(member)) != HUB_OK)
        return err;
    return session->host->io->publish(session, member, event, payload,
                                      is_current_payload(session->host, payload), flags);
}

hub_status_t hub_member_broadcast(hub_member_t *member, hub_str_t event, hub_payload_t payload)
{
    return broadcast(member, event, payload, 0);
}

hub_status_t hub_member_broadcast_from(hub_member_t *member, hub_str_t event, hub_payload_t payload)
{
    return broadcast(member, event, payload, HUB_MESSAGE_SKIP_ORIGIN);
}

/* ---- ending ---- */

void hub_member_stop(hub_member_t *member, hub_status_t why)
{
    hub__member_extra_t *extra;

    if (member->stopping || member->state == HUB__MEMBER_ENDED)
        return;
    member->stopping = true;
    if ((extra = hub__member_extra(member)) != NULL)
        extra->stop_status = why;
    member->session->host->io->schedule(member->session);
}

/* ---- timers ---- */

static hub__member_timer_t **find_timer(hub_member_t *member, const char *name)
{
    hub__member_timer_t **link = &member->extra->timers;

    while (*link != NULL && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

static void on_timer_due(hub__timer_t *due, uint64_t now_ms)
{
    hub__member_timer_t *timer = HUB__CONTAINER(due, hub__member_timer_t, timer);
    hub_member_t *member = timer->member;
    hub__session_t *session = member->session;

    if (hub__member_stopped(member))
        return; /* and this timer with it */
    if (timer->period_ms != 0) {
        session->host->io->timer_arm(session, &timer->timer, now_ms + timer->period_ms);
    } else {
        *find_timer(member, timer->name) = timer->next;
        timer->stopped = true;
    }
    timer->running = true;
    timer->on_timer(member, timer->name, timer->user);
    hub__member_called(member, "on_timer", hub_str(timer->name));
    timer->running = false;
    if (timer->stopped)
        free(timer);
}

hub_status_t hub_member_timer_start(hub_member_t *member, const char *name, uint32_t delay_ms,
                                    uint32_t period_ms, hub_on_timer_cb on_timer, void *user)
{
    hub__session_t *session = member->session;
    size_t name_size = strlen(name) + 1;
    hub__member_timer_t *timer;

    if (member->state == HUB__MEMBER_ENDED)
        return HUB_ECLOSED;
    if (hub__member_extra(member) == NULL)
        return HUB_ENOMEM;
    if (*find_timer(member, name) != NULL)
        return HUB_EEXIST;
    if ((timer = malloc(sizeof(*timer) + name_size)) == NULL)
        return HUB_ENOMEM;
    *timer = (hub__member_timer_t){.next = member->extra->timers,
                                   .member = member,
                                   .timer = {.on_due = on_timer_due},
                                   .on_timer = on_timer,
                                   .user = user,
                                   .period_ms = period_ms};
    memcpy(timer->name, name, name_size);
    member->extra->timers = timer;
    session->host->io->timer_arm(session, &timer->timer, *session->host->now_ms + delay_ms);
    return HUB_OK;
}

static void drop_timer(hub_member_t *member, hub__member_timer_t **link)
{
    hub__member_timer_t *timer = *link;

    *link = timer->next;
    member->session->host->io->timer_disarm(member->session, &timer->timer);
    timer->stopped = true;
    if (!timer->running)
        free(timer);
}

hub_status_t hub_member_timer_stop(hub_member_t *member, const char *name)
{
    hub__member_timer_t **link;

    if (member->extra == NULL || *(link = find_timer(member, name)) == NULL)
        return HUB_ENOTFOUND;
    drop_timer(member, link);
    return HUB_OK;
}

/* ---- jobs ---- */

static hub__job_t **find_job(hub_member_t *member, const char *name)
{
    hub__job_t **link = &member->extra->jobs;

    while (*link != NULL && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

/* The pool still holds the job and brings it back; its member does not know it any more. */
static void cancel_job(hub__job_t **link)
{
    hub__job_t *job = *link;

    *link = job->next;
    job->member = NULL;
    atomic_store_explicit(&job->cancelled, true, memory_order_relaxed);
}

hub_status_t hub_member_offload(hub_member_t *member, const char *name, hub_work_cb work,
                                hub_on_done_cb on_done, void *user)
{
    hub__session_t *session = member->session;
    size_t name_size = strlen(name) + 1;
    hub_status_t err;
    hub__job_t *job;

    if (member->state == HUB__MEMBER_ENDED)
        return HUB_ECLOSED;
    if (hub__member_extra(member) == NULL)
        return HUB_ENOMEM;
    if (*find_job(member, name) != NULL)
        return HUB_EEXIST;
    if ((job = calloc(1, sizeof(*job) + name_size)) == NULL)
        return HUB_ENOMEM;
    job->member = member;
    job->work = work;
    job->on_done = on_done;
    job->user = user;
    memcpy(job->name, name, name_size);
    if ((err = session->host->io->offload(session, job)) != HUB_OK) {
        free(job);
        return err;
    }
    job->next = member->extra->jobs;
    member->extra->jobs = job;
    return HUB_OK;
}

hub_status_t hub_member_offload_cancel(hub_member_t *member, const char *name)
{
    hub__job_t **link;

    if (member->extra == NULL || *(link = find_job(member, name)) == NULL)
        return HUB_ENOTFOUND;
    cancel_job(link);
    return HUB_OK;
}

void hub__session_job_done(hub__job_t *job)
{
    hub_member_t *member = job->member;

    if (member != NULL && hub__member_stopped(member))
        member = NULL;
    if (member != NULL)
        *find_job(member, job->name) = job->next;
    if (atomic_load_explicit(&job->cancelled, memory_order_relaxed))
        member = NULL; /* by its member, or by the pool's end */
    job->on_done(member, member != NULL ? HUB_OK : HUB_ECANCELLED, job->user);
    if (member != NULL)
        hub__member_called(member, "on_done", hub_str(job->name));
    free(job);
}

void hub__member_cancel_all(hub_member_t *member)
{
    if (member->extra == NULL)
        return;
    member->session->host->io->timer_disarm(member->session, &member->extra->deadline);
    while (member->extra->timers != NULL)
        drop_timer(member, &member->extra->timers);
    while (member->extra->jobs != NULL)
        cancel_job(&member->extra->jobs);
}
