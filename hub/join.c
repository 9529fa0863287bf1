/* SPDX-License-Identifier: MIT */
/* How a member comes to be: the join frame, the program's word on it, now or later, and the reply.
 * Whatever becomes of a join it is answered once, unless the connection ends first or a newer join
 * takes its place. */
#include "hub/memory.h"
#include "hub/session.h"

#include <stdlib.h>

#define READY_MS                                                                                   \
    2000 /* the broker has so long to take a topic before its first join is answered               \
          */

static const hub_str_t STATUS_OK = {"ok", 2};

static hub_member_t *member_create(hub__session_t *session, const hub__envelope_t *envelope,
                                   const hub__route_t *route, const hub__captures_t *captures)
{
    const hub__dialect_t *dialect = session->dialect;
    hub_str_t join_ref = envelope->join_ref;
    size_t spans = captures->count * sizeof(hub__span_t), size;
    hub_member_t *member;

    if (join_ref.len == 0 && (dialect->join_ref_from_ref || dialect->ref_stands_in))
        join_ref = envelope->ref;
    /* the tail begins within what would be padding */
    size = offsetof(hub_member_t, tail) + spans + envelope->topic.len + join_ref.len;
    member = hub__peer_alloc(size < sizeof(*member) ? sizeof(*member) : size);
    if (member == NULL)
        return NULL;
    *member = (hub_member_t){
        .node = {.hash = hub__hash(envelope->topic)},
        .session = session,
        .route = route,
        .serial = ++*session->host->next_serial,
        .name_len = (uint16_t)envelope->topic.len,
        .prefix_len = captures->prefix_len,
        .join_ref_len = (uint8_t)join_ref.len,
        .param_count = captures->count,
        .state = HUB__MEMBER_JOINING,
        .ref_stands_in = dialect->ref_stands_in && envelope->join_ref.len == 0,
    };
    memcpy(member->tail, captures->spans, spans);
    memcpy(member->tail + spans, envelope->topic.base, envelope->topic.len);
    if (join_ref.len != 0)
        memcpy(member->tail + spans + envelope->topic.len, join_ref.base, join_ref.len);
    hub__table_insert(&session->members, &member->node);
    return member;
}

void hub__member_refuse(hub_member_t *member, hub_str_t ref, hub_str_t join_ref, hub__code_t code,
                        const hub_payload_t *detail)
{
    hub__session_t *session = member->session;

    HUB__STAT(session->host->stats, joins_refused_total);
    hub__table_remove(&session->members, &member->node);
    hub__member_unsubscribe(member); /* while its state says that nothing of it may go out */
    member->state = HUB__MEMBER_ENDED;
    hub__member_cancel_all(member);
    hub__member_absent(member, false);
    (void)hub__session_refuse(session, NULL, hub__member_name(member), ref, join_ref, code, detail,
                              true);
    hub__member_refuse_pending(member);
    hub__member_destroy(member);
}

/* The member whose place a join took hears of its end behind the reply to that join, before
 * anything of the new one. */
static void close_replaced(hub__session_t *session, hub_str_t topic)
{
    const hub_str_t *join_ref = session->host->replaced;

    session->host->replaced = NULL;
    if (join_ref != NULL)
        hub__session_send_end(session, HUB__OUT_CLOSE, topic, *join_ref);
}

/* Keeps what the reply will need. False: no memory. */
static bool keep_refs(hub_member_t *member, hub_str_t ref, hub_str_t join_ref)
{
    hub__member_extra_t *extra = hub__member_extra(member);

    if (extra == NULL ||
        (extra->join_ref_of_reply = hub__peer_alloc(ref.len + join_ref.len + 1)) == NULL)
        return false;
    if (ref.len != 0)
        memcpy(extra->join_ref_of_reply, ref.base, ref.len);
    if (join_ref.len != 0)
        memcpy(extra->join_ref_of_reply + ref.len, join_ref.base, join_ref.len);
    extra->reply_ref = hub_str_n(extra->join_ref_of_reply, ref.len);
    extra->reply_join_ref = hub_str_n(extra->join_ref_of_reply + ref.len, join_ref.len);
    return true;
}

/* The join stands: answers, lets out what was held, then what waited. */
static void join_answer(hub_member_t *member, hub_str_t ref, hub_str_t join_ref,
                        const hub_payload_t *response)
{
    hub__session_t *session = member->session;
    hub__session_host_t *host = session->host;
    hub__outgoing_t out = {
        .kind = HUB__OUT_REPLY,
        .topic = hub__member_name(member),
        .status = STATUS_OK,
        .ref = ref,
        .join_ref = session->dialect->join_ref_from_ref ? hub__member_join_ref(member) : join_ref,
    };
    hub_hook_event_t event = {.hook = HUB_HOOK_JOIN, .member = member};

    member->state = HUB__MEMBER_JOINED;
    session->has_joined = true;
    HUB__STAT(host->stats, joins_total);
    HUB__STAT(host->stats, members);
    if (member->suspended)
        hub__member_arm_suspension(member);
    if (response != NULL && response->kind == HUB_PAYLOAD_BINARY &&
        session->dialect->carries(HUB_PAYLOAD_BINARY)) {
        out.payload = *response;
    } else {
        hub__buffer_clear(&host->answer);
        session->dialect->join_response(&host->answer, hub__member_name(member), false, response);
        out.payload = hub_json(hub__buffer_str(&host->answer));
    }
    if (hub__session_has_answer(session))
        (void)host->io->send(session, NULL, &out);
    close_replaced(session, out.topic);
    host->io->release(session, member);
    (void)host->io->hook(session, &event); /* behind the reply, for it may send */
}

static void on_ready_deadline(hub__timer_t *timer, uint64_t now_ms)
{
    hub_member_t *member = HUB__CONTAINER(timer, hub__member_extra_t, deadline)->member;
    hub__session_t *session = member->session;
    char topic[HUB_LOG_FIELD];

    (void)now_ms;
    HUB__STAT(session->host->stats, joins_overdue_total);
    hub_log_peer(HUB_LOG_WARN, "join.overdue", "topic=%s",
                 hub_log_escape(hub__member_name(member), topic));
    session->host->io->hurry(session, member);
    hub__member_ready(member);
}

/* Accepted, but what is published elsewhere may not come here yet: keeps the reply until it does,
 * or will be told of. False: no memory. */
static bool join_waits(hub_member_t *member, hub_str_t ref, hub_str_t join_ref,
                       const hub_payload_t *response)
{
    hub__session_host_t *host = member->session->host;
    uint32_t timeout_ms = hub__member_channel(member)->options.join_timeout_ms;
    hub__member_extra_t *extra;
    char *bytes = NULL;

    if (member->state != HUB__MEMBER_PENDING && !keep_refs(member, ref, join_ref))
        return false;
    extra = member->extra;
    if (response != NULL && (bytes = hub__peer_alloc(response->bytes.len + 1)) == NULL)
        return false;
    if (response != NULL) {
        memcpy(bytes, response->bytes.base, response->bytes.len);
        extra->response = (hub_payload_t){hub_str_n(bytes, response->bytes.len), response->kind};
    }
    member->state = HUB__MEMBER_WAITING;
    HUB__STAT(host->stats, joins_waited_total);
    extra->deadline.on_due = on_ready_deadline;
    host->io->timer_arm(member->session, &extra->deadline,
                        *host->now_ms + (timeout_ms < READY_MS ? timeout_ms : READY_MS));
    return true;
}

/* Subscribes, and answers as soon as nothing that is published from then on can be missed. */
static void join_accepted(hub_member_t *member, hub_str_t ref, hub_str_t join_ref,
                          const hub_payload_t *response)
{
    hub__session_t *session = member->session;
    const hub__session_io_t *io = session->host->io;
    hub_status_t err = hub__member_subscribe(member);

    if (err == HUB_OK && io->awaits != NULL && io->awaits(session, member)) {
        if (join_waits(member, ref, join_ref, response))
            return;
        err = HUB_ENOMEM;
    }
    if (err == HUB_OK)
        join_answer(member, ref, join_ref, response);
    else
        hub__member_refuse(member, ref, join_ref,
                           hub__code_of_status(err == HUB_ENOMEM ? HUB_EBUSY : err), NULL);
}

void hub__member_ready(hub_member_t *member)
{
    hub__session_t *session = member->session;
    hub__member_extra_t *extra = member->extra;
    char topic[HUB__TOPIC_BYTES_MAX];
    hub_str_t name = hub__member_name(member);
    hub_payload_t response;

    if (member->state != HUB__MEMBER_WAITING)
        return;
    session->host->io->timer_disarm(session, &extra->deadline);
    memcpy(topic, name.base, name.len);
    name.base = topic;
    response = extra->response;
    extra->response = (hub_payload_t){0};
    join_answer(member, extra->reply_ref, extra->reply_join_ref,
                response.bytes.base != NULL ? &response : NULL);
    hub__peer_free((char *)(uintptr_t)response.bytes.base);
    hub__session_drain(session, name);
}

static bool int_params_fit(hub_member_t *member, const hub_int_param_t **ret_wrong)
{
    for (const hub_int_param_t *row = hub__member_channel(member)->options.int_params;
         row != NULL && row->name != NULL; ++row) {
        int64_t value;

        if (hub_member_param_int(member, row->name, &value) != HUB_OK || value < row->min ||
            value > row->max) {
            *ret_wrong = row;
            return false;
        }
    }
    return true;
}

static void refuse_int_param(hub_member_t *member, const hub__envelope_t *envelope,
                             const hub_int_param_t *row)
{
    hub__buffer_t *buffer = &member->session->host->detail;
    hub_payload_t detail;

    hub__buffer_clear(buffer);
    HUB__APPEND_LITERAL(buffer, "{\"param\":");
    hub__buffer_json_string(buffer, hub_str(row->name));
    hub__buffer_printf(buffer, ",\"min\":%lld,\"max\":%lld}", (long long)row->min,
                       (long long)row->max);
    detail = buffer->failed ? HUB_JSON("{}") : hub_json(hub__buffer_str(buffer));
    hub__member_refuse(member, envelope->ref, envelope->join_ref, HUB__CODE_JOIN_REJECTED, &detail);
}

static void on_join_deadline(hub__timer_t *timer, uint64_t now_ms)
{
    hub__member_extra_t *extra = HUB__CONTAINER(timer, hub__member_extra_t, deadline);

    (void)now_ms;
    hub__member_refuse(extra->member, extra->reply_ref, extra->reply_join_ref, HUB__CODE_TIMEOUT,
                       NULL);
}

static hub_status_t call_on_join(hub_member_t *member, const hub__envelope_t *envelope)
{
    hub__session_host_t *host = member->session->host;
    hub_message_t msg = hub__member_message(member, envelope, member->session->dialect->join);
    hub_status_t err;

    host->has_detail = false;
    if (hub__member_channel(member)->options.on_join == NULL)
        return HUB_OK;
    host->current = &msg;
    if (host->joining != NULL)
        *host->joining = member;
    err = hub__member_channel(member)->options.on_join(member, &msg);
    hub__member_called(member, "on_join", (hub_str_t){0});
    if (host->joining != NULL)
        *host->joining = NULL;
    host->current = NULL;
    if (err != HUB_OK && err != HUB_EREJECTED && err != HUB_PENDING) {
        hub__member_report_failure(member, &msg, err);
    }
    return err;
}

/* Runs a new member's on_join and does what it says. */
static void join_run(hub_member_t *member, const hub__envelope_t *envelope)
{
    hub__session_t *session = member->session;
    hub__session_host_t *host = session->host;
    hub_status_t err = call_on_join(member, envelope);
    hub_payload_t given = {hub__buffer_str(&host->detail), host->detail_kind};
    const hub_payload_t *detail = host->has_detail ? &given : NULL;

    if (err == HUB_PENDING) {
        if (keep_refs(member, envelope->ref, envelope->join_ref)) {
            member->state = HUB__MEMBER_PENDING;
            member->extra->deadline.on_due = on_join_deadline;
            host->io->timer_arm(session, &member->extra->deadline,
                                *host->now_ms +
                                    hub__member_channel(member)->options.join_timeout_ms);
            return;
        }
        err = HUB_EBUSY;
    }
    if (err == HUB_OK) {
        join_accepted(member, envelope->ref, envelope->join_ref, detail);
        return;
    }
    hub__member_refuse(member, envelope->ref, envelope->join_ref,
                       err == HUB_EREJECTED ? HUB__CODE_JOIN_REJECTED : hub__code_of_status(err),
                       err == HUB_EREJECTED ? detail : NULL);
}

static void join_new(hub__session_t *session, const hub__envelope_t *envelope)
{
    hub__session_host_t *host = session->host;
    const hub__route_t *route;
    const hub_int_param_t *wrong;
    hub__captures_t captures;
    hub_member_t *member;
    hub_status_t err;

    err = hub__router_match(host->router, envelope->topic, host->match_scratch, &route, &captures);
    if (err != HUB_OK) {
        HUB__STAT(host->stats, joins_refused_total);
        hub__session_refuse_frame(
            session, envelope,
            err == HUB_ENOTFOUND ? HUB__CODE_TOPIC_NOT_FOUND : HUB__CODE_JOIN_REJECTED, true);
        return;
    }
    if (session->members.count >= host->limits->topics) {
        HUB__STAT(host->stats, joins_refused_total);
        hub__session_refuse_frame(session, envelope, HUB__CODE_LIMIT, true);
        return;
    }
    if (host->io->admits != NULL && !host->io->admits(session, envelope->topic)) {
        HUB__STAT(host->stats, joins_refused_total);
        hub__session_refuse_frame(session, envelope, HUB__CODE_BUSY, true);
        return;
    }
    if ((member = member_create(session, envelope, route, &captures)) == NULL) {
        HUB__STAT(host->stats, joins_refused_total);
        hub__session_refuse_frame(session, envelope, HUB__CODE_BUSY, true);
        return;
    }
    if (!int_params_fit(member, &wrong)) {
        refuse_int_param(member, envelope, wrong);
        return;
    }
    join_run(member, envelope);
}

void hub__member_joined_already(hub_member_t *member, const hub__envelope_t *envelope)
{
    hub__session_t *session = member->session;
    hub__buffer_t *answer = &session->host->answer;

    hub__buffer_clear(answer);
    session->dialect->join_response(answer, envelope->topic, true, NULL);
    if (hub__session_has_answer(session))
        (void)hub__session_reply(session, member, envelope->ref, hub__member_join_ref(member),
                                 STATUS_OK, hub_json(hub__buffer_str(answer)));
}

void hub__session_join(hub__session_t *session, hub_member_t *old, const hub__envelope_t *envelope)
{
    hub__session_host_t *host = session->host;
    char old_join_ref[UINT8_MAX];
    hub_str_t join_ref;

    if (!hub__rate_take(&session->debts.joins, &host->rates.joins)) {
        HUB__STAT(host->stats, joins_refused_total);
        hub__session_refuse_rate(session, envelope,
                                 hub__rate_wait_ms(session->debts.joins, &host->rates.joins, 1),
                                 true);
        return;
    }
    if (old == NULL) {
        join_new(session, envelope);
        return;
    }
    if (session->dialect->on_duplicate_join == HUB__DUPLICATE_IS_OK) {
        if (old->state != HUB__MEMBER_JOINED)
            hub__session_refuse_frame(session, envelope, HUB__CODE_BUSY, true);
        else if (hub__member_must_wait(old)) /* a leave may be in the line */
            hub__member_wait(old, envelope);
        else
            hub__member_joined_already(old, envelope);
        return;
    }
    join_ref = hub__member_join_ref(old);
    if (join_ref.len != 0)
        memcpy(old_join_ref, join_ref.base, join_ref.len);
    join_ref = hub_str_n(join_ref.len == 0 ? NULL : old_join_ref, join_ref.len);
    hub__member_end(old, HUB_EXIT_REPLACED);
    session->host->replaced = &join_ref;
    join_new(session, envelope);
    close_replaced(session, envelope->topic); /* refused, or answered later */
}

/* ---- later ---- */

void hub__session_join_later(hub__session_t *session, const hub_token_t *token, bool accepted,
                             hub_payload_t payload)
{
    hub_member_t *member = hub__session_find_serial(session, token->_member);
    char topic[HUB__TOPIC_BYTES_MAX];
    hub_str_t name;

    if (member == NULL || member->state != HUB__MEMBER_PENDING)
        return;
    session->host->io->timer_disarm(session, &member->extra->deadline);
    if (!accepted) {
        hub__member_refuse(member, member->extra->reply_ref, member->extra->reply_join_ref,
                           HUB__CODE_JOIN_REJECTED, &payload);
        return;
    }
    name = hub__member_name(member);
    memcpy(topic, name.base, name.len);
    name.base = topic;
    join_accepted(member, member->extra->reply_ref, member->extra->reply_join_ref, &payload);
    hub__session_drain(session, name);
}
