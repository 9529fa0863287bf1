/* SPDX-License-Identifier: MIT */
/* The semantics of the protocol, free of sockets: which member a frame belongs to, what it may do,
 * what is answered, and how everything ends exactly once. What differs between wire formats is
 * asked of the dialect, never decided here. */
#include "hub/session.h"
#include "hub/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static const hub_str_t STATUS_OK = {"ok", 2};
static const hub_str_t STATUS_ERROR = {"error", 5};

void hub__session_init(hub__session_t *session, hub__session_host_t *host,
                       const hub__dialect_t *dialect)
{
    *session = (hub__session_t){.host = host, .dialect = dialect};
}

/* ---- finding ---- */

hub_member_t *hub__session_find(const hub__session_t *session, hub_str_t topic)
{
    /* most clients have one, and it is not worth a hash to look into the only bucket */
    bool few = session->members.size <= 1;
    uint64_t hash = few ? 0 : hub__hash(topic);

    for (hub__table_node_t *node = hub__table_chain(&session->members, hash); node != NULL;
         node = node->next) {
        hub_member_t *member = HUB__CONTAINER(node, hub_member_t, node);

        if ((few || node->hash == hash) && hub_str_equals(hub__member_name(member), topic))
            return member;
    }
    return NULL;
}

hub_member_t *hub__session_find_serial(const hub__session_t *session, uint64_t token_member)
{
    uint32_t hash = (uint32_t)(token_member >> 32), serial = (uint32_t)token_member;

    for (hub__table_node_t *node = hub__table_chain(&session->members, hash); node != NULL;
         node = node->next) {
        hub_member_t *member = HUB__CONTAINER(node, hub_member_t, node);

        if ((uint32_t)node->hash == hash && member->serial == serial)
            return member;
    }
    return NULL;
}

/* ---- answering ---- */

hub_status_t hub__session_reply(hub__session_t *session, hub_member_t *member, hub_str_t ref,
                                hub_str_t join_ref, hub_str_t status, hub_payload_t payload)
{
    hub__outgoing_t out = {
        .kind = HUB__OUT_REPLY,
        .topic = hub__member_name(member),
        .status = status,
        .ref = ref,
        .join_ref = join_ref,
        .payload = payload,
    };

    return session->host->io->send(session, member, &out);
}

/* Who asked gets no answer: then the end of the connection. */
void hub__session_without_memory(hub__session_t *session)
{
    session->host->io->close(session, HUB_DISCONNECT_ERROR, 1011, HUB_STR("out of memory"));
}

bool hub__session_has_answer(hub__session_t *session)
{
    if (session->host->answer.failed)
        hub__session_without_memory(session);
    return !session->host->answer.failed;
}

hub_status_t hub__session_refuse(hub__session_t *session, hub_member_t *member, hub_str_t topic,
                                 hub_str_t ref, hub_str_t join_ref, hub__code_t code,
                                 const hub_payload_t *detail, bool of_join)
{
    hub__buffer_t *answer = &session->host->answer;
    hub__outgoing_t out = {.kind = HUB__OUT_REPLY,
                           .topic = topic,
                           .status = STATUS_ERROR,
                           .ref = ref,
                           .join_ref = join_ref};

    if (detail != NULL && detail->kind == HUB_PAYLOAD_BINARY &&
        session->dialect->carries(HUB_PAYLOAD_BINARY)) {
        out.payload = *detail;
    } else {
        hub__buffer_clear(answer);
        session->dialect->error_response(answer, code, detail, of_join);
        if (!hub__session_has_answer(session))
            return HUB_ENOMEM;
        out.payload = hub_json(hub__buffer_str(answer));
    }
    return session->host->io->send(session, member, &out);
}

/* Answers a frame about no member. */
void hub__session_refuse_frame(hub__session_t *session, const hub__envelope_t *envelope,
                               hub__code_t code, bool of_join)
{
    hub__buffer_t *answer = &session->host->answer;
    hub_str_t join_ref = envelope->join_ref;
    hub__outgoing_t out;
    bool unmatched = code == HUB__CODE_TOPIC_NOT_FOUND || code == HUB__CODE_NOT_JOINED ||
                     code == HUB__CODE_BAD_TOPIC;

    if (unmatched && !session->dialect->refusal_echoes_join_ref)
        join_ref = (hub_str_t){0};
    hub__buffer_clear(answer);
    session->dialect->error_response(answer, code, NULL, of_join);
    if (!hub__session_has_answer(session))
        return;
    out = (hub__outgoing_t){.kind = HUB__OUT_REPLY,
                            .topic = envelope->topic,
                            .topic_token = envelope->topic_token,
                            .status = STATUS_ERROR,
                            .ref = envelope->ref,
                            .join_ref = join_ref,
                            .payload = hub_json(hub__buffer_str(answer))};
    (void)session->host->io->send(session, NULL, &out);
}

void hub__session_refuse_rate(hub__session_t *session, const hub__envelope_t *envelope,
                              uint32_t retry_ms, bool of_join)
{
    hub__session_host_t *host = session->host;
    hub__outgoing_t out = {.kind = HUB__OUT_REPLY,
                           .topic = envelope->topic,
                           .topic_token = envelope->topic_token,
                           .status = STATUS_ERROR,
                           .ref = envelope->ref,
                           .join_ref = envelope->join_ref};

    hub__buffer_clear(&host->answer);
    session->dialect->rate_response(&host->answer, retry_ms);
    out.payload = hub_json(hub__buffer_str(&host->answer));
    if (hub__session_has_answer(session))
        (void)host->io->send(session, NULL, &out);
    host->io->over_rate(session, of_join);
}

void hub__session_send_end(hub__session_t *session, hub__out_kind_t kind, hub_str_t topic,
                           hub_str_t join_ref)
{
    hub__outgoing_t out = {
        .kind = kind, .topic = topic, .join_ref = join_ref, .payload = HUB_JSON("{}")};

    (void)session->host->io->send(session, NULL, &out);
}

void hub__member_report_failure(hub_member_t *member, const hub_message_t *msg, hub_status_t status)
{
    hub__session_t *session = member->session;
    hub_hook_event_t event = {
        .hook = HUB_HOOK_ERROR, .member = member, .msg = msg, .status = status};
    char topic[HUB_LOG_FIELD], name[HUB_LOG_FIELD];

    HUB__STAT(session->host->stats, handler_errors_total);
    /* that the bus is down is in the log already, once, and not of the handler's doing */
    if (status != HUB_EBUSDOWN)
        hub_log_peer(HUB_LOG_WARN, "handler.failed", "topic=%s event=%s status=%s",
                     hub_log_escape(hub__member_name(member), topic),
                     hub_log_escape(msg->event, name), hub_status_name(status));
    (void)session->host->io->hook(session, &event);
}

/* ---- the life of a member ---- */

hub__member_extra_t *hub__member_extra(hub_member_t *member)
{
    if (member->extra == NULL) {
        hub__member_extra_t *extra = hub__peer_alloc_zeroed(sizeof(*extra));

        if (extra == NULL)
            return NULL;
        extra->member = member;
        extra->pending_tail = &extra->pending;
        member->extra = extra;
    }
    return member->extra;
}

static hub__pending_t *pending_pop(hub_member_t *member)
{
    hub__member_extra_t *extra = member->extra;
    hub__pending_t *frame = extra->pending;

    if ((extra->pending = frame->next) == NULL)
        extra->pending_tail = &extra->pending;
    --*(frame->update != NULL ? &extra->update_count : &extra->pending_count);
    member->session->pending_bytes -= frame->size;
    return frame;
}

static void pending_free(hub__pending_t *frame)
{
    hub_message_release(frame->update);
    hub__peer_free(frame);
}

static void drop_pending(hub_member_t *member)
{
    while (member->extra->pending != NULL) {
        HUB__STAT(member->session->host->stats, dropped_total);
        pending_free(pending_pop(member));
    }
}

hub_status_t hub__member_subscribe(hub_member_t *member)
{
    hub_status_t err;

    if (member->subscribed)
        return HUB_OK;
    err = member->session->host->io->subscribe(member->session, member);
    member->subscribed = err == HUB_OK;
    return err;
}

void hub__member_unsubscribe(hub_member_t *member)
{
    if (!member->subscribed)
        return;
    member->session->host->io->unsubscribe(member->session, member);
    member->subscribed = false;
}

hub_status_t hub__member_subscribe_early(hub_member_t *member)
{
    return member->state == HUB__MEMBER_JOINING ? hub__member_subscribe(member) : HUB_OK;
}

hub_message_t hub__member_message(const hub_member_t *member, const hub__envelope_t *envelope,
                                  hub_str_t event)
{
    hub__session_t *session = member->session;

    return (hub_message_t){
        .topic = hub_member_local_topic(member),
        .event = event,
        .payload = envelope->payload,
        .ref = envelope->ref,
        .join_ref = envelope->join_ref,
        .origin = session->host->io->conn_id(session),
    };
}

void hub__member_absent(hub_member_t *member, bool may_return)
{
    hub__session_t *session = member->session;

    if (member->extra != NULL && member->extra->presence != NULL)
        session->host->io->presence_end(session, member, may_return);
}

/* Whether somebody who ends so did not mean to go for good. */
static bool may_return(hub_exit_t why)
{
    return why == HUB_EXIT_DISCONNECT || why == HUB_EXIT_REPLACED || why == HUB_EXIT_FAILED;
}

/* Takes the member out of everything and frees it. No callback but on_free. */
void hub__member_destroy(hub_member_t *member)
{
    hub__session_t *session = member->session;

    hub__member_unsubscribe(member);
    if (member->extra != NULL) {
        drop_pending(member);
        session->host->io->timer_disarm(session, &member->extra->deadline);
        hub__outbox_dispose(&member->extra->held, NULL, NULL);
        hub__peer_free(member->extra->join_ref_of_reply);
        hub__peer_free((char *)(uintptr_t)member->extra->response.bytes.base);
        hub__peer_free(member->extra);
    }
    if (member->on_free != NULL)
        member->on_free(member->user);
    hub__peer_free(member);
}

/* A member that had joined, or was about to, ends. Sends nothing. */
void hub__member_end(hub_member_t *member, hub_exit_t why)
{
    hub__session_t *session = member->session;
    bool had_joined = member->state == HUB__MEMBER_JOINED;

    hub__table_remove(&session->members, &member->node);
    hub__member_unsubscribe(member); /* what was published before goes out, nothing after */
    member->state = HUB__MEMBER_ENDED;
    hub__member_cancel_all(member);
    if (had_joined) {
        hub_hook_event_t event = {.hook = HUB_HOOK_LEAVE, .member = member, .exit = why};

        HUB__STAT_SUB(session->host->stats, members, 1);
        if (hub__member_channel(member)->options.on_exit != NULL) {
            hub__member_channel(member)->options.on_exit(member, why);
            hub__member_called(member, "on_exit", (hub_str_t){0});
        }
        (void)session->host->io->hook(session, &event);
    } else {
        HUB__STAT(session->host->stats, joins_refused_total);
    }
    hub__member_absent(member, may_return(why));
    hub__member_destroy(member);
}

bool hub__member_stopped(hub_member_t *member)
{
    hub__session_t *session = member->session;
    hub_status_t why;

    if (!member->stopping)
        return false;
    why = member->extra != NULL ? member->extra->stop_status : HUB_EINTERNAL;
    if (hub__member_is_unanswered(member)) {
        hub__member_refuse(member, member->extra->reply_ref, member->extra->reply_join_ref,
                           why == HUB_OK ? HUB__CODE_JOIN_REJECTED : hub__code_of_status(why),
                           NULL);
        return true;
    }
    hub__member_unsubscribe(member);
    hub__session_send_end(session, why == HUB_OK ? HUB__OUT_CLOSE : HUB__OUT_ERROR,
                          hub__member_name(member), hub__member_join_ref(member));
    hub__member_end(member, why == HUB_OK ? HUB_EXIT_STOPPED : HUB_EXIT_FAILED);
    return true;
}

/* ---- leaving ---- */

static void leave_reply(hub__session_t *session, hub_str_t topic, hub_str_t ref, hub_str_t join_ref)
{
    hub__outgoing_t out = {.kind = HUB__OUT_REPLY,
                           .topic = topic,
                           .status = STATUS_OK,
                           .ref = ref,
                           .join_ref = join_ref};

    hub__buffer_clear(&session->host->answer);
    session->dialect->leave_response(&session->host->answer, topic);
    if (!hub__session_has_answer(session))
        return;
    out.payload = hub_json(hub__buffer_str(&session->host->answer));
    (void)session->host->io->send(session, NULL, &out);
}

static void on_leave_frame(hub__session_t *session, hub_member_t *member,
                           const hub__envelope_t *envelope)
{
    char kept[UINT8_MAX];
    hub_str_t sent = hub__member_sent_join_ref(member), own, join_ref;

    if (sent.len != 0)
        memcpy(kept, sent.base, sent.len);
    sent = hub_str_n(sent.len == 0 ? NULL : kept, sent.len);
    own = member->ref_stands_in ? hub_str(NULL) : sent;
    join_ref = envelope->join_ref.len != 0 ? envelope->join_ref : sent;
    if (hub__member_is_unanswered(member)) {
        hub_payload_t detail = HUB_JSON("{\"reason\":\"left\"}");

        hub__member_refuse(member, member->extra->reply_ref, member->extra->reply_join_ref,
                           HUB__CODE_JOIN_REJECTED, &detail);
    } else {
        hub__member_end(member, HUB_EXIT_LEAVE);
    }
    leave_reply(session, envelope->topic, envelope->ref, join_ref);
    if (session->dialect->close_after_leave)
        hub__session_send_end(session, HUB__OUT_CLOSE, envelope->topic, own);
}

/* ---- events ---- */

/* A reply carries the join_ref that the request brought. */
static hub_str_t answered_join_ref(const hub_member_t *member, const hub__envelope_t *envelope)
{
    return envelope->join_ref.len != 0 ? envelope->join_ref : hub__member_sent_join_ref(member);
}

/* A handler failed, or there is none. The member may be gone after it. */
static void event_failed(hub_member_t *member, const hub__envelope_t *envelope,
                         hub__on_handler_error_t rule, hub_status_t status)
{
    hub__session_t *session = member->session;

    if (rule == HUB__FAILURE_REPLIES) {
        if (!session->host->replied)
            (void)hub__session_refuse(session, member, hub__member_name(member), envelope->ref,
                                      answered_join_ref(member, envelope),
                                      hub__code_of_status(status), NULL, false);
        return;
    }
    hub__member_unsubscribe(member);
    hub__session_send_end(session, HUB__OUT_ERROR, hub__member_name(member),
                          hub__member_join_ref(member));
    hub__member_end(member, HUB_EXIT_FAILED);
}

static void dispatch(hub_member_t *member, const hub__envelope_t *envelope)
{
    hub__session_t *session = member->session;
    hub__session_host_t *host = session->host;
    hub_message_t msg = hub__member_message(member, envelope, envelope->event);
    hub_hook_event_t event = {.hook = HUB_HOOK_MESSAGE_IN, .member = member, .msg = &msg};
    hub_on_receive_cb on_receive =
        hub__channel_handler(hub__member_channel(member), envelope->event);
    hub__on_handler_error_t rule = on_receive == NULL ? session->dialect->on_unknown_event
                                                      : session->dialect->on_handler_error;
    hub_status_t err;
    bool failed;

    host->current = &msg;
    host->replied = false;
    host->will_reply = false;
    err = host->io->hook(session, &event);
    if (err != HUB_OK) {
        host->current = NULL;
        event_failed(member, envelope, HUB__FAILURE_REPLIES, err);
        return;
    }
    err = on_receive == NULL ? HUB_EEVENT : on_receive(member, &msg);
    hub__member_called(member, "on_receive", msg.event);
    if (err == HUB_OK && hub__member_channel(member)->options.auto_ack && !host->replied &&
        !host->will_reply && envelope->ref.len != 0)
        (void)hub_member_reply(member, &msg, HUB_JSON("{}"));
    host->current = NULL;
    failed = err != HUB_OK && err != HUB_PENDING;
    if (failed && (on_receive != NULL || rule == HUB__FAILURE_ENDS_MEMBER))
        hub__member_report_failure(member, &msg, err);
    if (err == HUB_EBUSDOWN) /* no failure of the handler's: it may be tried again later */
        rule = HUB__FAILURE_REPLIES;
    if (hub__member_stopped(member) || !failed)
        return;
    event_failed(member, envelope, rule, err);
}

/* A frame that has to wait, with its own copy of everything. NULL: out of memory. */
static hub__pending_t *pending_create(const hub__envelope_t *envelope, size_t size)
{
    hub__pending_t *frame = hub__peer_alloc(size);
    char *at;
    hub_str_t *spans[5];

    if (frame == NULL)
        return NULL;
    at = (char *)(frame + 1);
    *frame = (hub__pending_t){.envelope = *envelope, .size = (uint32_t)size};
    spans[0] = &frame->envelope.topic;
    spans[1] = &frame->envelope.event;
    spans[2] = &frame->envelope.ref;
    spans[3] = &frame->envelope.join_ref;
    spans[4] = &frame->envelope.payload.bytes;
    for (size_t i = 0; i != sizeof(spans) / sizeof(*spans); ++i) {
        if (spans[i]->len != 0)
            memcpy(at, spans[i]->base, spans[i]->len);
        spans[i]->base = at;
        at += spans[i]->len;
    }
    return frame;
}

static void pending_append(hub__member_extra_t *extra, hub__pending_t *frame)
{
    *extra->pending_tail = frame;
    extra->pending_tail = &frame->next;
}

bool hub__member_must_wait(const hub_member_t *member)
{
    return hub__member_is_unanswered(member) || member->suspended ||
           (member->extra != NULL && member->extra->pending != NULL);
}

void hub__member_wait(hub_member_t *member, const hub__envelope_t *envelope)
{
    hub__session_t *session = member->session;
    hub__member_extra_t *extra = hub__member_extra(member);
    size_t size = sizeof(hub__pending_t) + envelope->topic.len + envelope->event.len +
                  envelope->ref.len + envelope->join_ref.len + envelope->payload.bytes.len;
    hub__pending_t *frame = NULL;

    if (extra != NULL &&
        extra->pending_count < hub__member_channel(member)->options.pending_limit &&
        session->pending_bytes + size <= session->host->limits->outbox_bytes)
        frame = pending_create(envelope, size);
    if (frame == NULL) {
        (void)hub__session_refuse(session, NULL, envelope->topic, envelope->ref,
                                  answered_join_ref(member, envelope), HUB__CODE_BUSY, NULL, false);
        return;
    }
    pending_append(extra, frame);
    ++extra->pending_count;
    session->pending_bytes += (uint32_t)size;
}

bool hub__member_wait_update(hub_member_t *member, const hub_message_t *message)
{
    hub__member_extra_t *extra = member->extra;
    hub__pending_t *frame = NULL;
    char topic[HUB_LOG_FIELD];

    if (member->state != HUB__MEMBER_JOINED || !hub__member_must_wait(member))
        return false;
    if (extra->update_count < hub__member_channel(member)->options.pending_limit)
        frame = hub__peer_alloc_zeroed(sizeof(*frame));
    if (frame == NULL || (frame->update = hub_message_retain(message)) == NULL) {
        hub__peer_free(frame);
        HUB__STAT(member->session->host->stats, dropped_total);
        hub_log_peer(HUB_LOG_WARN, "member.update_dropped", "topic=%s",
                     hub_log_escape(hub__member_name(member), topic));
        return true;
    }
    pending_append(extra, frame);
    ++extra->update_count;
    return true;
}

hub_update_t hub__member_filter(hub_member_t *member, const hub_message_t *message,
                                hub_payload_t *ret_replacement)
{
    hub_message_t msg = *message;
    hub_update_t verdict;

    msg.topic = hub_member_local_topic(member);
    verdict = hub__member_channel(member)->options.on_update(member, &msg, ret_replacement);
    hub__member_called(member, "on_update", msg.event);
    return verdict;
}

/* One that had to wait: what it shared with the others has long left. */
static void member_update(hub_member_t *member, const hub_message_t *message)
{
    hub__session_t *session = member->session;
    hub_payload_t payload = message->payload;
    hub_update_t verdict = hub__member_filter(member, message, &payload);
    hub__outgoing_t out = {
        .kind = HUB__OUT_BROADCAST,
        .topic = hub__member_name(member),
        .event = message->event,
        .payload = message->payload,
    };

    if (verdict == HUB_UPDATE_KEEP)
        (void)session->host->io->send(session, member, &out);
    else if (verdict == HUB_UPDATE_REPLACE)
        (void)hub_member_push(member, message->event, payload);
    else
        HUB__STAT(session->host->stats, skipped_total);
}

static bool is_leave(const hub__session_t *session, hub_str_t event)
{
    return hub_str_equals(event, session->dialect->leave) ||
           (session->dialect->leave_alias.len != 0 &&
            hub_str_equals(event, session->dialect->leave_alias));
}

/* One frame of a topic that is joined and free to take it. */
static void member_receive(hub_member_t *member, const hub__envelope_t *envelope)
{
    hub__session_t *session = member->session;

    if (hub_str_equals(envelope->event, session->dialect->join)) { /* one that had to wait */
        hub__member_joined_already(member, envelope);
        return;
    }
    if (is_leave(session, envelope->event)) {
        on_leave_frame(session, member, envelope);
        return;
    }
    if (session->dialect->reserved_events_refused && hub__event_is_servers(envelope->event)) {
        session->host->replied = false;
        event_failed(member, envelope, HUB__FAILURE_REPLIES, HUB_EEVENT);
        return;
    }
    dispatch(member, envelope);
}

static void on_member_frame(hub__session_t *session, hub_member_t *member,
                            const hub__envelope_t *envelope)
{
    if (session->dialect->check_join_ref && envelope->join_ref.len != 0 &&
        !hub_str_equals(envelope->join_ref, hub__member_join_ref(member)))
        return; /* of an earlier join: nobody waits for an answer */
    if (hub__member_is_unanswered(member) && is_leave(session, envelope->event)) {
        on_leave_frame(session, member, envelope);
        return;
    }
    if (hub__member_must_wait(member))
        hub__member_wait(member, envelope);
    else
        member_receive(member, envelope);
}

void hub__session_envelope(hub__session_t *session, const hub__envelope_t *envelope)
{
    const hub__dialect_t *dialect = session->dialect;
    hub_member_t *member;

    if (hub_str_equals(envelope->event, dialect->heartbeat_event) &&
        hub_str_equals(envelope->topic, dialect->heartbeat_topic)) {
        hub__outgoing_t out = {.kind = HUB__OUT_REPLY,
                               .topic = envelope->topic,
                               .status = STATUS_OK,
                               .ref = envelope->ref,
                               .payload = HUB_JSON("{}")};

        (void)session->host->io->send(session, NULL, &out);
        return;
    }
    member = hub__session_find(session, envelope->topic);
    if (member != NULL && hub__member_stopped(member))
        member = NULL;
    if (hub_str_equals(envelope->event, dialect->join)) {
        hub__session_join(session, member, envelope);
        return;
    }
    if (member != NULL) {
        on_member_frame(session, member, envelope);
        return;
    }
    if (is_leave(session, envelope->event) && dialect->leave_unjoined_is_ok) {
        leave_reply(session, envelope->topic, envelope->ref, envelope->join_ref);
        return;
    }
    hub__session_refuse_frame(session, envelope, HUB__CODE_NOT_JOINED, false);
}

/* ---- what is no envelope ---- */

static void bad_envelope(hub__session_t *session, const hub__envelope_t *envelope,
                         hub_status_t status, const hub_error_t *error)
{
    hub__session_host_t *host = session->host;
    hub_hook_event_t event = {.hook = HUB_HOOK_ERROR, .status = status};
    hub__buffer_t *buffer = &host->detail;
    bool counts = status != HUB_ETOPIC && status != HUB_EEVENT;
    hub__code_t code = status == HUB_ETOPIC   ? HUB__CODE_BAD_TOPIC
                       : status == HUB_EEVENT ? HUB__CODE_EVENT_NOT_FOUND
                                              : HUB__CODE_INVALID_PAYLOAD;
    hub_str_t topic = status == HUB_EEVENT ? envelope->topic : (hub_str_t){0};
    hub_payload_t detail;

    HUB__STAT(host->stats, bad_envelopes_total);
    (void)host->io->hook(session, &event);
    if (status == HUB_EUTF8) {
        host->io->close(session, HUB_DISCONNECT_PROTOCOL, 1007, HUB_STR("not UTF-8"));
        return;
    }
    if (counts && host->limits->bad_envelopes != HUB_OFF &&
        ++session->bad_envelopes > host->limits->bad_envelopes) {
        host->io->close(session, HUB_DISCONNECT_LIMIT, 1008, HUB_STR("too many bad envelopes"));
        return;
    }
    if (session->dialect->bad_frame_ends_conn && counts &&
        (envelope->topic.len == 0 || envelope->ref.len == 0)) {
        if (status == HUB_ESYNTAX)
            host->io->close(session, HUB_DISCONNECT_PROTOCOL, 1007, HUB_STR("not JSON"));
        else
            host->io->close(session, HUB_DISCONNECT_LIMIT, 1008, HUB_STR("no envelope"));
        return;
    }
    if (session->dialect->bad_frame_ends_conn) {
        hub__session_refuse_frame(session, envelope, code, false);
        return;
    }
    hub__buffer_clear(buffer);
    HUB__APPEND_LITERAL(buffer, "{\"error\":");
    hub__buffer_json_string(buffer, hub_str(error->text));
    HUB__APPEND_LITERAL(buffer, "}");
    if (buffer->failed) {
        hub__session_without_memory(session);
        return;
    }
    detail = hub_json(hub__buffer_str(buffer));
    (void)hub__session_refuse(session, NULL, topic, envelope->ref, envelope->join_ref, code,
                              &detail, false);
}

static bool leaves_member(const hub__session_t *session, const hub__envelope_t *envelope)
{
    return is_leave(session, envelope->event) &&
           hub__session_find(session, envelope->topic) != NULL;
}

/* Past its rate. What is no envelope is not counted as one then: it was not looked at. */
static void refuse_message(hub__session_t *session, hub__envelope_t *envelope)
{
    const hub_member_t *member = hub__session_find(session, envelope->topic);

    if (member != NULL)
        envelope->join_ref = answered_join_ref(member, envelope);
    if (hub_str_equals(envelope->event, session->dialect->join))
        HUB__STAT(session->host->stats, joins_refused_total);
    hub__session_refuse_rate(
        session, envelope,
        hub__rate_wait_ms(session->debts.messages, &session->host->rates.messages, 1), false);
}

void hub__session_receive(hub__session_t *session, hub_str_t bytes, bool binary,
                          hub__envelope_scratch_t *scratch)
{
    const hub_limits_t *limits = session->host->limits;
    hub__envelope_limits_t envelope_limits = {
        .topic_bytes = limits->topic_bytes,
        .event_bytes = limits->event_bytes,
        .ref_bytes = limits->ref_bytes,
        .envelope_depth = limits->envelope_depth,
        .payload_depth = limits->payload_depth,
    };
    hub__envelope_t envelope = {0};
    hub_error_t error = {0};
    hub_status_t err;
    bool within;

    if (session->ended)
        return;
    scratch->used = 0;
    err = session->dialect->decode(bytes, binary, &envelope_limits, scratch, &envelope, &error);
    within = hub__rate_take(&session->debts.messages, &session->host->rates.messages);
    if (err == HUB_OK && (within || leaves_member(session, &envelope)))
        hub__session_envelope(session, &envelope);
    else if (within)
        bad_envelope(session, &envelope, err, &error);
    else
        refuse_message(session, &envelope);
}

/* ---- later ---- */

void hub__member_refuse_pending(hub_member_t *member)
{
    while (member->extra != NULL && member->extra->pending != NULL) {
        hub__pending_t *frame = pending_pop(member);

        hub__session_refuse_frame(member->session, &frame->envelope, HUB__CODE_NOT_JOINED, false);
        hub__peer_free(frame);
    }
}

/* What waited behind a leave is no longer about this member: it is met as if it came now. */
static void pending_leave(hub_member_t *member, const hub__envelope_t *envelope)
{
    hub__session_t *session = member->session;
    hub__pending_t *first = NULL, **last = &first;

    while (member->extra->pending != NULL) {
        *last = pending_pop(member);
        last = &(*last)->next;
    }
    *last = NULL;
    on_leave_frame(session, member, envelope);
    while (first != NULL) {
        hub__pending_t *frame = first;

        first = frame->next;
        if (frame->update == NULL) /* else it was for who has left */
            hub__session_envelope(session, &frame->envelope);
        pending_free(frame);
    }
}

void hub__session_drain(hub__session_t *session, hub_str_t topic)
{
    for (;;) {
        hub_member_t *member = hub__session_find(session, topic);
        hub__pending_t *frame;

        if (member == NULL || hub__member_stopped(member) || member->state != HUB__MEMBER_JOINED ||
            member->suspended || member->extra == NULL || member->extra->pending == NULL)
            return;
        frame = pending_pop(member);
        if (frame->update != NULL)
            member_update(member, frame->update);
        else if (is_leave(session, frame->envelope.event))
            pending_leave(member, &frame->envelope);
        else
            member_receive(member, &frame->envelope);
        pending_free(frame);
    }
}

static void proceed_member(hub__table_node_t *node, void *user)
{
    hub_member_t *member = HUB__CONTAINER(node, hub_member_t, node);

    (void)user;
    (void)hub__member_stopped(member);
}

void hub__session_proceed(hub__session_t *session)
{
    session->scheduled = false;
    if (!session->ended)
        hub__table_foreach(&session->members, proceed_member, NULL);
}

void hub__session_reply_later(hub__session_t *session, const hub_token_t *token, hub_str_t status,
                              hub_status_t code, hub_payload_t payload)
{
    hub_member_t *member = hub__session_find_serial(session, token->_member);
    hub_str_t ref = hub_str_n(token->_ref_len == 0 ? NULL : token->_ref, token->_ref_len);
    const hub_payload_t *detail = &payload;

    if (member == NULL || member->state != HUB__MEMBER_JOINED)
        return;
    if (code == HUB_OK && !session->dialect->carries(payload.kind)) {
        /* who made the token could not know; the client must not wait for ever */
        hub_log_peer(HUB_LOG_WARN, "member.reply", "error=\"%s cannot carry a binary payload\"",
                     session->dialect->name);
        code = HUB_EINTERNAL;
        detail = NULL;
    }
    if (code == HUB_OK)
        (void)hub__session_reply(session, member, ref, hub__member_sent_join_ref(member), status,
                                 payload);
    else
        (void)hub__session_refuse(session, member, hub__member_name(member), ref,
                                  hub__member_sent_join_ref(member), hub__code_of_status(code),
                                  detail, false);
}

static void resume_member(hub_member_t *member)
{
    hub__session_t *session = member->session;
    char topic[HUB__TOPIC_BYTES_MAX];
    hub_str_t name = hub__member_name(member);

    member->suspended = false;
    if (member->state != HUB__MEMBER_JOINED)
        return; /* the deadline is its join's, and everything waits for that */
    session->host->io->timer_disarm(session, &member->extra->deadline);
    memcpy(topic, name.base, name.len);
    name.base = topic;
    hub__session_drain(session, name);
}

void hub__session_resume(hub__session_t *session, const hub_token_t *token)
{
    hub_member_t *member = hub__session_find_serial(session, token->_member);

    if (member != NULL && member->suspended)
        resume_member(member);
}

static void on_suspend_deadline(hub__timer_t *timer, uint64_t now_ms)
{
    hub__member_extra_t *extra = HUB__CONTAINER(timer, hub__member_extra_t, deadline);
    char topic[HUB_LOG_FIELD];

    (void)now_ms;
    hub_log_peer(HUB_LOG_WARN, "member.suspend_timeout", "topic=%s",
                 hub_log_escape(hub__member_name(extra->member), topic));
    resume_member(extra->member);
}

void hub__member_arm_suspension(hub_member_t *member)
{
    hub__session_host_t *host = member->session->host;
    hub__timer_t *deadline = &member->extra->deadline;

    deadline->on_due = on_suspend_deadline;
    host->io->timer_arm(member->session, deadline,
                        *host->now_ms + hub__member_channel(member)->options.suspend_timeout_ms);
}

hub_token_t hub_member_suspend(hub_member_t *member)
{
    hub__session_t *session = member->session;
    hub_token_t token = {._conn = session->host->io->conn_id(session),
                         ._member = member->node.hash << 32 | member->serial,
                         ._kind = HUB__TOKEN_RESUME};

    /* without memory its messages go on: late is worse than unordered only for the program */
    if (member->state == HUB__MEMBER_ENDED || member->suspended ||
        hub__member_extra(member) == NULL)
        return token;
    member->suspended = true;
    if (member->state == HUB__MEMBER_JOINED)
        hub__member_arm_suspension(member);
    return token;
}

/* ---- the end ---- */

static void end_member(hub__table_node_t *node, void *user)
{
    const hub_exit_t *why = user;

    hub__member_end(HUB__CONTAINER(node, hub_member_t, node), *why);
}

void hub__session_end(hub__session_t *session, hub_disconnect_reason_t why)
{
    hub_hook_event_t event = {.hook = HUB_HOOK_DISCONNECTING, .reason = why};
    hub_exit_t exit_why = why == HUB_DISCONNECT_SHUTDOWN ? HUB_EXIT_SHUTDOWN : HUB_EXIT_DISCONNECT;

    if (session->ended)
        return;
    (void)session->host->io->hook(session, &event);
    session->ended = true;
    hub__table_foreach(&session->members, end_member, &exit_why);
    assert(session->members.count == 0);
    hub__table_dispose(&session->members);
    event.hook = HUB_HOOK_DISCONNECT;
    (void)session->host->io->hook(session, &event);
}
