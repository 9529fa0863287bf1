/* SPDX-License-Identifier: MIT */
/* Servers greet, answer, ping and close in their own ways. What of that is expected is known here,
 * so that everything else can be called a fault. */
#define _GNU_SOURCE
#include "bench/load/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/ws.h"
#include "bench/report.h"

#define STALL_NS 10000000000ull /* without any progress */
#define LEAVE_NS 3000000000ull
#define TURN_NS 100000000ull
#define JOINS_AT_ONCE 64u /* of a connection that joins many topics */
#define EXCERPT 120

static crowd_t *crowd_of(loop_t *loop)
{
    return loop->user;
}

static talk_t *talk_of(conn_t *conn)
{
    return (talk_t *)(void *)conn;
}

/* ---- saying ---- */

static void say(crowd_t *crowd, talk_t *talk, say_t what, uint32_t topic)
{
    const topic_t *of = &crowd->ledger->topics[topic];
    const saying_t saying = {.topic = of->name,
                             .topic_len = of->name_len,
                             .ref = ++crowd->refs,
                             .conn = talk->conn.number};

    speaker_say(crowd->speaker, what, &saying, conn_say(&crowd->loop, &talk->conn));
}

void talk_publish(crowd_t *crowd, talk_t *talk, say_t what, lane_t *lane, uint64_t stamped_ns)
{
    saying_t saying = {.topic = lane->topic->name,
                       .topic_len = lane->topic->name_len,
                       .ref = ++crowd->refs,
                       .conn = talk->conn.number};

    ledger_publish(crowd->ledger, lane, stamped_ns, &saying.payload);
    if (talk->stage == TALK_AWAY)
        return; /* it is lost */
    if (crowd->speaker->template.publish_answers > 0 && what == SAY_PUBLISH)
        talk->publish_answers += (uint64_t)crowd->speaker->template.publish_answers;
    speaker_say(crowd->speaker, what, &saying, conn_say(&crowd->loop, &talk->conn));
}

/* ---- entering ---- */

static const text_t *path_of(const crowd_t *crowd, const talk_t *talk)
{
    const template_t *template = &crowd->speaker->template;

    return talk->publishes && text_is_set(&template->publish_path) ? &template->publish_path
                                                                   : &template->path;
}

static void entered(crowd_t *crowd, talk_t *talk)
{
    bool joined = speaker_joins(crowd->speaker) ? talk->joins : !talk->publishes;

    talk->stage = TALK_READY;
    ++crowd->entered;
    for (uint32_t i = 0; joined && i != talk->topic_count; ++i)
        talk->readers[i].open = true;
}

/* Joins are told in portions: servers limit how much may wait to be read. */
static void ask_joins(crowd_t *crowd, talk_t *talk)
{
    const template_t *template = &crowd->speaker->template;

    for (uint32_t n = 0; n != JOINS_AT_ONCE && talk->asked != talk->topic_count; ++n) {
        talk->readers[talk->asked].open = !template->barrier;
        say(crowd, talk, SAY_JOIN, talk->first_topic + talk->asked++);
        talk->answers += (uint32_t) template->join_answers;
    }
}

static void proceed(crowd_t *crowd, talk_t *talk)
{
    const template_t *template = &crowd->speaker->template;

    if (talk->stage == TALK_GREETING && talk->greetings == 0) {
        talk->stage = TALK_HELLO;
        talk->answers = (uint32_t) template->hello_answers;
        if (text_is_set(&template->hello))
            say(crowd, talk, SAY_HELLO, talk->first_topic);
    }
    if (talk->stage == TALK_HELLO && talk->answers == 0) {
        talk->stage = TALK_ENTERING;
        talk->asked = talk->joins && speaker_joins(crowd->speaker) ? 0 : talk->topic_count;
    }
    while (talk->stage == TALK_ENTERING && talk->answers == 0) {
        if (talk->asked == talk->topic_count)
            entered(crowd, talk);
        else
            ask_joins(crowd, talk);
    }
}

/* ---- answers ---- */

static bool contains(const text_t *text, const char *message, size_t len)
{
    return !text_is_set(text) || memmem(message, len, text->bytes, text->len) != NULL;
}

static bool begins(const text_t *text, const char *message, size_t len)
{
    return text_is_set(text) && len >= text->len && memcmp(message, text->bytes, text->len) == 0;
}

static void joined(crowd_t *crowd, talk_t *talk, uint64_t now_ns)
{
    talk->stage = TALK_READY;
    talk->readers->open = true;
    ledger_joined(crowd->ledger, talk->readers);
    ++crowd->joins;
    histogram_add(&crowd->join_latency, now_ns > talk->asked_ns ? now_ns - talk->asked_ns : 0);
}

/* Each join is answered by as many frames; the last of them says whether it went well. */
static void on_answer(crowd_t *crowd, talk_t *talk, const char *message, size_t len,
                      uint64_t now_ns)
{
    const template_t *template = &crowd->speaker->template;
    const text_t *ok = talk->stage == TALK_HELLO     ? &template->hello_ok
                       : talk->stage == TALK_LEAVING ? &template->leave_ok
                                                     : &template->join_ok;

    --talk->answers;
    if ((talk->stage != TALK_ENTERING || talk->answers % (uint32_t) template->join_answers == 0) &&
        (talk->stage == TALK_ENTERING || talk->answers == 0) && !contains(ok, message, len))
        bench_fail("connection %u: the answer is not the one of the template: %.*s",
                   talk->conn.number, (int)(len < EXCERPT ? len : EXCERPT), message);
    if (talk->answers != 0)
        return;
    if (talk->stage == TALK_JOINING) {
        joined(crowd, talk, now_ns);
    } else if (talk->stage == TALK_LEAVING) {
        ledger_leave(crowd->ledger, talk->readers);
        talk->stage = TALK_READY;
        ++crowd->leaves;
    } else {
        proceed(crowd, talk);
    }
}

/* Everything but deliveries that are as they should be. */
static void on_other(crowd_t *crowd, talk_t *talk, const char *message, size_t len, uint64_t now_ns)
{
    const template_t *template = &crowd->speaker->template;
    bool published;

    if (begins(&template->ping, message, len) && len == template->ping.len) {
        if (talk->conn.state == CONN_CLOSING)
            return; /* nothing may follow our close frame */
        ws_put_frame(conn_say(&crowd->loop, &talk->conn), template->binary ? WS_BINARY : WS_TEXT,
                     template->pong.bytes, template->pong.len);
        return;
    }
    if (talk->stage == TALK_GREETING && talk->greetings != 0) {
        --talk->greetings;
        proceed(crowd, talk);
        return;
    }
    published = ledger_knows(message, len);
    if (begins(&template->ignore, message, len))
        return;
    if (!published && talk->answers != 0) {
        on_answer(crowd, talk, message, len, now_ns);
    } else if (!published && talk->lossy) {
        return; /* who does not read may be told what it has missed */
    } else if (!published && talk->publishes && template->publish_answers == TEMPLATE_ANY) {
        return;
    } else if (!published && talk->publish_answers != 0) {
        --talk->publish_answers;
    } else {
        ledger_examine(crowd->ledger, talk->conn.number, talk->readers, talk->topic_count,
                       talk->first_topic, message, len, now_ns);
    }
}

/* ---- handlers ---- */

static void on_open(loop_t *loop, conn_t *conn)
{
    proceed(crowd_of(loop), talk_of(conn));
}

static void on_message(loop_t *loop, conn_t *conn, const char *message, size_t len, uint64_t now_ns)
{
    crowd_t *crowd = crowd_of(loop);
    talk_t *talk = talk_of(conn);

    if (!ledger_take(crowd->ledger, talk->readers, talk->topic_count, talk->first_topic, message,
                     len, now_ns))
        on_other(crowd, talk, message, len, now_ns);
}

static void on_closed(loop_t *loop, conn_t *conn, const char *why)
{
    crowd_t *crowd = crowd_of(loop);
    talk_t *talk = talk_of(conn);

    bool refused = why != NULL && talk->stage < TALK_READY;

    if (refused && !talk->may_end)
        bench_fail("connection %u: %s", conn->number, why);
    talk->stage = TALK_AWAY;
    ++crowd->left;
    if (refused) {
        ++crowd->refused;
        talk->next_refused = crowd->refused_ones;
        crowd->refused_ones = talk;
    } else if (why != NULL && talk->may_end)
        ++crowd->ended;
    else if (why != NULL)
        ledger_fault(crowd->ledger, FAULT_CLOSED, 1, "connection %u: %s", conn->number, why);
    for (uint32_t i = 0; i != talk->topic_count; ++i)
        ledger_leave(crowd->ledger, &talk->readers[i]);
}

/* ---- start and end ---- */

void crowd_open(crowd_t *ret_crowd, const speaker_t *speaker, ledger_t *ledger, const char *host,
                const char *port, const char *path)
{
    handlers_t handlers = {.on_open = on_open, .on_message = on_message, .on_closed = on_closed};
    const template_t *template = &speaker->template;

    *ret_crowd = (crowd_t){.speaker = speaker, .ledger = ledger, .path = path};
    if (speaker->stream != NULL)
        handlers.split = speaker->stream->split;
    if (text_is_set(&template->subprotocol))
        handlers.subprotocol = template->subprotocol.bytes;
    loop_open(&ret_crowd->loop, host, port, &handlers, ret_crowd);
}

void crowd_close(crowd_t *crowd)
{
    loop_close(&crowd->loop);
}

void talk_prepare(talk_t *talk, uint32_t number, uint32_t first_topic, uint32_t topic_count)
{
    *talk = (talk_t){.conn = {.number = number},
                     .first_topic = first_topic,
                     .topic_count = topic_count,
                     .readers = load_calloc(topic_count, sizeof(reader_t))};
}

void talk_dispose(talk_t *talk)
{
    for (uint32_t i = 0; i != talk->topic_count; ++i)
        reader_dispose(&talk->readers[i]);
    free(talk->readers);
    talk->readers = NULL;
}

void talk_enter(crowd_t *crowd, talk_t *talk)
{
    const topic_t *topic = &crowd->ledger->topics[talk->first_topic];
    const saying_t saying = {
        .topic = topic->name, .topic_len = topic->name_len, .conn = talk->conn.number};
    buffer_t path = {.bytes = NULL};

    if (crowd->path != NULL)
        buffer_append(&path, crowd->path, strlen(crowd->path));
    else
        speaker_expand(crowd->speaker, path_of(crowd, talk), &saying, &path);
    buffer_append(&path, path.len == 0 ? "/" : "", path.len == 0 ? 2 : 1);
    talk->stage = TALK_GREETING;
    talk->greetings = (uint32_t)crowd->speaker->template.greetings;
    talk->answers = talk->asked = 0;
    talk->publish_answers = 0;
    for (uint32_t i = 0; (talk->joins || !talk->publishes) && i != talk->topic_count; ++i) {
        talk->readers[i].conn = talk->conn.number;
        talk->readers[i].lossy = talk->lossy;
        ledger_join(crowd->ledger, &talk->readers[i], talk->first_topic + i, talk->counts);
    }
    conn_open(&crowd->loop, &talk->conn, talk->conn.number, talk->publishes, path.bytes,
              talk->receive_buffer);
    buffer_dispose(&path);
}

static void enter_again(crowd_t *crowd)
{
    talk_t *talk = crowd->refused_ones;

    crowd->refused_ones = NULL;
    for (talk_t *next; talk != NULL; talk = next) {
        next = talk->next_refused;
        talk_enter(crowd, talk);
    }
}

void crowd_enter(crowd_t *crowd, talk_t *talks, size_t count, size_t under_way)
{
    uint64_t entered = crowd->entered, before = 0, last_ns = loop_now_ns();
    size_t begun = 0;

    while (crowd->entered - entered != count) {
        for (; begun != count && begun - (crowd->entered - entered) < under_way; ++begun)
            talk_enter(crowd, &talks[begun]);
        enter_again(crowd);
        loop_turn(&crowd->loop, TURN_NS);
        if (crowd->entered - entered != before)
            last_ns = loop_now_ns();
        before = crowd->entered - entered;
        if (loop_now_ns() - last_ns > STALL_NS)
            bench_fail("%zu of %zu connections have entered, no other for %llu s", (size_t)before,
                       count, STALL_NS / 1000000000ull);
    }
}

void crowd_leave(crowd_t *crowd, talk_t *talks, size_t count)
{
    uint64_t until_ns = loop_now_ns() + LEAVE_NS, left = crowd->left, here = 0;

    for (size_t i = 0; i != count; ++i) {
        if (talks[i].stage == TALK_AWAY)
            continue;
        ++here;
        conn_pause(&crowd->loop, &talks[i].conn, false);
        conn_close(&crowd->loop, &talks[i].conn);
    }
    while (crowd->left - left < here && loop_now_ns() < until_ns)
        loop_turn(&crowd->loop, TURN_NS);
    for (size_t i = 0; i != count; ++i)
        conn_drop(&crowd->loop, &talks[i].conn);
}

void talk_join(crowd_t *crowd, talk_t *talk, uint32_t topic)
{
    const template_t *template = &crowd->speaker->template;

    talk->first_topic = topic;
    ledger_join(crowd->ledger, talk->readers, topic, talk->counts);
    talk->readers->conn = talk->conn.number;
    talk->readers->open = !template->barrier;
    talk->stage = TALK_JOINING;
    talk->answers = (uint32_t) template->join_answers;
    talk->asked_ns = loop_now_ns();
    say(crowd, talk, SAY_JOIN, topic);
    if (talk->answers == 0)
        joined(crowd, talk, talk->asked_ns);
}

void talk_leave(crowd_t *crowd, talk_t *talk)
{
    talk->stage = TALK_LEAVING;
    talk->answers = (uint32_t)crowd->speaker->template.leave_answers;
    say(crowd, talk, SAY_LEAVE, talk->first_topic);
    if (talk->answers == 0) {
        ledger_leave(crowd->ledger, talk->readers);
        talk->stage = TALK_READY;
    }
}
