/* SPDX-License-Identifier: MIT */
/* The world of a session as the tests make it: frames become lines, the clock stands still, the
 * pool is a list, and what is published comes back to this one session as a worker would do it. */
#include "test/talk.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

static talk_t *talk_of(hub__session_t *session)
{
    return (talk_t *)(void *)session;
}

void talk_tell(talk_t *talk, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    hub__buffer_printf(&talk->heard, "%s\n", text);
}

/* ---- frames ---- */

static void append_or_dash(hub__buffer_t *line, hub_str_t text)
{
    hub__buffer_append(line, text.len != 0 ? text : HUB_STR("-"));
}

static void append_payload(hub__buffer_t *line, hub_payload_t payload)
{
    if (payload.kind == HUB_PAYLOAD_JSON) {
        hub__buffer_append(line, payload.bytes);
        return;
    }
    HUB__APPEND_LITERAL(line, "#");
    for (size_t i = 0; i != payload.bytes.len; ++i)
        hub__buffer_printf(line, "%02x", (unsigned)(uint8_t)payload.bytes.base[i]);
}

static void append_frame(hub__buffer_t *line, const hub__outgoing_t *out)
{
    static const char *const kinds[] = {"reply ", "push ", "broadcast ", "close ", "error "};

    hub__buffer_append(line, hub_str(kinds[out->kind]));
    append_or_dash(line, out->topic);
    HUB__APPEND_LITERAL(line, " ");
    if (out->kind == HUB__OUT_REPLY) {
        append_or_dash(line, out->ref);
        HUB__APPEND_LITERAL(line, "/");
    }
    if (out->kind != HUB__OUT_BROADCAST)
        append_or_dash(line, out->join_ref);
    if (out->kind == HUB__OUT_CLOSE || out->kind == HUB__OUT_ERROR)
        return;
    if (out->kind != HUB__OUT_BROADCAST)
        HUB__APPEND_LITERAL(line, " ");
    hub__buffer_append(line, out->kind == HUB__OUT_REPLY ? out->status : out->event);
    HUB__APPEND_LITERAL(line, " ");
    append_payload(line, out->payload);
}

/* A line as a run, so that it is held where a worker holds it. */
static hub__run_t *line_of(const hub__outgoing_t *out)
{
    hub__buffer_t line = {0};
    hub__run_t *run;

    append_frame(&line, out);
    HUB__APPEND_LITERAL(&line, "\n");
    for (size_t i = 0; i != line.len; ++i)
        if (line.base[i] == '"')
            line.base[i] = '\'';
    run = hub__run_create(line.len);
    assert_non_null(run);
    memcpy(run->base, line.base, line.len);
    run->len = (uint32_t)line.len;
    hub__buffer_dispose(&line);
    return run;
}

/* False: it has no place in this format. Nothing else of the frame is looked at here. */
static bool can_encode(talk_t *talk, const hub__outgoing_t *out)
{
    const hub__dialect_t *dialect = talk->session.dialect;
    size_t bound = dialect->encode_bound(out), len = 0;
    char *bytes = malloc(bound);
    bool binary;

    if (dialect->carries(out->payload.kind))
        len = dialect->encode(out, bytes, &binary);
    assert_true(len <= bound);
    if (len != 0 && talk->on_frame != NULL)
        talk->on_frame(talk, hub_str_n(bytes, len), binary);
    free(bytes);
    return len != 0;
}

static hub_status_t io_send(hub__session_t *session, hub_member_t *member,
                            const hub__outgoing_t *out)
{
    bool holds = member != NULL && hub__member_is_joining(member);
    hub__run_t *run;

    if (!can_encode(talk_of(session), out))
        return HUB_EPAYLOAD;
    run = line_of(out);
    if (holds)
        assert_int_equal(
            hub__outbox_append(&hub__member_extra(member)->held, run, 0, run->len, 1, 0), HUB_OK);
    else
        hub__buffer_append(&talk_of(session)->heard, hub_str_n(run->base, run->len));
    hub__run_release(run);
    return HUB_OK;
}

static void io_release(hub__session_t *session, hub_member_t *member)
{
    hub__outbox_t *held = member->extra != NULL ? &member->extra->held : NULL;

    for (uint32_t i = 0; held != NULL && i != hub__outbox_len(held); ++i) {
        const hub__range_t *range = hub__outbox_at(held, i);

        hub__buffer_append(&talk_of(session)->heard,
                           hub_str_n(range->run->base + range->start, range->end - range->start));
    }
    if (held != NULL)
        hub__outbox_dispose(held, NULL, NULL);
}

/* ---- topics ---- */

static size_t place_of(const talk_t *talk, const hub_member_t *member)
{
    size_t i = 0;

    while (i != talk->subscribed_count && talk->subscribed[i] != member)
        ++i;
    return i;
}

static hub_status_t io_subscribe(hub__session_t *session, hub_member_t *member)
{
    talk_t *talk = talk_of(session);

    assert_int_equal(place_of(talk, member), talk->subscribed_count);
    if (talk->subscribe_status != HUB_OK)
        return talk->subscribe_status;
    assert_true(talk->subscribed_count != TALK_MEMBERS);
    talk->subscribed[talk->subscribed_count++] = member;
    if (talk->tells_subscriptions)
        talk_tell(talk, "subscribe %.*s", HUB_STR_ARG(hub__member_name(member)));
    return HUB_OK;
}

static void io_unsubscribe(hub__session_t *session, hub_member_t *member)
{
    talk_t *talk = talk_of(session);
    size_t place = place_of(talk, member);

    assert_true(place != talk->subscribed_count);
    talk->subscribed[place] = talk->subscribed[--talk->subscribed_count];
    if (talk->tells_subscriptions)
        talk_tell(talk, "unsubscribe %.*s", HUB_STR_ARG(hub__member_name(member)));
}

static bool io_awaits(hub__session_t *session, hub_member_t *member)
{
    (void)member;
    return talk_of(session)->awaits;
}

static void io_hurry(hub__session_t *session, hub_member_t *member)
{
    talk_tell(talk_of(session), "hurries %.*s", HUB_STR_ARG(hub__member_name(member)));
}

void talk_ready(talk_t *talk, const char *topic)
{
    hub_member_t *member = hub__session_find(&talk->session, hub_str(topic));

    if (member != NULL)
        hub__member_ready(member);
}

static hub_status_t io_publish(hub__session_t *session, hub_member_t *member, hub_str_t event,
                               hub_payload_t payload, bool payload_is_valid, unsigned flags)
{
    talk_t *talk = talk_of(session);
    hub_str_t topic = hub__member_name(member);
    hub__outgoing_t out = {
        .kind = HUB__OUT_BROADCAST, .topic = topic, .event = event, .payload = payload};
    hub_status_t err = payload_is_valid ? HUB_OK : hub_payload_check(payload, 256, NULL);

    if (err != HUB_OK)
        return err;
    talk_tell(talk, "publish %.*s %.*s%s%s", HUB_STR_ARG(topic), HUB_STR_ARG(event),
              payload_is_valid ? " relayed" : "",
              (flags & HUB_MESSAGE_SKIP_ORIGIN) != 0 ? " to others" : "");
    for (size_t i = 0; i != talk->subscribed_count; ++i)
        if ((flags & HUB_MESSAGE_SKIP_ORIGIN) == 0 &&
            hub_str_equals(hub__member_name(talk->subscribed[i]), topic))
            (void)io_send(session, talk->subscribed[i], &out);
    return HUB_OK;
}

/* ---- everything else ---- */

static void io_close(hub__session_t *session, hub_disconnect_reason_t why, unsigned code,
                     hub_str_t reason)
{
    talk_tell(talk_of(session), "closes %u %s: %.*s", code, hub_disconnect_reason_name(why),
              HUB_STR_ARG(reason));
}

static void io_schedule(hub__session_t *session)
{
    session->scheduled = true;
}

static void io_timer_arm(hub__session_t *session, hub__timer_t *timer, uint64_t due_ms)
{
    hub__timer_arm(talk_of(session)->wheel, timer, due_ms);
}

static void io_timer_disarm(hub__session_t *session, hub__timer_t *timer)
{
    hub__timer_disarm(talk_of(session)->wheel, timer);
}

static hub_status_t io_offload(hub__session_t *session, hub__job_t *job)
{
    talk_t *talk = talk_of(session);

    if (talk->offload_status != HUB_OK)
        return talk->offload_status;
    assert_true(talk->job_count != TALK_MEMBERS);
    talk->jobs[talk->job_count++] = job;
    return HUB_OK;
}

static hub_status_t io_hook(hub__session_t *session, hub_hook_event_t *event)
{
    static const char *const names[HUB_HOOK_COUNT] = {"message_in", "open",          "join",
                                                      "leave",      "disconnecting", "disconnect",
                                                      "sent",       "failed",        "error"};
    talk_t *talk = talk_of(session);

    if ((talk->tells_hooks & 1u << event->hook) != 0)
        talk_tell(
            talk, "hook %s %.*s", names[event->hook],
            HUB_STR_ARG(event->member != NULL ? hub__member_name(event->member) : HUB_STR("-")));
    return talk->on_hook != NULL ? talk->on_hook(talk, event) : HUB_OK;
}

static hub_conn_t *io_conn(hub__session_t *session)
{
    return (hub_conn_t *)session;
}

static hub_conn_id_t io_conn_id(hub__session_t *session)
{
    (void)session;
    return (hub_conn_id_t){.node = 7, .local = 9};
}

static void io_over_rate(hub__session_t *session, bool of_join)
{
    ++talk_of(session)->over[of_join];
}

static const hub__session_io_t io = {
    .send = io_send,
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
    .over_rate = io_over_rate,
    .conn = io_conn,
    .conn_id = io_conn_id,
};

/* ---- a life ---- */

void talk_init(talk_t *talk, int dialect)
{
    *talk = (talk_t){.now_ms = 1000};
    assert_int_equal(hub_limits_resolve(&talk->limits, NULL), HUB_OK);
    talk->wheel = hub__wheel_create(talk->now_ms);
    talk->host = (hub__session_host_t){.io = &io,
                                       .match_scratch = hub__match_scratch_create(),
                                       .limits = &talk->limits,
                                       .stats = &talk->stats,
                                       .now_ms = &talk->now_ms,
                                       .next_serial = &talk->next_serial,
                                       .joining = &talk->joining};
    hub__session_init(&talk->session, &talk->host, hub__dialect((hub__dialect_index_t)dialect));
}

void talk_channel(talk_t *talk, const char *prefix, const hub_channel_options_t *options)
{
    hub__channel_t **channel = &talk->channels[talk->channel_count];
    hub_error_t error;

    assert_true(talk->channel_count != TALK_CHANNELS);
    assert_int_equal(hub__channel_create(NULL, options, channel, &error), HUB_OK);
    talk->sources[talk->channel_count++] = (hub__route_source_t){
        .prefix = hub_str(prefix), .pattern = hub_str(options->pattern), .target = *channel};
}

void talk_begin(talk_t *talk)
{
    hub_error_t error;

    assert_int_equal(hub__router_create(talk->sources, talk->channel_count, &talk->router, &error),
                     HUB_OK);
    talk->host.router = talk->router;
}

void talk_end(talk_t *talk)
{
    hub__session_end(&talk->session, HUB_DISCONNECT_CLIENT);
    while (talk->job_count != 0)
        talk_finish_job(talk);
    assert_int_equal(talk->subscribed_count, 0);
    assert_int_equal(hub__wheel_count(talk->wheel), 0);
    assert_int_equal(talk->session.pending_bytes, 0);
    assert_int_equal(talk->stats.members, 0);
    assert_null(talk->joining);
    hub__wheel_destroy(talk->wheel);
    hub__router_release(talk->router);
    while (talk->channel_count != 0)
        hub__channel_destroy(talk->channels[--talk->channel_count]);
    hub__match_scratch_destroy(talk->host.match_scratch);
    hub__buffer_dispose(&talk->host.answer);
    hub__buffer_dispose(&talk->host.detail);
    hub__buffer_dispose(&talk->heard);
}

void talk_turn(talk_t *talk)
{
    while (talk->session.scheduled)
        hub__session_proceed(&talk->session);
}

static void turn_unless_it_goes_on(talk_t *talk)
{
    if (!talk->turn_goes_on)
        talk_turn(talk);
}

void talk_say_raw(talk_t *talk, hub_str_t bytes, bool binary)
{
    char *copy = malloc(bytes.len + 1);

    memcpy(copy, bytes.base, bytes.len);
    hub__session_receive(&talk->session, hub_str_n(copy, bytes.len), binary, &talk->scratch);
    free(copy);
    memset(talk->scratch.bytes, 0xa5, sizeof(talk->scratch.bytes));
    turn_unless_it_goes_on(talk);
}

void talk_say(talk_t *talk, const char *join_ref, const char *ref, const char *topic,
              const char *event, const char *payload)
{
    hub__buffer_t frame = {0};

    switch (talk->session.dialect->index) {
    case HUB__DIALECT_PHOENIX2:
        hub__buffer_printf(&frame, "[%s,%s,\"%s\",\"%s\",%s]", join_ref != NULL ? join_ref : "null",
                           ref != NULL ? ref : "null", topic, event, payload);
        break;
    case HUB__DIALECT_NATIVE:
    case HUB__DIALECT_PHOENIX1:
    case HUB__DIALECT_COUNT:
        hub__buffer_printf(&frame, "{\"topic\":\"%s\",\"event\":\"%s\",\"payload\":%s,\"ref\":%s",
                           topic, event, payload, ref != NULL ? ref : "null");
        if (join_ref != NULL)
            hub__buffer_printf(&frame, ",\"join_ref\":%s", join_ref);
        HUB__APPEND_LITERAL(&frame, "}");
    }
    talk_say_raw(talk, hub__buffer_str(&frame), false);
    hub__buffer_dispose(&frame);
}

void talk_pass(talk_t *talk, uint64_t ms)
{
    uint64_t until = talk->now_ms + ms;

    while (hub__wheel_next(talk->wheel) <= until) {
        uint64_t next = hub__wheel_next(talk->wheel);

        if (next > talk->now_ms)
            talk->now_ms = next;
        (void)hub__wheel_run(talk->wheel, talk->now_ms);
        turn_unless_it_goes_on(talk);
    }
    talk->now_ms = until;
    (void)hub__wheel_run(talk->wheel, until);
    hub__debts_pay(&talk->session.debts, &talk->host.rates, (uint32_t)ms);
}

void talk_finish_job(talk_t *talk)
{
    hub__job_t *job = talk->jobs[0];

    assert_true(talk->job_count != 0);
    --talk->job_count;
    memmove(talk->jobs, talk->jobs + 1, talk->job_count * sizeof(*talk->jobs));
    if (!job->cancelled)
        job->work(job->user);
    hub__session_job_done(job);
    turn_unless_it_goes_on(talk);
}

/* ---- what was heard ---- */

void talk_assert_heard(talk_t *talk, const char *lines, const char *file, int line)
{
    hub__buffer_append(&talk->heard, hub_str_n("", 1));
    _assert_string_equal(talk->heard.base, lines, file, line);
    talk->heard.len = 0;
}

void talk_forget(talk_t *talk)
{
    talk->heard.len = 0;
}
