/* SPDX-License-Identifier: MIT */
/* The protocol as a reference, as plain as it can be said. Phoenix's rules are those that its
 * servers were seen to follow; the native ones are the documented ones. */
#include "test/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/talk.h"

const char *model_rule_name(model_rule_t rule)
{
    static const char *const names[] = {
#define MODEL_RULE_NAME(name) #name,
        MODEL_RULES(MODEL_RULE_NAME)
#undef MODEL_RULE_NAME
    };

    return names[rule];
}

static void met(model_t *model, model_rule_t rule)
{
    model->met[rule]++;
}

static bool is(const char *text, const char *other)
{
    return strcmp(text, other) == 0;
}

static bool is_native(const model_t *model)
{
    return model->dialect == NATIVE;
}

static bool same_ref(const char *ref, const char *other)
{
    return ref == other || (ref != NULL && other != NULL && is(ref, other));
}

/* ---- what is heard ---- */

static void tell(hub__buffer_t *lines, const char *format, ...) HUB_PRINTF(2, 3);

static void tell(hub__buffer_t *lines, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    hub__buffer_printf(lines, "%s\n", text);
}

static const char *shown(const char *ref)
{
    return ref == NULL ? "-" : ref;
}

/* Where a member's own frames go: nothing of it comes before its join reply. */
static hub__buffer_t *voice(model_t *model, model_member_t *member)
{
    return member->state == MODEL_JOINED ? &model->lines : &member->held;
}

static void tell_reply(hub__buffer_t *lines, const char *topic, const char *ref,
                       const char *join_ref, const char *status, const char *response)
{
    tell(lines, "reply %s %s/%s %s %s", topic, shown(ref), shown(join_ref), status, response);
}

static const char *message_of(const char *code)
{
    static const char *const messages[][2] = {
        {"topic_not_found", "Topic not found"},
        {"event_not_found", "Event not found"},
        {"not_joined", "Topic not joined"},
        {"join_rejected", "Join rejected"},
        {"invalid_payload", "Invalid payload"},
        {"internal_error", "Internal error"},
        {"limit", "Limit reached"},
        {"busy", "Busy"},
        {"timeout", "Timed out"},
    };

    for (size_t i = 0; i != sizeof(messages) / sizeof(*messages); ++i)
        if (is(messages[i][0], code))
            return messages[i][1];
    abort();
}

/* Phoenix's word where it has one. */
static const char *reason_of(const char *code, bool of_join)
{
    if (is(code, "topic_not_found") || is(code, "not_joined"))
        return "unmatched topic";
    if (of_join && is(code, "limit"))
        return "too many channels joined";
    if (of_join && is(code, "internal_error"))
        return "join crashed";
    return code;
}

/* An error reply. `detail` is the program's, or NULL. */
static void tell_refusal(model_t *model, hub__buffer_t *lines, const char *topic, const char *ref,
                         const char *join_ref, const char *code, const char *detail, bool of_join)
{
    char response[256];

    if (is_native(model))
        snprintf(response, sizeof(response), "{'code':'%s','message':'%s','detail':%s}", code,
                 message_of(code), detail != NULL ? detail : "{}");
    else if (detail != NULL)
        snprintf(response, sizeof(response), "%s", detail);
    else
        snprintf(response, sizeof(response), "{'reason':'%s'}", reason_of(code, of_join));
    tell_reply(lines, topic, ref, join_ref, "error", response);
}

/* A frame about no member: Phoenix forgets its join_ref. */
static void tell_nobody(model_t *model, const char *topic, const model_frame_t *frame,
                        const char *code)
{
    tell_refusal(model, &model->lines, topic, frame->ref, is_native(model) ? frame->join_ref : NULL,
                 code, NULL, true);
}

/* What a member without one is sent in its place: the ref of its join (A5). */
static const char *sent_join_ref(const model_t *model, const model_member_t *member)
{
    return member->join_ref != NULL || is_native(model) ? member->join_ref : member->join.ref;
}

static void tell_end(model_t *model, const char *kind, const char *topic, const char *join_ref)
{
    tell(&model->lines, "%s %s %s", kind, topic, shown(join_ref));
}

/* ---- members ---- */

static bool has_callbacks(const char *topic)
{
    return strncmp(topic, "room:", 5) == 0 || strncmp(topic, "ack:", 4) == 0;
}

static bool has_channel(const char *topic)
{
    return has_callbacks(topic) || is(topic, "bare");
}

static model_member_t *member_of(model_t *model, const char *topic)
{
    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        if (model->members[i].state != MODEL_ABSENT && is(model->members[i].topic, topic))
            return &model->members[i];
    return NULL;
}

static size_t count_members(const model_t *model)
{
    size_t count = 0;

    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        count += model->members[i].state != MODEL_ABSENT;
    return count;
}

static model_member_t *member_new(model_t *model, const model_frame_t *join)
{
    model_member_t *member = model->members;
    hub__buffer_t held;

    while (member->state != MODEL_ABSENT)
        ++member;
    held = member->held;
    held.len = 0;
    *member = (model_member_t){.topic = join->topic,
                               .state = MODEL_JOINING,
                               .join_ref = join->join_ref,
                               .join = *join,
                               .serial = ++model->serial,
                               .held = held};
    if (is_native(model) && join->join_ref == NULL)
        member->join_ref = join->ref;
    return member;
}

/* Its exit runs if it had joined, and says good-bye to others. */
static void member_gone(model_t *model, model_member_t *member, const char *why)
{
    if (member->state == MODEL_JOINED && has_callbacks(member->topic)) {
        tell(&model->lines, "exit %s %s", member->topic, why);
        tell(&model->lines, "publish %s bye to others", member->topic);
    }
    member->state = MODEL_ABSENT;
}

/* A join is refused after all. What waited for it sees that. */
static void pending_refused(model_t *model, model_member_t *member, const char *code,
                            const char *detail)
{
    member->state = MODEL_ABSENT;
    tell_refusal(model, &model->lines, member->topic, member->join.ref, member->join.join_ref, code,
                 detail, true);
    for (size_t i = 0; i != member->waiting; ++i) {
        met(model, MODEL_WAITED_IN_VAIN);
        tell_nobody(model, member->topic, &member->line[i], "not_joined");
    }
}

/* What hub_member_stop() asked for. True: the member is gone. */
static bool stopped(model_t *model, model_member_t *member)
{
    if (!member->stopping)
        return false;
    if (member->state == MODEL_PENDING) {
        met(model, MODEL_STOPPED_PENDING);
        pending_refused(model, member,
                        member->stopping_by_error ? "internal_error" : "join_rejected", NULL);
        return true;
    }
    met(model, member->stopping_by_error ? MODEL_STOPPED_WITH_ERROR : MODEL_STOPPED);
    tell_end(model, member->stopping_by_error ? "error" : "close", member->topic, member->join_ref);
    member_gone(model, member, member->stopping_by_error ? "failed" : "stopped");
    return true;
}

/* ---- the program ---- */

static void keep(model_t *model, model_token_kind_t kind, const model_member_t *member,
                 const char *ref)
{
    if (model->token_count != MODEL_TOKENS)
        model->tokens[model->token_count++] =
            (model_token_t){.kind = kind, .serial = member->serial, .ref = ref};
}

static void suspend(model_t *model, model_member_t *member)
{
    keep(model, MODEL_RESUME, member, NULL);
    if (member->suspended)
        return;
    member->suspended = true;
    if (member->state == MODEL_JOINED)
        member->due_ms = model->now_ms + MODEL_SUSPEND_MS;
}

static void ask_to_stop(model_member_t *member, bool by_error)
{
    if (member == NULL || member->stopping)
        return;
    member->stopping = true;
    member->stopping_by_error = by_error;
}

/* How a script ended: a word for what was returned, NULL for HUB_OK. */
typedef struct outcome {
    const char *code; /* of a failure */
    char last;        /* the letter that ended it, or 0 */
    bool replied, will_reply;
} outcome_t;

/* "publish": the world is told at once; the member itself hears it as it hears everything. */
static void broadcast(model_t *model, model_member_t *member, const model_frame_t *frame)
{
    tell(&model->lines, "publish %s news relayed", member->topic);
    tell(voice(model, member), "broadcast %s news %s", member->topic, frame->payload);
}

static bool may_send(model_t *model, const model_frame_t *frame)
{
    if (model->dialect != V2 || frame->is_object)
        return true;
    met(model, MODEL_NOT_AN_OBJECT);
    return false;
}

static void answer(model_t *model, model_member_t *member, const model_frame_t *frame, char how)
{
    hub__buffer_t *lines = voice(model, member);
    const char *join_ref = frame->join_ref != NULL ? frame->join_ref : sent_join_ref(model, member);

    if (how == 'r')
        tell_reply(lines, member->topic, frame->ref, join_ref, "ok", frame->payload);
    else if (how == 'w')
        tell_reply(lines, member->topic, frame->ref, join_ref, "whatever", "{'w':1}");
    else
        tell_refusal(model, lines, member->topic, frame->ref, join_ref, "invalid_payload",
                     "{'why':1}", false);
}

static outcome_t run(model_t *model, model_member_t *member, const model_frame_t *frame)
{
    outcome_t outcome = {0};
    model_member_t *other;

    for (const char *at = frame->script; *at != '\0'; ++at) {
        switch (*at) {
        case 'p':
        case 'c':
            if (!may_send(model, frame)) {
                outcome.code = "invalid_payload";
                return outcome;
            }
            if (*at == 'p')
                tell(voice(model, member), "push %s %s pushed %s", member->topic,
                     shown(sent_join_ref(model, member)), frame->payload);
            else
                broadcast(model, member, frame);
            break;
        case 'o':
            tell(&model->lines, "publish %s others to others", member->topic);
            break;
        case 'r':
        case 'e':
        case 'w':
            outcome.replied = true;
            answer(model, member, frame, *at);
            break;
        case 't':
            outcome.will_reply = true;
            keep(model, MODEL_REPLY, member, frame->ref);
            break;
        case 's':
            suspend(model, member);
            break;
        case 'x':
        case 'X':
            ask_to_stop(member, *at == 'X');
            break;
        case 'y':
            if ((other = member_of(model, MODEL_OTHER)) != NULL && other != member)
                met(model, MODEL_STOPPED_BY_ANOTHER);
            ask_to_stop(other, false);
            break;
        case 'f':
            outcome.code = "invalid_payload";
            return outcome;
        case 'k':
            outcome.code = "internal_error";
            return outcome;
        case 'b':
            outcome.code = "busy";
            return outcome;
        default:
            outcome.last = *at;
            return outcome;
        }
    }
    return outcome;
}

/* ---- joins ---- */

static void joined_response(const model_t *model, char *response, size_t size, const char *topic,
                            bool already, const char *given)
{
    if (!is_native(model))
        snprintf(response, size, "%s", given != NULL ? given : "{}");
    else
        snprintf(response, size, "{'topic':'%s','already_joined':%s,'replay_supported':false%s%s}",
                 topic, already ? "true" : "false", given != NULL ? ",'response':" : "",
                 given != NULL ? given : "");
}

/* The reply, the end of the one whose place it takes, and then whatever the join sent. */
static void join_accepted(model_t *model, model_member_t *member, const char *given,
                          const char *const *replaced)
{
    char response[256];

    joined_response(model, response, sizeof(response), member->topic, false, given);
    tell_reply(&model->lines, member->topic, member->join.ref, member->join_ref, "ok", response);
    if (replaced != NULL)
        tell_end(model, "close", member->topic, *replaced);
    if (member->held.len != 0)
        met(model, MODEL_JOIN_SENDS);
    hub__buffer_append(&model->lines, hub__buffer_str(&member->held));
    member->held.len = 0;
    member->state = MODEL_JOINED;
    if (member->suspended)
        member->due_ms = model->now_ms + MODEL_SUSPEND_MS;
}

static void join_refused(model_t *model, model_member_t *member, const char *code,
                         const char *detail)
{
    met(model, is(code, "join_rejected") ? MODEL_JOIN_REJECTED : MODEL_JOIN_CRASHED);
    if (member->held.len != 0)
        met(model, MODEL_JOIN_REFUSED_SENDS);
    member->state = MODEL_ABSENT;
    tell_refusal(model, &model->lines, member->topic, member->join.ref, member->join.join_ref, code,
                 detail, true);
}

/* `replaced`: the join_ref of the member whose place it takes. False: that one's end is still to be
 * told. */
static bool join_new(model_t *model, const model_frame_t *join, const char *const *replaced)
{
    model_member_t *member;
    outcome_t outcome = {0};

    ++model->joins;
    if (!has_channel(join->topic)) {
        met(model, MODEL_JOIN_UNMATCHED);
        tell_nobody(model, join->topic, join, "topic_not_found");
        return false;
    }
    if (count_members(model) == MODEL_TOPICS_LIMIT) {
        met(model, MODEL_JOIN_LIMIT);
        tell_refusal(model, &model->lines, join->topic, join->ref, join->join_ref, "limit", NULL,
                     true);
        return false;
    }
    member = member_new(model, join);
    if (has_callbacks(join->topic))
        outcome = run(model, member, join);
    if (outcome.code != NULL || outcome.last == 'j' || outcome.last == 'J') {
        if (replaced != NULL)
            met(model, MODEL_JOIN_AGAIN_REFUSED);
        join_refused(model, member, outcome.code != NULL ? outcome.code : "join_rejected",
                     outcome.last == 'j' ? "{'reason':'private'}" : NULL);
        return false;
    }
    if (outcome.last == 'd') {
        keep(model, MODEL_JOIN, member, NULL);
        member->state = MODEL_PENDING;
        member->due_ms = model->now_ms + MODEL_JOIN_MS;
        return false;
    }
    met(model, MODEL_JOIN_ACCEPTED);
    join_accepted(model, member, outcome.last == 'a' ? "{'hi':1}" : NULL, replaced);
    return true;
}

static bool must_wait(const model_member_t *member)
{
    return member->state == MODEL_PENDING || member->suspended || member->waiting != 0;
}

static void wait_in_line(model_t *model, model_member_t *member, const model_frame_t *frame)
{
    if (member->waiting == MODEL_PENDING_LIMIT) {
        met(model, MODEL_WAITED_TOO_MANY);
        tell_refusal(model, &model->lines, member->topic, frame->ref,
                     frame->join_ref != NULL ? frame->join_ref : sent_join_ref(model, member),
                     "busy", NULL, false);
        return;
    }
    met(model, MODEL_WAITED);
    member->line[member->waiting++] = *frame;
}

static void already_joined(model_t *model, const model_member_t *member, const model_frame_t *join)
{
    char response[256];

    met(model, MODEL_JOIN_AGAIN);
    joined_response(model, response, sizeof(response), member->topic, true, NULL);
    tell_reply(&model->lines, member->topic, join->ref, member->join_ref, "ok", response);
}

static void join_again_native(model_t *model, model_member_t *member, const model_frame_t *join)
{
    if (member->state == MODEL_PENDING) {
        met(model, MODEL_JOIN_AGAIN_PENDING);
        tell_refusal(model, &model->lines, member->topic, join->ref, join->join_ref, "busy", NULL,
                     true);
    } else if (must_wait(member)) {
        met(model, MODEL_JOIN_AGAIN_WAITS);
        wait_in_line(model, member, join);
    } else {
        already_joined(model, member, join);
    }
}

/* The old member ends first. Its end is told behind the reply to the new join, whatever that is. */
static void join_again_phoenix(model_t *model, model_member_t *member, const model_frame_t *join)
{
    const char *old = member->join_ref;

    met(model, member->state == MODEL_PENDING ? MODEL_JOIN_AGAIN_PENDING : MODEL_JOIN_AGAIN);
    if (member->suspended)
        met(model, MODEL_JOIN_AGAIN_WAITS);
    member_gone(model, member, "replaced");
    if (!join_new(model, join, &old))
        tell_end(model, "close", join->topic, old);
}

/* ---- frames ---- */

static bool is_join(const model_t *model, const model_frame_t *frame)
{
    return is(frame->event, is_native(model) ? "join" : "phx_join");
}

static bool is_leave(const model_t *model, const model_frame_t *frame)
{
    if (is_native(model))
        return is(frame->event, "leave") || is(frame->event, "exit");
    return is(frame->event, "phx_leave");
}

static bool is_the_servers(const char *event)
{
    return is(event, "reply") || is(event, "error") || is(event, "close") || is(event, "gap") ||
           is(event, "presence_state") || is(event, "presence_diff");
}

/* By clients of some format, where it comes from the server. */
static bool is_obeyed(const char *event)
{
    return is_the_servers(event) || is(event, "phx_reply") || is(event, "phx_error") ||
           is(event, "phx_close");
}

static void tell_left(model_t *model, const char *topic, const model_frame_t *leave,
                      const char *join_ref)
{
    char response[64] = "{}";

    if (is_native(model))
        snprintf(response, sizeof(response), "{'topic':'%s'}", topic);
    tell_reply(&model->lines, topic, leave->ref, join_ref, "ok", response);
}

static void leave(model_t *model, model_member_t *member, const model_frame_t *frame)
{
    const char *own = member->join_ref, *sent = sent_join_ref(model, member),
               *topic = member->topic;

    if (member->state == MODEL_PENDING) {
        met(model, MODEL_LEAVE_PENDING);
        pending_refused(model, member, "join_rejected", "{'reason':'left'}");
    } else {
        met(model, MODEL_LEAVE);
        member_gone(model, member, "leave");
    }
    tell_left(model, topic, frame, frame->join_ref != NULL ? frame->join_ref : sent);
    if (!is_native(model))
        tell_end(model, "close", topic, own);
}

/* A handler failed, or there is none. */
static void failed(model_t *model, model_member_t *member, const model_frame_t *frame,
                   const char *code, bool replied)
{
    if (!is_native(model)) {
        tell_end(model, "error", member->topic, member->join_ref);
        member_gone(model, member, "failed");
    } else if (!replied) {
        tell_refusal(model, &model->lines, member->topic, frame->ref,
                     frame->join_ref != NULL ? frame->join_ref : sent_join_ref(model, member), code,
                     NULL, false);
    }
}

static void event(model_t *model, model_member_t *member, const model_frame_t *frame)
{
    bool acks = strncmp(member->topic, "ack:", 4) == 0;
    outcome_t outcome = {0};

    if (is_native(model) && is_the_servers(frame->event)) {
        met(model, MODEL_RESERVED);
        failed(model, member, frame, "event_not_found", false);
        return;
    }
    if (is(frame->event, "act") && has_callbacks(member->topic)) {
        outcome = run(model, member, frame);
    } else if (!acks || is_obeyed(frame->event)) {
        met(model, MODEL_UNKNOWN);
        failed(model, member, frame, "event_not_found", false);
        return;
    }
    if (acks && outcome.code == NULL && outcome.last == 0 && !outcome.replied &&
        !outcome.will_reply && frame->ref != NULL) {
        met(model, MODEL_ACKED);
        tell_reply(&model->lines, member->topic, frame->ref,
                   frame->join_ref != NULL ? frame->join_ref : sent_join_ref(model, member), "ok",
                   "{}");
    }
    if (stopped(model, member) || outcome.code == NULL)
        return;
    met(model, outcome.replied ? MODEL_FAILED_AFTER_REPLY : MODEL_FAILED);
    failed(model, member, frame, outcome.code, outcome.replied);
}

/* One frame whose turn it is. */
static void take(model_t *model, model_member_t *member, const model_frame_t *frame)
{
    if (is_join(model, frame))
        already_joined(model, member, frame);
    else if (is_leave(model, frame))
        leave(model, member, frame);
    else
        event(model, member, frame);
}

static void unjoined(model_t *model, const model_frame_t *frame)
{
    if (is_join(model, frame)) {
        (void)join_new(model, frame, NULL);
    } else if (is_leave(model, frame) && !is_native(model)) {
        met(model, MODEL_LEAVE_UNJOINED);
        tell_left(model, frame->topic, frame, frame->join_ref);
    } else {
        met(model, is_leave(model, frame) ? MODEL_LEAVE_UNJOINED : MODEL_UNJOINED);
        tell_nobody(model, frame->topic, frame, "not_joined");
    }
}

void model_hear(model_t *model, const model_frame_t *frame)
{
    model_member_t *member;

    if (frame->topic == NULL) {
        met(model, MODEL_NO_TOPIC);
        tell_nobody(model, "-", frame, "topic_not_found");
        return;
    }
    if (frame->payload[0] == '#')
        met(model, MODEL_BYTES);
    if (is(frame->event, "heartbeat") && is(frame->topic, is_native(model) ? "hub" : "phoenix")) {
        met(model, MODEL_HEARTBEAT);
        tell_reply(&model->lines, frame->topic, frame->ref, NULL, "ok", "{}");
        return;
    }
    member = member_of(model, frame->topic);
    if (member != NULL && stopped(model, member))
        member = NULL;
    if (member == NULL) {
        unjoined(model, frame);
    } else if (is_join(model, frame)) {
        if (is_native(model))
            join_again_native(model, member, frame);
        else
            join_again_phoenix(model, member, frame);
    } else if (!is_native(model) && frame->join_ref != NULL &&
               !same_ref(frame->join_ref, member->join_ref)) {
        met(model, MODEL_STALE);
    } else if (must_wait(member) && !(member->state == MODEL_PENDING && is_leave(model, frame))) {
        wait_in_line(model, member, frame);
    } else {
        take(model, member, frame);
    }
}

/* ---- what waited ---- */

/* Behind a leave everything is as if it came now. */
static void take_all(model_t *model, const model_frame_t *frames, size_t count)
{
    for (size_t i = 0; i != count; ++i) {
        met(model, MODEL_WAITED_BEHIND_LEAVE);
        model_hear(model, &frames[i]);
    }
}

/* The line moves until something makes it wait again, or there is nobody to wait for. */
static void drain(model_t *model, const char *topic)
{
    model_member_t *member;

    while ((member = member_of(model, topic)) != NULL && !stopped(model, member) &&
           member->state == MODEL_JOINED && !member->suspended && member->waiting != 0) {
        model_frame_t line[MODEL_PENDING_LIMIT];
        size_t count = member->waiting;

        memcpy(line, member->line, sizeof(line));
        if (is_leave(model, &line[0])) {
            leave(model, member, &line[0]);
            take_all(model, line + 1, count - 1);
            continue;
        }
        memmove(member->line, line + 1, (count - 1) * sizeof(*line));
        member->waiting = count - 1;
        take(model, member, &line[0]);
    }
}

void model_turn(model_t *model)
{
    size_t count = 0;

    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        count += model->members[i].state != MODEL_ABSENT && model->members[i].stopping;
    if (count > 1)
        model->undefined = true;
    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        if (model->members[i].state != MODEL_ABSENT)
            (void)stopped(model, &model->members[i]);
}

/* ---- later ---- */

static model_member_t *member_by_serial(model_t *model, unsigned serial)
{
    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        if (model->members[i].state != MODEL_ABSENT && model->members[i].serial == serial)
            return &model->members[i];
    return NULL;
}

static void resume(model_t *model, model_member_t *member)
{
    member->suspended = false;
    if (member->state == MODEL_JOINED)
        drain(model, member->topic);
}

static void complete_join(model_t *model, model_member_t *member, bool accepts)
{
    if (accepts) {
        met(model, MODEL_LATER_ACCEPTED);
        join_accepted(model, member, "{'late':1}", NULL);
        drain(model, member->topic);
    } else {
        met(model, MODEL_LATER_REJECTED);
        pending_refused(model, member, "join_rejected", "{'late':1}");
    }
}

void model_complete(model_t *model, size_t index, bool accepts)
{
    const model_token_t *token = &model->tokens[index];
    model_member_t *member = member_by_serial(model, token->serial);

    if (member == NULL || (token->kind == MODEL_REPLY && member->state != MODEL_JOINED) ||
        (token->kind == MODEL_JOIN && member->state != MODEL_PENDING)) {
        met(model, MODEL_LATER_NOBODY);
    } else if (token->kind == MODEL_JOIN) {
        complete_join(model, member, accepts);
    } else if (token->kind == MODEL_RESUME && member->suspended) {
        met(model, MODEL_RESUMED);
        resume(model, member);
    } else if (token->kind == MODEL_REPLY) {
        met(model, MODEL_LATER_REPLY);
        if (accepts)
            tell_reply(&model->lines, member->topic, token->ref, sent_join_ref(model, member), "ok",
                       "{'late':1}");
        else
            tell_refusal(model, &model->lines, member->topic, token->ref,
                         sent_join_ref(model, member), "busy", "{'late':1}", false);
    }
    model_turn(model);
}

static model_member_t *next_due(model_t *model, uint64_t until_ms)
{
    model_member_t *next = NULL;

    for (size_t i = 0; i != MODEL_TOPICS; ++i) {
        model_member_t *member = &model->members[i];

        if (!(member->state == MODEL_PENDING ||
              (member->state == MODEL_JOINED && member->suspended)) ||
            member->due_ms > until_ms)
            continue;
        if (next != NULL && member->due_ms == next->due_ms)
            model->undefined = true;
        if (next == NULL || member->due_ms < next->due_ms)
            next = member;
    }
    return next;
}

void model_pass(model_t *model, uint64_t ms)
{
    uint64_t until_ms = model->now_ms + ms;
    model_member_t *member;

    while ((member = next_due(model, until_ms)) != NULL && !model->undefined) {
        model->now_ms = member->due_ms;
        if (member->state == MODEL_PENDING) {
            met(model, MODEL_LATER_TIMEOUT);
            pending_refused(model, member, "timeout", NULL);
        } else {
            met(model, MODEL_RESUMED_BY_TIME);
            resume(model, member);
        }
        model_turn(model);
    }
    model->now_ms = until_ms;
}

/* ---- a life ---- */

void model_begin(model_t *model, int dialect, uint64_t now_ms)
{
    model->dialect = dialect;
    model->now_ms = now_ms;
    model->token_count = 0;
    model->serial = 0;
    model->joins = 0;
    model->lines.len = 0;
    model->undefined = false;
    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        model->members[i].state = MODEL_ABSENT;
}

void model_end(model_t *model)
{
    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        if (model->members[i].state != MODEL_ABSENT)
            member_gone(model, &model->members[i], "disconnect");
}

void model_dispose(model_t *model)
{
    for (size_t i = 0; i != MODEL_TOPICS; ++i)
        hub__buffer_dispose(&model->members[i].held);
    hub__buffer_dispose(&model->lines);
}
