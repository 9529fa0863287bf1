/* SPDX-License-Identifier: MIT */
/* Thousands of random conversations from a seed: joins, leaves and events over a few topics, and
 * what the program does in between. After each step the session must have said exactly what the
 * reference (test/model.h) says.
 *
 * A conversation that does not go like that is printed, then again without all that is not needed
 * for it. MODEL_SEED and MODEL_RUNS choose others: `MODEL_SEED=7 MODEL_RUNS=1` is the one of seed
 * 7, a campaign is `MODEL_SEED=$RANDOM MODEL_RUNS=1000000`. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/model.h"
#include "test/talk.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SEED 1
#define RUNS 4000
#define STEPS 40
#define STEP_MS 2

/* One thing that happens. It means the same wherever it stands, so that any may be left out. */
typedef struct step {
    enum { SAY, COMPLETE, PASS } kind;
    model_frame_t frame;
    hub_str_t bytes; /* the same as the client says it */
    bool binary;
    bool turn_goes_on; /* the next step is in the same turn of the loop */
    unsigned token;    /* the newest is 0 */
    bool accepts;
    unsigned ms;
    char text[256], payload[80], script[8];
} step_t;

typedef struct world {
    talk_t talk; /* first */
    model_t model;
    struct {
        hub_token_t token;
        model_token_kind_t kind;
    } tokens[MODEL_TOKENS];
    size_t token_count;
    unsigned joins, frees;
    uint64_t counted; /* joins, answered or not, before this conversation */
    uint64_t random;
    uint64_t seed;
    unsigned undefined;
    step_t steps[STEPS];
    size_t step_count;
} world_t;

static world_t *the; /* for who has to tell of a crash */

/* ---- the program: it does what payloads say ---- */

static void on_free(void *user)
{
    ++((world_t *)user)->frees;
}

static void keep(world_t *world, hub_token_t token, model_token_kind_t kind)
{
    if (world->token_count == MODEL_TOKENS)
        return;
    world->tokens[world->token_count].token = token;
    world->tokens[world->token_count++].kind = kind;
}

/* The letters in {"do":"…"} or ["do","…"]. */
static hub_str_t script_of(hub_str_t payload)
{
    size_t start = sizeof("{\"do\":\"") - 1, end;

    if (payload.len <= start)
        return (hub_str_t){0};
    for (end = start; payload.base[end] != '"'; ++end)
        ;
    return hub_str_n(payload.base + start, end - start);
}

static hub_status_t defer(world_t *world, hub_member_t *me)
{
    hub_token_t token;
    hub_status_t status = hub_member_defer(me, &token);

    keep(world, token, MODEL_JOIN);
    return status;
}

static void stop_other(world_t *world)
{
    hub_member_t *other = hub__session_find(&world->talk.session, HUB_STR(MODEL_OTHER));

    if (other != NULL)
        hub_member_stop(other, HUB_OK);
}

/* One letter of model.h. HUB_EBUSY, HUB_PENDING and the like end the script; so does `*ret_over`.
 */
static hub_status_t act(world_t *world, hub_member_t *me, const hub_message_t *msg, char letter,
                        bool *ret_over)
{
    switch (letter) {
    case 'p':
        return hub_member_push(me, HUB_STR("pushed"), msg->payload);
    case 'c':
        return hub_member_broadcast(me, HUB_STR("news"), msg->payload);
    case 'o':
        return hub_member_broadcast_from(me, HUB_STR("others"), HUB_JSON("{}"));
    case 'r':
        return hub_member_reply(me, msg, msg->payload);
    case 'e':
        return hub_member_reply_error(me, msg, HUB_EPAYLOAD, HUB_JSON("{\"why\":1}"));
    case 'w':
        return hub_member_reply_status(me, msg, HUB_STR("whatever"), HUB_JSON("{\"w\":1}"));
    case 't':
        keep(world, hub_member_token(me, msg), MODEL_REPLY);
        return HUB_OK;
    case 's':
        keep(world, hub_member_suspend(me), MODEL_RESUME);
        return HUB_OK;
    case 'x':
        hub_member_stop(me, HUB_OK);
        return HUB_OK;
    case 'X':
        hub_member_stop(me, HUB_EINTERNAL);
        return HUB_OK;
    case 'y':
        stop_other(world);
        return HUB_OK;
    case 'n':
        return HUB_PENDING;
    case 'f':
        return HUB_EPAYLOAD;
    case 'k':
        return HUB_EINTERNAL;
    case 'b':
        return HUB_EBUSY;
    case 'j':
        return hub_member_reject(me, HUB_JSON("{\"reason\":\"private\"}"));
    case 'J':
        return HUB_EREJECTED;
    case 'd':
        return defer(world, me);
    default:
        *ret_over = true;
        return hub_member_accept(me, HUB_JSON("{\"hi\":1}"));
    }
}

static hub_status_t on_act(hub_member_t *me, const hub_message_t *msg)
{
    world_t *world = hub_member_channel_user(me);
    hub_str_t script = script_of(msg->payload.bytes);
    hub_status_t status = HUB_OK;
    bool over = false;

    for (size_t i = 0; i != script.len && status == HUB_OK && !over; ++i)
        status = act(world, me, msg, script.base[i], &over);
    return status;
}

static hub_status_t on_join(hub_member_t *me, const hub_message_t *msg)
{
    world_t *world = hub_member_channel_user(me);

    ++world->joins;
    hub_member_set_user(me, world, on_free);
    return on_act(me, msg);
}

static hub_status_t on_anything(hub_member_t *me, const hub_message_t *msg)
{
    (void)me, (void)msg;
    return HUB_OK;
}

static void on_exit_of(hub_member_t *me, hub_exit_t why)
{
    static const char *const names[] = {"leave",   "disconnect", "replaced",
                                        "stopped", "failed",     "shutdown"};
    world_t *world = hub_member_channel_user(me);

    talk_tell(&world->talk, "exit %.*s %s", HUB_STR_ARG(hub_member_topic(me)), names[why]);
    (void)hub_member_broadcast_from(me, HUB_STR("bye"), HUB_JSON("{}"));
    (void)hub_member_push(me, HUB_STR("bye"), HUB_JSON("{}")); /* too late */
}

/* ---- a step, drawn at random ---- */

typedef struct word {
    const char *said, *heard; /* NULL: left out; null */
} word_t;

/* Where a fuzzer's choices come from instead of the seed. */
static uint32_t (*draw_from)(uint32_t bound);

/* splitmix64 */
static uint32_t draw(world_t *world, uint32_t bound)
{
    uint64_t z = world->random += 0x9e3779b97f4a7c15U;

    if (draw_from != NULL)
        return draw_from(bound);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % bound;
}

#define ONE_OF(world, array) ((array)[draw((world), COUNT(array))])

static word_t draw_ref(world_t *world)
{
    static const word_t native[] = {{"\"1\"", "'1'"}, {"\"2\"", "'2'"},      {"1", "1"},
                                    {"-20", "-20"},   {"\"\"", "''"},        {"\"\\u0031\"", "'1'"},
                                    {"null", NULL},   {NULL, NULL},          {"\"a/b\"", "'a/b'"},
                                    {"\"a\"", "'a'"}, {"\"\\u00e9\"", "'é'"}};
    static const word_t phoenix[] = {
        {"\"1\"", "'1'"}, {"\"2\"", "'2'"}, {"1", "1"},     {"1.50", "1.50"},
        {"\"\"", "''"},   {"null", NULL},   {NULL, NULL},   {"\"\\u0031\"", "'1'"},
        {"\"a\"", "'a'"}, {"true", "true"}, {"[1]", "[1]"}, {"{\"a\":null}", "{'a':null}"}};

    return world->model.dialect == NATIVE ? ONE_OF(world, native) : ONE_OF(world, phoenix);
}

/* Mostly the same, so that frames are often about the member that is there. */
static word_t draw_join_ref(world_t *world)
{
    static const word_t usual[] = {
        {"\"1\"", "'1'"}, {"\"\\u0031\"", "'1'"}, {NULL, NULL}, {"\"1\"", "'1'"}, {"\"2\"", "'2'"}};

    return draw(world, 8) == 0 ? draw_ref(world) : ONE_OF(world, usual);
}

/* NULL: no text, `*ret_said` is a number or null. */
static const char *draw_topic(world_t *world, const char **ret_said)
{
    static const char *const native[] = {"room:a", "room:a", "room:a", "room:a", "room:b",
                                         "room:b", "room:b", "room:c", "ack:a",  "ack:a",
                                         "bare",   "none",   "hub"};
    static const char *const phoenix[] = {"room:a", "room:a", "room:a",  "room:a", "room:b",
                                          "room:b", "room:b", "room:c",  "ack:a",  "ack:a",
                                          "bare",   "none",   "phoenix", "5",      "null"};
    *ret_said = world->model.dialect == NATIVE ? ONE_OF(world, native) : ONE_OF(world, phoenix);
    return strcmp(*ret_said, "5") == 0 || strcmp(*ret_said, "null") == 0 ? NULL : *ret_said;
}

static const char *draw_event(world_t *world, const char *topic)
{
    static const char *const native[] = {"act",   "reply",         "error",          "close",
                                         "gap",   "presence_diff", "presence_state", "heartbeat",
                                         "other", "phx_join",      "update"};
    static const char *const phoenix[] = {"act", "phx_reply", "phx_error", "phx_close", "reply",
                                          "gap", "heartbeat", "join",      "leave",     "other",
                                          "5",   "null",      ""};
    bool is_native = world->model.dialect == NATIVE;
    uint32_t kind = draw(world, 20);

    if (topic != NULL && (strcmp(topic, "hub") == 0 || strcmp(topic, "phoenix") == 0) && kind > 5)
        return "heartbeat";
    if (kind < 6)
        return is_native ? "join" : "phx_join";
    if (kind < 9)
        return !is_native ? "phx_leave" : draw(world, 2) == 0 ? "leave" : "exit";
    if (kind < 18)
        return "act";
    return is_native ? ONE_OF(world, native) : ONE_OF(world, phoenix);
}

/* Some letters, and perhaps one that ends them. */
static void draw_script(world_t *world, bool of_join, char script[8])
{
    static const char any[] = "ppccorrewtssxXyy", event_ends[] = "nfkb", join_ends[] = "ajJkdddd";
    size_t len = 0;

    for (uint32_t i = draw(world, of_join ? 3 : 4); i != 0; --i)
        script[len++] = any[draw(world, sizeof(any) - 1)];
    if (draw(world, of_join ? 2 : 5) == 0)
        script[len++] = of_join ? join_ends[draw(world, sizeof(join_ends) - 1)]
                                : event_ends[draw(world, sizeof(event_ends) - 1)];
    script[len] = '\0';
}

/* The bytes of a binary frame of 2.0.0. False: its refs are no strings. */
static bool to_binary(step_t *step, const char *payload)
{
    const char *refs[2] = {step->frame.join_ref, step->frame.ref};
    const char *names[2] = {step->frame.topic, step->frame.event};
    uint8_t *lengths = (uint8_t *)step->text;
    size_t len = 5, said = strlen(payload);
    char *heard = step->payload;

    for (size_t i = 0; i != 2; ++i)
        if (refs[i] != NULL && (refs[i][0] != '\'' || names[i] == NULL))
            return false;
    *lengths++ = 0;
    for (size_t i = 0; i != 2; ++i) {
        size_t size = refs[i] == NULL ? 0 : strlen(refs[i]) - 2;

        *lengths++ = (uint8_t)size;
        memcpy(step->text + len, refs[i] == NULL ? "" : refs[i] + 1, size);
        len += size;
    }
    for (size_t i = 0; i != 2; ++i) {
        *lengths++ = (uint8_t)strlen(names[i]);
        memcpy(step->text + len, names[i], strlen(names[i]));
        len += strlen(names[i]);
    }
    memcpy(step->text + len, payload, said);
    step->bytes = hub_str_n(step->text, len + said);
    step->binary = true;
    step->frame.is_object = true; /* of bytes it is not asked */
    for (int i = 0; i != 2; ++i)
        if (refs[i] == NULL) /* which bytes can't say */
            *(i == 0 ? &step->frame.join_ref : &step->frame.ref) = "''";
    *heard++ = '#';
    for (size_t i = 0; i != said; ++i)
        heard += snprintf(heard, 3, "%02x", (unsigned)(uint8_t)payload[i]);
    return true;
}

static const char *or_null(const char *said)
{
    return said == NULL ? "null" : said;
}

static void draw_say(world_t *world, step_t *step)
{
    const char *topic, *quote, *event_quote = "\"";
    word_t ref = draw_ref(world), join_ref = draw_join_ref(world);
    model_frame_t *frame = &step->frame;
    char payload[32];
    bool is_binary = draw(world, 5) == 0;
    int len;

    frame->topic = draw_topic(world, &topic);
    frame->event = draw_event(world, frame->topic);
    frame->ref = ref.heard;
    frame->join_ref = join_ref.heard;
    draw_script(world, strstr(frame->event, "join") != NULL, step->script);
    frame->script = step->script;
    frame->is_object = draw(world, 6) != 0;
    snprintf(payload, sizeof(payload), "%s%s%s", frame->is_object ? "{\"do\":\"" : "[\"do\",\"",
             step->script, frame->is_object ? "\"}" : "\"]");
    frame->payload = step->payload;
    quote = frame->topic == NULL ? "" : "\"";
    if (strcmp(frame->event, "5") == 0 || strcmp(frame->event, "null") == 0)
        event_quote = "";
    if (world->model.dialect == V2 && is_binary && *quote != '\0' && *event_quote != '\0' &&
        frame->event[0] != '\0' && to_binary(step, payload))
        return;
    step->binary = is_binary && world->model.dialect != V2; /* the same, then */
    snprintf(step->payload, sizeof(step->payload), "%s", payload);
    for (char *at = step->payload; *at != '\0'; ++at)
        if (*at == '"')
            *at = '\'';
    if (world->model.dialect == V2) {
        len = snprintf(step->text, sizeof(step->text), "[%s,%s,%s%s%s,%s%s%s,%s]",
                       or_null(join_ref.said), or_null(ref.said), quote, topic, quote, event_quote,
                       frame->event, event_quote, payload);
    } else {
        bool has_ref = world->model.dialect == V1 || ref.said != NULL;

        len = snprintf(step->text, sizeof(step->text),
                       "{\"topic\":%s%s%s,\"event\":%s%s%s,\"payload\":%s%s%s%s%s}", quote, topic,
                       quote, event_quote, frame->event, event_quote, payload,
                       has_ref ? ",\"ref\":" : "", has_ref ? or_null(ref.said) : "",
                       join_ref.said != NULL ? ",\"join_ref\":" : "",
                       join_ref.said != NULL ? join_ref.said : "");
    }
    step->bytes = hub_str_n(step->text, (size_t)len);
}

static void draw_steps(world_t *world, uint64_t seed)
{
    static const unsigned times_ms[] = {20, 100, 400};

    world->random = seed;
    world->step_count = 1 + draw(world, STEPS);
    for (size_t i = 0; i != world->step_count; ++i) {
        step_t *step = &world->steps[i];
        uint32_t kind = draw(world, 20);

        *step = (step_t){.kind = kind < 15 ? SAY : kind < 19 ? COMPLETE : PASS};
        step->turn_goes_on = draw(world, 4) == 0;
        step->token = draw(world, 4);
        step->accepts = draw(world, 3) != 0;
        step->ms = ONE_OF(world, times_ms);
        if (step->kind == SAY)
            draw_say(world, step);
    }
}

static void print_step(size_t number, const step_t *step)
{
    if (step->kind == COMPLETE) {
        print_error("%4zu  token %u %s\n", number, step->token,
                    step->accepts ? "accept" : "refuse");
    } else if (step->kind == PASS) {
        print_error("%4zu  %u ms pass\n", number, step->ms);
    } else {
        print_error("%4zu  %s", number, step->binary ? "(binary) " : "");
        for (size_t i = 0; i != step->bytes.len; ++i)
            print_error((uint8_t)step->bytes.base[i] < ' ' ? "\\%o" : "%c",
                        (unsigned)(uint8_t)step->bytes.base[i]);
        print_error("%s\n", step->turn_goes_on ? "  (and in the same turn)" : "");
    }
}

/* ---- both at once ---- */

static void complete(world_t *world, const step_t *step)
{
    hub__session_t *session = &world->talk.session;
    hub_payload_t payload = HUB_JSON("{\"late\":1}");
    size_t index;

    if (world->token_count == 0 || world->token_count != world->model.token_count)
        return;
    index = world->token_count - 1 - step->token % world->token_count;
    switch (world->tokens[index].kind) {
    case MODEL_REPLY:
        hub__session_reply_later(session, &world->tokens[index].token, HUB_STR("ok"),
                                 step->accepts ? HUB_OK : HUB_EBUSY, payload);
        break;
    case MODEL_JOIN:
        hub__session_join_later(session, &world->tokens[index].token, step->accepts, payload);
        break;
    case MODEL_RESUME:
        hub__session_resume(session, &world->tokens[index].token);
    }
    talk_turn(&world->talk);
    model_complete(&world->model, index, step->accepts);
}

static void pass(world_t *world, unsigned ms)
{
    talk_pass(&world->talk, ms);
    model_pass(&world->model, ms);
}

static void take(world_t *world, const step_t *step)
{
    talk_t *talk = &world->talk;

    talk->turn_goes_on = step->kind == SAY && step->turn_goes_on;
    if (step->kind == SAY) {
        model_hear(&world->model, &step->frame);
        talk_say_raw(talk, step->bytes, step->binary);
    } else if (step->kind == COMPLETE) {
        complete(world, step);
    }
    if (talk->turn_goes_on)
        return;
    talk_turn(talk);
    model_turn(&world->model);
    pass(world, step->kind == PASS ? step->ms : STEP_MS);
}

static void print_difference(const world_t *world)
{
    print_error("--- expected\n%.*s--- heard\n%.*s---\n",
                HUB_STR_ARG(hub__buffer_str(&world->model.lines)),
                HUB_STR_ARG(hub__buffer_str(&world->talk.heard)));
}

static bool as_expected(world_t *world, bool reports)
{
    hub__buffer_t *heard = &world->talk.heard, *expected = &world->model.lines;
    bool same = hub_str_equals(hub__buffer_str(heard), hub__buffer_str(expected)) &&
                world->token_count == world->model.token_count;

    if (!same && reports)
        print_difference(world);
    heard->len = expected->len = 0;
    return same;
}

static uint64_t count_joins(const world_t *world)
{
    return world->talk.stats.joins_total + world->talk.stats.joins_refused_total;
}

/* The order of exits was promised by nobody: as many bytes are the same exits. */
static bool ends_as_expected(world_t *world, bool reports)
{
    talk_t *talk = &world->talk;
    bool same, nothing_left;

    hub__session_end(&talk->session, HUB_DISCONNECT_CLIENT);
    model_end(&world->model);
    same = talk->heard.len == world->model.lines.len &&
           count_joins(world) == world->counted + world->model.joins;
    nothing_left = talk->subscribed_count == 0 && hub__wheel_count(talk->wheel) == 0 &&
                   talk->session.pending_bytes == 0 && talk->stats.members == 0 &&
                   world->frees == world->joins;
    if (!same && reports)
        print_difference(world);
    if (!nothing_left && reports)
        print_error("something is left: %zu subscriptions, %zu timers, %u bytes, %u of %u freed\n",
                    talk->subscribed_count, (size_t)hub__wheel_count(talk->wheel),
                    (unsigned)talk->session.pending_bytes, world->frees, world->joins);
    return same && nothing_left;
}

/* A conversation of these steps. The one at which it went wrong, or `count` + 1: at none. */
static size_t converse(world_t *world, const size_t *chosen, size_t count, bool reports)
{
    size_t i = 0;
    bool right = true;

    hub__session_init(&world->talk.session, &world->talk.host, world->talk.session.dialect);
    model_begin(&world->model, world->model.dialect, world->talk.now_ms);
    world->token_count = 0;
    world->joins = world->frees = 0;
    world->counted = count_joins(world);
    world->talk.heard.len = 0;
    for (; i != count && right && !world->model.undefined; ++i) {
        take(world, &world->steps[chosen[i]]);
        right = world->model.undefined || as_expected(world, reports);
    }
    world->talk.turn_goes_on = false;
    world->undefined += world->model.undefined;
    if (world->model.undefined || !right) {
        hub__session_end(&world->talk.session, HUB_DISCONNECT_CLIENT);
        return right ? count + 1 : i - 1;
    }
    return ends_as_expected(world, reports) ? count + 1 : count;
}

/* Leaves out what is not needed to go wrong, from the end, until nothing more can be. */
static size_t shrink(world_t *world, size_t *chosen, size_t count)
{
    size_t before;

    do {
        before = count;
        for (size_t i = count; i-- != 0;) {
            size_t without[STEPS];

            memcpy(without, chosen, i * sizeof(*chosen));
            memcpy(without + i, chosen + i + 1, (count - i - 1) * sizeof(*chosen));
            if (converse(world, without, count - 1, false) != count)
                memcpy(chosen, without, --count * sizeof(*chosen));
        }
    } while (count != before);
    return count;
}

static void print_conversation(const world_t *world, const size_t *chosen, size_t count,
                               size_t wrong)
{
    for (size_t i = 0; i != count && i <= wrong; ++i)
        print_step(i + 1, &world->steps[chosen[i]]);
    print_error("%s\n", wrong == count ? "      and the connection ends" : "");
}

static void fail_with(world_t *world, size_t *chosen, size_t wrong)
{
    size_t count = world->step_count;

    print_error("%s, seed %llu, went wrong at the last of:\n", world->talk.session.dialect->name,
                (unsigned long long)world->seed);
    print_conversation(world, chosen, count, wrong);
    if (wrong < count)
        count = wrong + 1;
    count = shrink(world, chosen, count);
    print_error("all of it that is needed:\n");
    print_conversation(world, chosen, count, count);
    (void)converse(world, chosen, count, true);
    fail_msg("again: MODEL_SEED=%llu MODEL_RUNS=1", (unsigned long long)world->seed);
}

/* ---- cases ---- */

static void tell_of_crash(void)
{
    if (the != NULL)
        fprintf(stderr, "model: %s, MODEL_SEED=%llu MODEL_RUNS=1\n",
                the->talk.session.dialect->name, (unsigned long long)the->seed);
}

static void on_abort(int number)
{
    tell_of_crash();
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the sanitizers' runtime, where there is one. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*on_death)(void));

static int set_up(void **state)
{
    *state = the = calloc(1, sizeof(world_t));
    hub_log_set_level(HUB_LOG_OFF);
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell_of_crash);
    return the == NULL;
}

static int tear_down(void **state)
{
    world_t *world = *state;

    the = NULL;
    signal(SIGABRT, SIG_DFL);
    model_dispose(&world->model);
    talk_end(&world->talk);
    free(world);
    return 0;
}

static void begin(world_t *world, int dialect)
{
    static const hub_event_handler_t events[] = {{"act", on_act}, {NULL, NULL}};
    talk_t *talk = &world->talk;

    talk_init(talk, dialect);
    talk->limits.topics = MODEL_TOPICS_LIMIT;
    talk_channel(talk, NULL,
                 &(hub_channel_options_t){.pattern = "room:{id}",
                                          .on_join = on_join,
                                          .on_exit = on_exit_of,
                                          .events = events,
                                          .pending_limit = MODEL_PENDING_LIMIT,
                                          .join_timeout_ms = MODEL_JOIN_MS,
                                          .suspend_timeout_ms = MODEL_SUSPEND_MS,
                                          .user = world});
    talk_channel(talk, NULL,
                 &(hub_channel_options_t){.pattern = "ack:{id}",
                                          .on_join = on_join,
                                          .on_exit = on_exit_of,
                                          .events = events,
                                          .on_receive = on_anything,
                                          .auto_ack = true,
                                          .pending_limit = MODEL_PENDING_LIMIT,
                                          .join_timeout_ms = MODEL_JOIN_MS,
                                          .suspend_timeout_ms = MODEL_SUSPEND_MS,
                                          .user = world});
    talk_channel(talk, NULL, &(hub_channel_options_t){.pattern = "bare"});
    talk_begin(talk);
    world->model.dialect = dialect;
}

static unsigned long long from_environment(const char *name, unsigned long long otherwise)
{
    const char *given = getenv(name);

    return given == NULL ? otherwise : strtoull(given, NULL, 10);
}

/* Rules that this wire format has not. */
static bool is_foreign(int dialect, model_rule_t rule)
{
    switch (rule) {
    case MODEL_RESERVED:
        return dialect != NATIVE;
    case MODEL_NO_TOPIC:
    case MODEL_STALE:
    case MODEL_JOIN_AGAIN_REFUSED:
        return dialect == NATIVE;
    case MODEL_BYTES:
    case MODEL_NOT_AN_OBJECT:
        return dialect != V2;
    default:
        return false;
    }
}

static void check_rules(const world_t *world)
{
    for (model_rule_t rule = 0; rule != MODEL_RULE_COUNT; ++rule)
        if ((world->model.met[rule] == 0) != is_foreign(world->model.dialect, rule))
            fail_msg("rule %s was met %u times", model_rule_name(rule), world->model.met[rule]);
}

static void converse_all(world_t *world, int dialect)
{
    uint64_t seed = from_environment("MODEL_SEED", SEED);
    unsigned long long runs = from_environment("MODEL_RUNS", RUNS);
    size_t chosen[STEPS];

    begin(world, dialect);
    for (unsigned long long run = 0; run != runs; ++run) {
        size_t wrong;

        world->seed = seed + run;
        draw_steps(world, world->seed);
        for (size_t i = 0; i != world->step_count; ++i)
            chosen[i] = i;
        wrong = converse(world, chosen, world->step_count, false);
        if (wrong <= world->step_count)
            fail_with(world, chosen, wrong);
    }
    assert_in_range(world->undefined, 0, 1 + runs / 20);
    if (runs >= RUNS)
        check_rules(world);
}

static void native_goes_as_the_model_says(void **state)
{
    converse_all(*state, NATIVE);
}

static void phoenix_1_goes_as_the_model_says(void **state)
{
    converse_all(*state, V1);
}

static void phoenix_2_goes_as_the_model_says(void **state)
{
    converse_all(*state, V2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(native_goes_as_the_model_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(phoenix_1_goes_as_the_model_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(phoenix_2_goes_as_the_model_says, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
