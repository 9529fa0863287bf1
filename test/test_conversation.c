/* SPDX-License-Identifier: MIT */
/* Random conversations, thousands of frames from a seed, and a small reference that says what must
 * be heard for each. It knows nothing of members, tables and timers: a topic is a line of frames
 * and a state, the rules are those of the design, and whatever the session does otherwise shows. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "test/program.h"

#define TOPICS 5
#define TOPICS_LIMIT 3
#define STEPS 60
#define CONVERSATIONS 400
#define JOIN_MS 10000
#define SUSPEND_MS 60000

typedef struct frame {
    const char *event;
    int ref, join_ref; /* 0: none */
} frame_t;

typedef struct topic {
    const char *name;
    enum { ABSENT, PENDING, JOINED } state;
    bool suspended;
    int join_ref; /* the member's */
    frame_t join; /* while it is pending */
    frame_t line[PENDING_LIMIT];
    size_t waiting;
    uint64_t due_ms;
} topic_t;

typedef struct model {
    bool native;
    uint64_t now_ms;
    topic_t topics[TOPICS];
    size_t members;
    unsigned asked; /* joins that were answered, or would have been */
    unsigned joins; /* of them, those that the program was asked about */
    hub__buffer_t lines;
} model_t;

/* ---- what is heard ---- */

static const char *number(int ref, char text[12])
{
    snprintf(text, 12, "%d", ref);
    return ref == 0 ? "-" : text;
}

static void tell_reply(model_t *model, const topic_t *topic, int ref, int join_ref,
                       const char *answer)
{
    char ref_text[12], join_ref_text[12];

    hub__buffer_printf(&model->lines, "reply %s %s/%s %s\n", topic->name, number(ref, ref_text),
                       number(join_ref, join_ref_text), answer);
}

static void tell_error(model_t *model, const topic_t *topic, int ref, int join_ref,
                       const char *native, const char *phoenix)
{
    hub__buffer_t answer = {0};

    hub__buffer_printf(&answer, "error %s%c", model->native ? native : phoenix, '\0');
    tell_reply(model, topic, ref, join_ref, answer.base);
    hub__buffer_dispose(&answer);
}

static void tell_end(model_t *model, const topic_t *topic, const char *kind)
{
    char text[12];

    hub__buffer_printf(&model->lines, "%s %s %s\n", kind, topic->name,
                       number(topic->join_ref, text));
}

static void tell_exit(model_t *model, const topic_t *topic, const char *why)
{
    hub__buffer_printf(&model->lines, "exit %s %s\n", topic->name, why);
}

/* ---- joins ---- */

static void joined_response(model_t *model, const topic_t *topic, const frame_t *join, bool already,
                            bool with_response)
{
    hub__buffer_t answer = {0};

    if (model->native)
        hub__buffer_printf(
            &answer, "ok {'topic':'%s','already_joined':%s,'replay_supported':false%s}%c",
            topic->name, already ? "true" : "false", with_response ? ",'response':{}" : "", '\0');
    else
        hub__buffer_printf(&answer, "ok {}%c", '\0');
    tell_reply(model, topic, join->ref, topic->join_ref, answer.base);
    hub__buffer_dispose(&answer);
}

static void leave_line(model_t *model, topic_t *topic)
{
    model->members--;
    topic->state = ABSENT;
    topic->suspended = false;
    topic->waiting = 0;
}

/* What waited for a join that is refused. */
static void refuse_line(model_t *model, const topic_t *topic, size_t waiting)
{
    for (size_t i = 0; i != waiting; ++i)
        tell_error(model, topic, topic->line[i].ref, model->native ? topic->line[i].join_ref : 0,
                   NOT_JOINED, "{'reason':'unmatched topic'}");
}

static void join_new(model_t *model, topic_t *topic, const frame_t *frame)
{
    model->asked++;
    if (model->members >= TOPICS_LIMIT) {
        tell_error(model, topic, frame->ref, frame->join_ref, REFUSAL("limit", "Limit reached"),
                   "{'reason':'too many channels joined'}");
        return;
    }
    model->joins++;
    if (strcmp(topic->name, "room:private") == 0) {
        tell_error(model, topic, frame->ref, frame->join_ref,
                   REFUSAL_WITH("join_rejected", "Join rejected", "{'reason':'private'}"),
                   "{'reason':'private'}");
        return;
    }
    model->members++;
    topic->join = *frame;
    topic->join_ref = model->native && frame->join_ref == 0 ? frame->ref : frame->join_ref;
    topic->state = strncmp(topic->name, "room:later", 10) == 0 ? PENDING : JOINED;
    topic->due_ms = model->now_ms + JOIN_MS;
    if (topic->state == JOINED)
        joined_response(model, topic, frame, false, false);
}

static void enqueue(model_t *model, topic_t *topic, const frame_t *frame)
{
    if (topic->waiting == PENDING_LIMIT)
        tell_error(model, topic, frame->ref,
                   frame->join_ref != 0 ? frame->join_ref : topic->join_ref, BUSY,
                   "{'reason':'busy'}");
    else
        topic->line[topic->waiting++] = *frame;
}

static void join_again(model_t *model, topic_t *topic, const frame_t *frame)
{
    topic_t old = *topic;

    if (!model->native) {
        if (topic->state == JOINED)
            tell_exit(model, topic, "replaced");
        leave_line(model, topic);
        join_new(model, topic, frame);
        tell_end(model, &old, "close");
    } else if (topic->state == PENDING) {
        tell_error(model, topic, frame->ref, frame->join_ref, BUSY, "");
    } else if (topic->suspended || topic->waiting != 0) {
        enqueue(model, topic, frame);
    } else {
        joined_response(model, topic, frame, true, false);
    }
}

/* ---- frames ---- */

static bool is_join(const frame_t *frame)
{
    return strcmp(frame->event, "join") == 0 || strcmp(frame->event, "phx_join") == 0;
}

static bool is_leave(const model_t *model, const frame_t *frame)
{
    return model->native ? strcmp(frame->event, "leave") == 0 || strcmp(frame->event, "exit") == 0
                         : strcmp(frame->event, "phx_leave") == 0;
}

static void tell_left(model_t *model, const topic_t *topic, const frame_t *frame, int join_ref)
{
    hub__buffer_t answer = {0};

    hub__buffer_printf(&answer, model->native ? "ok {'topic':'%s'}" : "ok {}", topic->name);
    hub__buffer_append(&answer, hub_str_n("", 1));
    tell_reply(model, topic, frame->ref, join_ref, answer.base);
    hub__buffer_dispose(&answer);
}

static void on_leave(model_t *model, topic_t *topic, const frame_t *frame)
{
    if (topic->state == PENDING) {
        tell_error(model, topic, topic->join.ref, topic->join.join_ref,
                   REFUSAL_WITH("join_rejected", "Join rejected", "{'reason':'left'}"),
                   "{'reason':'left'}");
        refuse_line(model, topic, topic->waiting);
    } else {
        tell_exit(model, topic, "leave");
    }
    leave_line(model, topic);
    tell_left(model, topic, frame, frame->join_ref != 0 ? frame->join_ref : topic->join_ref);
    if (!model->native)
        tell_end(model, topic, "close");
}

static void failed(model_t *model, topic_t *topic, const frame_t *frame, int join_ref,
                   const char *native)
{
    if (model->native) {
        tell_error(model, topic, frame->ref, join_ref, native, "");
        return;
    }
    tell_end(model, topic, "error");
    tell_exit(model, topic, "failed");
    leave_line(model, topic);
}

static void on_event(model_t *model, topic_t *topic, const frame_t *frame)
{
    int join_ref = frame->join_ref != 0 ? frame->join_ref : topic->join_ref;

    if (strcmp(frame->event, "echo") == 0) {
        tell_reply(model, topic, frame->ref, join_ref, "ok {}");
    } else if (strcmp(frame->event, "push") == 0) {
        tell_end(model, topic, "push");
        model->lines.len--; /* its line goes on */
        HUB__APPEND_LITERAL(&model->lines, " pushed {}\n");
    } else if (strcmp(frame->event, "suspend") == 0) {
        topic->suspended = true;
        topic->due_ms = model->now_ms + SUSPEND_MS;
    } else if (strcmp(frame->event, "stop") == 0) {
        tell_reply(model, topic, frame->ref, join_ref, "ok 'bye'");
        tell_end(model, topic, "close");
        tell_exit(model, topic, "stopped");
        leave_line(model, topic);
    } else if (strcmp(frame->event, "fail") == 0) {
        failed(model, topic, frame, join_ref, REFUSAL("invalid_payload", "Invalid payload"));
    } else {
        failed(model, topic, frame, join_ref, NO_EVENT);
    }
}

static void on_frame(model_t *model, topic_t *topic, const frame_t *frame)
{
    if (is_join(frame)) {
        if (topic->state == ABSENT)
            join_new(model, topic, frame);
        else
            join_again(model, topic, frame);
    } else if (topic->state == ABSENT && is_leave(model, frame) && !model->native) {
        tell_left(model, topic, frame, frame->join_ref);
    } else if (topic->state == ABSENT) {
        tell_error(model, topic, frame->ref, model->native ? frame->join_ref : 0, NOT_JOINED,
                   "{'reason':'unmatched topic'}");
    } else if (!model->native && frame->join_ref != 0 && frame->join_ref != topic->join_ref) {
        return; /* stale */
    } else if (topic->state == PENDING && is_leave(model, frame)) {
        on_leave(model, topic, frame);
    } else if (topic->state == PENDING || topic->suspended || topic->waiting != 0) {
        enqueue(model, topic, frame);
    } else if (is_leave(model, frame)) {
        on_leave(model, topic, frame);
    } else {
        on_event(model, topic, frame);
    }
}

/* The line moves: each frame as if it came now, until one makes the rest wait again. */
static void drain(model_t *model, topic_t *topic)
{
    frame_t line[PENDING_LIMIT];
    size_t count = topic->waiting, i = 0;

    memcpy(line, topic->line, sizeof(line));
    topic->waiting = 0;
    while (i != count) {
        bool leaves = is_leave(model, &line[i]);

        on_frame(model, topic, &line[i++]);
        if (topic->state == ABSENT && !leaves)
            return; /* it was ended, and what waited with it */
        if (leaves)
            break;
        if (topic->suspended)
            break;
    }
    while (i != count)
        on_frame(model, topic, &line[i++]);
}

/* ---- the program's word ---- */

static void on_accept(model_t *model, topic_t *topic)
{
    topic->state = JOINED;
    joined_response(model, topic, &topic->join, false, true);
    drain(model, topic);
}

static void on_reject(model_t *model, topic_t *topic)
{
    size_t waiting = topic->waiting;

    leave_line(model, topic);
    tell_error(model, topic, topic->join.ref, topic->join.join_ref,
               REFUSAL("join_rejected", "Join rejected"), "{}");
    refuse_line(model, topic, waiting);
}

static void on_resume(model_t *model, topic_t *topic)
{
    topic->suspended = false;
    drain(model, topic);
}

static void on_due(model_t *model, topic_t *topic)
{
    size_t waiting = topic->waiting;

    if (topic->state == JOINED) {
        on_resume(model, topic);
        return;
    }
    leave_line(model, topic);
    tell_error(model, topic, topic->join.ref, topic->join.join_ref, REFUSAL("timeout", "Timed out"),
               "{'reason':'timeout'}");
    refuse_line(model, topic, waiting);
}

static topic_t *next_due(model_t *model, uint64_t until)
{
    topic_t *first = NULL;

    for (size_t i = 0; i != TOPICS; ++i) {
        topic_t *topic = &model->topics[i];

        if ((topic->state == PENDING || topic->suspended) && topic->due_ms <= until &&
            (first == NULL || topic->due_ms < first->due_ms))
            first = topic;
    }
    return first;
}

static void time_passes(model_t *model, uint64_t ms)
{
    uint64_t until = model->now_ms + ms;
    topic_t *topic;

    while ((topic = next_due(model, until)) != NULL) {
        model->now_ms = topic->due_ms;
        on_due(model, topic);
    }
    model->now_ms = until;
}

/* ---- both at once ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void say_frame(program_t *program, model_t *model, uint32_t *seed)
{
    static const char *const native[] = {"join",   "join", "join",    "leave",   "exit",
                                         "echo",   "echo", "suspend", "suspend", "push",
                                         "update", "fail", "stop"};
    static const char *const phoenix[] = {"phx_join", "phx_join", "phx_join", "phx_leave", "echo",
                                          "echo",     "echo",     "suspend",  "suspend",   "push",
                                          "update",   "fail",     "stop"};
    topic_t *topic = &model->topics[next_random(seed) % TOPICS];
    frame_t frame = {.ref = (int)(next_random(seed) % 50), .join_ref = 0};
    char ref[12], join_ref[12];

    frame.event = (model->native ? native : phoenix)[next_random(seed) % 13];
    if (next_random(seed) % 4 == 0)
        frame.join_ref = (int)(next_random(seed) % 4);
    else if (!model->native)
        frame.join_ref = is_join(&frame) ? (int)(next_random(seed) % 4) : topic->join_ref;
    on_frame(model, topic, &frame);
    talk_say(&program->talk, frame.join_ref == 0 ? NULL : number(frame.join_ref, join_ref),
             frame.ref == 0 ? NULL : number(frame.ref, ref), topic->name, frame.event, "{}");
}

static void decide(program_t *program, model_t *model, uint32_t *seed)
{
    topic_t *topic = &model->topics[next_random(seed) % TOPICS];
    const hub_member_t *member = hub__session_find(&program->talk.session, hub_str(topic->name));
    hub_token_t token = {0};
    bool accepts = next_random(seed) % 3 != 0;

    if (member == NULL)
        return;
    token._member = member->node.hash << 32 | member->serial;
    if (topic->state == PENDING) {
        (accepts ? on_accept : on_reject)(model, topic);
        hub__session_join_later(&program->talk.session, &token, accepts, HUB_JSON("{}"));
    } else if (topic->suspended) {
        on_resume(model, topic);
        hub__session_resume(&program->talk.session, &token);
    }
    talk_turn(&program->talk);
}

static void step(program_t *program, model_t *model, uint32_t *seed)
{
    uint64_t ms = next_random(seed) % 16 == 0 ? 30000 : 1;

    switch (next_random(seed) % 8) {
    case 0:
    case 1:
        decide(program, model, seed);
        break;
    case 2:
        time_passes(model, ms);
        talk_pass(&program->talk, ms);
        break;
    default:
        say_frame(program, model, seed);
    }
    time_passes(model, 1); /* so that no two deadlines are the same */
    talk_pass(&program->talk, 1);
}

static void check_end(program_t *program, const model_t *model)
{
    unsigned exits = 0;

    hub__session_end(&program->talk.session, HUB_DISCONNECT_CLIENT);
    for (size_t i = 0; i != program->talk.heard.len; ++i)
        exits += program->talk.heard.base[i] == '\n';
    for (size_t i = 0; i != TOPICS; ++i)
        exits -= model->topics[i].state == JOINED;
    assert_int_equal(exits, 0);
    assert_int_equal(program->joins, model->joins);
    assert_int_equal(program->frees, model->joins);
    assert_int_equal(program->talk.stats.joins_total + program->talk.stats.joins_refused_total,
                     model->asked);
}

static void converse(void **state, int dialect, uint32_t seed)
{
    static const char *const names[TOPICS] = {"room:1", "room:2", "room:later", "room:later2",
                                              "room:private"};
    program_t *program = begin(state, dialect);
    model_t model = {.native = dialect == NATIVE, .now_ms = program->talk.now_ms};
    uint32_t random = seed;

    program->talk.limits.topics = TOPICS_LIMIT;
    for (size_t i = 0; i != TOPICS; ++i)
        model.topics[i].name = names[i];
    for (unsigned i = 0; i != STEPS; ++i) {
        step(program, &model, &random);
        hub__buffer_append(&model.lines, hub_str_n("", 1));
        if (!hub_str_equals(hub__buffer_str(&program->talk.heard),
                            hub_str_n(model.lines.base, model.lines.len - 1)))
            print_error("conversation %u, step %u\n", (unsigned)seed, i);
        assert_heard(&program->talk, model.lines.base);
        model.lines.len = 0;
    }
    check_end(program, &model);
    hub__buffer_dispose(&model.lines);
    talk_end(&program->talk);
    *program = (program_t){0};
}

static void native_conversations_go_as_the_reference_says(void **state)
{
    for (uint32_t seed = 1; seed <= CONVERSATIONS; ++seed)
        converse(state, NATIVE, seed * 2654435761u);
}

static void phoenix_conversations_go_as_the_reference_says(void **state)
{
    for (uint32_t seed = 1; seed <= CONVERSATIONS; ++seed)
        converse(state, V2, seed * 2654435761u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROGRAM_CASE(native_conversations_go_as_the_reference_says),
        PROGRAM_CASE(phoenix_conversations_go_as_the_reference_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
