/* SPDX-License-Identifier: MIT */
/* What a peer makes the server allocate fails, one allocation after the other, and then all from
 * one on: the peer gets its answer, an error or a close, nothing is left over, and the others do
 * not notice. Only allocations of the library itself count, on its own threads: libh2o ends the
 * process where it gets none.
 *
 * Some of ours do so too, through hub__alloc() and what grows buffers. They do not fail here; of
 * those that a peer reaches each is named, and why it may. TORTURE_SITES=1 in the environment
 * prints how much each scenario allocates, and which buffers grow that may not fail. */
#define _GNU_SOURCE 1
#include "test/certificate.h"
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bus/buffer.h"
#include "bus/json.h"
#include "hub/presence.h"

#define ROUNDS_MAX 200

/* ---- allocations ---- */

static atomic_uint nth; /* the one that fails; 0: none */
static atomic_bool and_all_later;
static atomic_uint seen, failed;
static _Thread_local bool is_the_tester;
static _Thread_local unsigned unfailing; /* calls that end the process */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *ptr, size_t size);

static bool fails(void)
{
    unsigned at = atomic_load(&nth), number;

    if (at == 0 || is_the_tester || unfailing != 0)
        return false;
    number = atomic_fetch_add(&seen, 1) + 1;
    if (number != at && !(number > at && atomic_load(&and_all_later)))
        return false;
    atomic_fetch_add(&failed, 1);
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *ptr, size_t size)
{
    return fails() ? NULL : __real_realloc(ptr, size);
}

/* ---- those that end the process ---- */

/* Who may: the list of who is there has bounds of the program's own (keys_max, state_bytes), and
 * half of it would be wrong for good. An answer to a poll is copied by libh2o right behind, which
 * ends the process where it cannot. */
static const char *const may_end_the_process[] = {"channels/roster.c", "hub/exchange.c"};
static _Atomic(const char *) culprit_file;
static atomic_int culprit_line;

static void note_site(const char *file, int line)
{
    if (atomic_load(&nth) == 0 || is_the_tester)
        return;
    for (size_t i = 0; i != sizeof(may_end_the_process) / sizeof(may_end_the_process[0]); i++)
        if (strstr(file, may_end_the_process[i]) != NULL)
            return;
    atomic_store(&culprit_line, line);
    atomic_store(&culprit_file, file);
}

void *__real_hub__alloc_at(size_t size, const char *file, int line);
void *__real_hub__alloc_zeroed_at(size_t size, const char *file, int line);
void *__real_hub__realloc_at(void *ptr, size_t size, const char *file, int line);
char *__real_hub__str_copy_at(hub_str_t str, const char *file, int line);
void *__wrap_hub__alloc_at(size_t size, const char *file, int line);
void *__wrap_hub__alloc_zeroed_at(size_t size, const char *file, int line);
void *__wrap_hub__realloc_at(void *ptr, size_t size, const char *file, int line);
char *__wrap_hub__str_copy_at(hub_str_t str, const char *file, int line);

#define UNFAILING(type, call)                                                                      \
    type result;                                                                                   \
    note_site(file, line);                                                                         \
    ++unfailing;                                                                                   \
    result = call;                                                                                 \
    --unfailing;                                                                                   \
    return result

void *__wrap_hub__alloc_at(size_t size, const char *file, int line)
{
    UNFAILING(void *, __real_hub__alloc_at(size, file, line));
}

void *__wrap_hub__alloc_zeroed_at(size_t size, const char *file, int line)
{
    UNFAILING(void *, __real_hub__alloc_zeroed_at(size, file, line));
}

void *__wrap_hub__realloc_at(void *ptr, size_t size, const char *file, int line)
{
    UNFAILING(void *, __real_hub__realloc_at(ptr, size, file, line));
}

char *__wrap_hub__str_copy_at(hub_str_t str, const char *file, int line)
{
    UNFAILING(char *, __real_hub__str_copy_at(str, file, line));
}

void __sanitizer_symbolize_pc(void *pc, const char *format, char *text, size_t size)
    __attribute__((weak));

static void note_growth(const hub__buffer_t *before, size_t capacity, void *caller)
{
    char text[300] = "?";

    if (before->fallible || before->capacity == capacity || atomic_load(&nth) == 0 ||
        is_the_tester || getenv("TORTURE_SITES") == NULL)
        return;
    if (__sanitizer_symbolize_pc != NULL)
        __sanitizer_symbolize_pc(caller, "%s:%l in %f", text, sizeof(text));
    fprintf(stderr, "unfailing buffer: %s\n", text);
}

char *__real_hub__buffer_reserve(hub__buffer_t *buffer, size_t more);
void __real_hub__buffer_append(hub__buffer_t *buffer, hub_str_t bytes);
void __real_hub__buffer_json_string(hub__buffer_t *buffer, hub_str_t text);
char *__wrap_hub__buffer_reserve(hub__buffer_t *buffer, size_t more);
void __wrap_hub__buffer_append(hub__buffer_t *buffer, hub_str_t bytes);
void __wrap_hub__buffer_json_string(hub__buffer_t *buffer, hub_str_t text);
void __wrap_hub__buffer_printf(hub__buffer_t *buffer, const char *format, ...);

char *__wrap_hub__buffer_reserve(hub__buffer_t *buffer, size_t more)
{
    size_t capacity = buffer->capacity;
    char *at;

    unfailing += !buffer->fallible;
    at = __real_hub__buffer_reserve(buffer, more);
    unfailing -= !buffer->fallible;
    note_growth(buffer, capacity, __builtin_return_address(0));
    return at;
}

void __wrap_hub__buffer_append(hub__buffer_t *buffer, hub_str_t bytes)
{
    size_t capacity = buffer->capacity;

    unfailing += !buffer->fallible;
    __real_hub__buffer_append(buffer, bytes);
    unfailing -= !buffer->fallible;
    note_growth(buffer, capacity, __builtin_return_address(0));
}

void __wrap_hub__buffer_json_string(hub__buffer_t *buffer, hub_str_t text)
{
    size_t capacity = buffer->capacity;

    unfailing += !buffer->fallible;
    __real_hub__buffer_json_string(buffer, text);
    unfailing -= !buffer->fallible;
    note_growth(buffer, capacity, __builtin_return_address(0));
}

void __wrap_hub__buffer_printf(hub__buffer_t *buffer, const char *format, ...)
{
    size_t capacity = buffer->capacity;
    char *text = NULL;
    va_list args;
    int len;

    ++unfailing;
    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    --unfailing;
    unfailing += !buffer->fallible;
    __real_hub__buffer_append(buffer, hub_str_n(text, len < 0 ? 0 : (size_t)len));
    unfailing -= !buffer->fallible;
    free(text);
    note_growth(buffer, capacity, __builtin_return_address(0));
}

/* ---- the hub of these cases ---- */

static hub_status_t on_say(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, msg->event, msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("1"));
}

static hub_status_t on_push(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_push(me, HUB_STR("pushed"), msg->payload);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("1"));
}

/* More than the kernel takes of a client that does not read. */
static hub_status_t on_burst(hub_member_t *me, const hub_message_t *msg)
{
    static char json[30002];

    memset(json, 'x', sizeof(json));
    json[0] = json[sizeof(json) - 1] = '"';
    for (int i = 0; i < 16; i++)
        (void)hub_member_push(me, HUB_STR("b"), hub_json(hub_str_n(json, sizeof(json))));
    return hub_member_reply(me, msg, HUB_JSON("1"));
}

static void on_timer(hub_member_t *me, const char *name, void *user)
{
    (void)name, (void)user;
    (void)hub_member_push(me, HUB_STR("rang"), HUB_JSON("1"));
}

static hub_status_t on_alarm(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_timer_start(me, "kettle", 0, 0, on_timer, NULL);

    return err != HUB_OK && err != HUB_EEXIST ? err : hub_member_reply(me, msg, HUB_JSON("1"));
}

static void work(void *user)
{
    (void)user;
}

static void on_done(hub_member_t *me, hub_status_t status, void *user)
{
    (void)me, (void)status, (void)user;
}

static hub_status_t on_job(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_offload(me, "sums", work, on_done, NULL);

    return err != HUB_OK && err != HUB_EEXIST ? err : hub_member_reply(me, msg, HUB_JSON("1"));
}

static hub_status_t on_kick(hub_member_t *me, const hub_message_t *msg)
{
    (void)msg;
    hub_conn_close(hub_member_conn(me), 4000, HUB_STR("kicked"));
    return HUB_OK;
}

static hub_status_t on_later(hub_member_t *me, const hub_message_t *msg)
{
    hub_token_t token = hub_member_token(me, msg);

    return hub_reply(hub_member_hub(me), &token, HUB_JSON("1"));
}

static hub_status_t on_pause(hub_member_t *me, const hub_message_t *msg)
{
    hub_token_t token = hub_member_suspend(me);
    hub_status_t err = hub_resume(hub_member_hub(me), &token);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("1"));
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    (void)result, (void)user;
}

static hub_status_t on_count(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_publish_counted(hub_member_hub(me), hub_member_topic(me), msg->event,
                                           msg->payload, on_published, NULL);

    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("1"));
}

static hub_status_t on_track(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_presence_track(me, HUB_STR("ann"), HUB_JSON("{\"at\":1}"));

    if (err == HUB_OK)
        err = hub_presence_push(me);
    return err != HUB_OK ? err : hub_member_reply(me, msg, HUB_JSON("1"));
}

static const hub_event_handler_t events[] = {
    {"say", on_say},     {"push", on_push},   {"burst", on_burst}, {"alarm", on_alarm},
    {"job", on_job},     {"kick", on_kick},   {"later", on_later}, {"pause", on_pause},
    {"count", on_count}, {"track", on_track}, {NULL, NULL}};

static hub_status_t on_join_loudly(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = hub_member_broadcast(me, HUB_STR("came"), msg->payload);

    if (err == HUB_OK)
        err = hub_member_push(me, HUB_STR("hello"), HUB_JSON("1"));
    return err != HUB_OK ? err : hub_member_accept(me, HUB_JSON("{\"welcome\":1}"));
}

static hub_status_t on_join_later(hub_member_t *me, const hub_message_t *msg)
{
    hub_token_t token;
    hub_status_t err = hub_member_defer(me, &token);

    (void)msg;
    if (err == HUB_PENDING &&
        hub_join_accept(hub_member_hub(me), &token, HUB_JSON("{\"welcome\":1}")) != HUB_OK)
        return HUB_ENOMEM;
    return err;
}

static hub_status_t on_join_never(hub_member_t *me, const hub_message_t *msg)
{
    return hub_member_reject(me, msg->payload);
}

static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_replacement)
{
    (void)me, (void)msg;
    *ret_replacement = HUB_JSON("\"replaced\"");
    return HUB_UPDATE_REPLACE;
}

static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    static const hub_attribute_t attributes[] = {{"role", {"guest", 5}}};

    (void)user;
    hub_request_grant(
        request,
        &(hub_grant_t){.identity = HUB_STR("ann"), .attributes = attributes, .attribute_count = 1});
    return HUB_OK;
}

static hub_t *the_hub;

static hub_status_t on_authorize_later(hub_request_t *request, void *user)
{
    hub_request_token_t token;
    hub_status_t err = hub_request_defer(request, &token);

    (void)user;
    if (hub_authorize_accept(the_hub, token, &(hub_grant_t){.identity = HUB_STR("bob")}) != HUB_OK)
        return HUB_ENOMEM;
    return err;
}

static void on_http(hub_http_t *http, void *user)
{
    (void)user;
    hub_http_respond(http, 200, "text/plain", HUB_STR("ok"));
}

/* Where hooks follow each frame, every frame has a run and a message of its own: many more
 * allocations than an ordinary server needs. */
static hub_status_t follow_frames(const hub_hook_event_t *event, void *user)
{
    (void)event, (void)user;
    return HUB_OK;
}

static void listen_with_tls(server_t *s)
{
    certificate_t files = certificate_make("torture", 30, NULL);

    assert_int_equal(
        hub_server_listen_tls(s->server, "127.0.0.1:0",
                              &(hub_tls_options_t){.certificate_file = files.certificate_file,
                                                   .key_file = files.key_file}),
        HUB_OK);
    certificate_forget();
}

static server_t *tortured(bool follows)
{
    static const hub_presence_options_t presence = {0};
    server_t *s = server_create();

    is_the_tester = true;
    the_hub = s->hub;
    if (follows)
        server_hook(s, HUB_HOOK_MESSAGE_SENT, follow_frames);
    server_channel(s, &(hub_channel_options_t){.pattern = "t{n}", .events = events});
    server_channel(s, &(hub_channel_options_t){
                          .pattern = "loud{n}", .events = events, .on_join = on_join_loudly});
    server_channel(s, &(hub_channel_options_t){
                          .pattern = "late{n}", .events = events, .on_join = on_join_later});
    server_channel(s, &(hub_channel_options_t){.pattern = "never{n}", .on_join = on_join_never});
    server_channel(s, &(hub_channel_options_t){
                          .pattern = "filter{n}", .events = events, .on_update = on_update});
    server_channel(s, &(hub_channel_options_t){.pattern = "slow{n}",
                                               .events = events,
                                               .slow_policy = HUB_SLOW_DROP_OLD});
    server_channel(
        s, &(hub_channel_options_t){.pattern = "list{n}", .events = events, .presence = &presence});
    server_mount(s, &(hub_endpoint_options_t){.on_authorize = on_authorize,
                                              .keep_query = true,
                                              .longpoll = true,
                                              .limits = {.longpoll_window_ms = 10,
                                                         /* the witness pongs all the time */
                                                         .controls_per_s = HUB_OFF,
                                                         .messages_per_s = HUB_OFF}});
    server_mount(s,
                 &(hub_endpoint_options_t){.path = "/later", .on_authorize = on_authorize_later});
    server_mount(s, &(hub_endpoint_options_t){
                        .path = "/hurried", .limits = {.messages_per_s = 1, .messages_burst = 1}});
    assert_int_equal(hub_server_route(s->server, "GET", "/page", on_http, NULL), HUB_OK);
    listen_with_tls(s);
    server_start(s);
    s->address = hub_server_address(s->server, 1);
    return s;
}

/* ---- one round of torture ---- */

/* What one client does: `prepare` (may be NULL) goes well, in `act` allocations fail. */
typedef struct scenario {
    const char *topic; /* which the client has joined, and the witness as well; NULL: none */
    void (*prepare)(client_t *client);
    void (*act)(client_t *client);
    bool answered;      /* whoever lives on must have got an answer to ref 7 */
    int receive_bytes;  /* of the client's socket; 0: many */
    bool http;          /* the client has not shaken hands, and what comes back is HTTP */
    SSL_CTX *tls;       /* it speaks TLS; NULL: plain */
    const char *target; /* NULL: "/socket?a=b" */
} scenario_t;

static void arm(unsigned number, bool all)
{
    atomic_store(&seen, 0);
    atomic_store(&failed, 0);
    atomic_store(&and_all_later, all);
    atomic_store(&nth, number);
}

/* Until the server has done with everything that it was sent: a pong costs it nothing, and is read
 * in a turn of its own. Each may have left something for the next turn, or for another thread. */
static void settle(server_t *s, client_t *witness, uint64_t bytes_in)
{
    SERVER_EXPECT_STAT_AT_LEAST(s, bytes_in_total, bytes_in);
    for (int i = 0; i < 3; i++) {
        uint64_t before = SERVER_STAT(s, bytes_in_total);

        client_frame(witness, CLIENT_PONG, HUB_STR(""));
        SERVER_EXPECT_STAT_AT_LEAST(s, bytes_in_total, before + 6);
    }
}

/* Whether the client lives on. */
static bool hear_out(const scenario_t *scenario, client_t *client, unsigned number)
{
    client_frame_t frame;
    bool answered = false;

    client_say(client, "hub", "heartbeat", "{}", "'end'");
    while (client_try_next(client, &frame)) {
        if (frame.first == CLIENT_TEXT && hub_json_scan(frame.payload, 0, NULL, NULL) != HUB_OK)
            fail_msg("allocation %u failed, and the client was told half of it: %s", number,
                     frame.payload.base);
        if (strstr(frame.payload.base, "\"ref\":7") != NULL)
            answered = true;
        if (strstr(frame.payload.base, "\"ref\":\"end\"") == NULL)
            continue;
        if (scenario->answered && !answered)
            fail_msg("allocation %u failed, and the client was told nothing", number);
        return true;
    }
    return false;
}

static void expect_served(client_t *witness)
{
    client_frame_t frame;

    client_say(witness, "t0", "say", "1", "'w'");
    do
        if (!client_try_next(witness, &frame))
            fail_msg("the witness is closed");
    while (strstr(frame.payload.base, "\"ref\":\"w\"") == NULL);
}

/* Connected, and all that goes before `act`. Who only asks for something by HTTP is let in under
 * torture already. */
static client_t *let_in(server_t *s, const scenario_t *scenario, unsigned number, bool all,
                        uint64_t *ret_bytes_in)
{
    bool early = scenario->http && scenario->prepare == NULL && scenario->tls == NULL;
    const char *target = scenario->target != NULL ? scenario->target : "/socket?a=b";
    uint64_t conns = SERVER_STAT(s, conns);
    client_t *client;

    if (early)
        arm(number, all);
    client = client_connect(scenario->tls != NULL ? hub_server_address(s->server, 0) : s->address,
                            scenario->receive_bytes);
    if (scenario->tls != NULL)
        client_tls(client, scenario->tls);
    if (!scenario->http) {
        client_send_text(client, client_upgrade_text(target, ""));
        client_expect_upgraded(client);
        SERVER_EXPECT_STAT(s, conns, conns + 1); /* the 101 is there first */
    }
    if (scenario->topic != NULL)
        client_join(client, scenario->topic, "'j'");
    if (scenario->prepare != NULL)
        scenario->prepare(client);
    *ret_bytes_in = SERVER_STAT(s, bytes_in_total);
    if (!early)
        arm(number, all);
    return client;
}

/* False: nothing failed any more. */
static bool round_of(server_t *s, client_t *witness, const scenario_t *scenario, unsigned number,
                     bool all)
{
    uint64_t conns = SERVER_STAT(s, conns), members = SERVER_STAT(s, members), bytes;
    client_t *client = let_in(s, scenario, number, all, &bytes);
    client_response_t response;
    bool more;

    scenario->act(client);
    if (scenario->http) {
        if (client_try_response(client, &response))
            assert_true(response.status == 101 || response.status >= 200);
        settle(s, witness, bytes);
    } else {
        settle(s, witness, bytes + 1);
    }
    if (getenv("TORTURE_SITES") != NULL)
        fprintf(stderr, "round %u%s\n", number, all ? " and all later" : "");
    more = atomic_load(&failed) != 0;
    atomic_store(&nth, 0);
    if (!scenario->http)
        (void)hear_out(scenario, client, number);
    expect_served(witness);
    client_destroy(client);
    SERVER_EXPECT_STAT(s, conns, conns);
    SERVER_EXPECT_STAT(s, members, members);
    SERVER_EXPECT_STAT(s, outbox_bytes, 0);
    return more;
}

static void torture_with(const scenario_t *scenario, bool follows)
{
    server_t *s = tortured(follows);
    client_t *witness = server_client(s, "/socket");
    unsigned number;

    client_join(witness, "t0", "'j'");
    if (scenario->topic != NULL && strcmp(scenario->topic, "t0") != 0)
        client_join(witness, scenario->topic, "'k'");
    for (int all = 0; all < 2; all++) {
        for (number = 1; round_of(s, witness, scenario, number, all != 0); number++)
            assert_true(number < ROUNDS_MAX);
        if (getenv("TORTURE_SITES") != NULL)
            fprintf(stderr, "%u allocations\n", number - 1);
    }
    if (atomic_load(&culprit_file) != NULL)
        fail_msg("%s:%d ends the process where memory runs out", atomic_load(&culprit_file),
                 atomic_load(&culprit_line));
}

static void torture(const scenario_t *scenario)
{
    torture_with(scenario, false);
    server_teardown(NULL);
    torture_with(scenario, true);
}

/* ---- the scenarios ---- */

static void act_say(client_t *c)
{
    client_say(c, "t0", "say", "1", "7");
}

static void saying_and_being_answered(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_say, .answered = true});
}

static void act_join(client_t *c)
{
    client_say(c, "t1", "join", "{}", "7");
}

static void joining(void **state)
{
    (void)state;
    torture(&(scenario_t){.act = act_join, .answered = true});
}

static void act_join_loudly(client_t *c)
{
    client_say(c, "loud1", "join", "{'a':1}", "7");
}

static void joining_with_a_push_and_a_broadcast(void **state)
{
    (void)state;
    torture(&(scenario_t){.act = act_join_loudly, .answered = true});
}

static void act_join_later(client_t *c)
{
    client_say(c, "late1", "join", "{}", "7");
    client_say(c, "late1", "say", "1", "8");
}

static void a_deferred_join_and_what_waits_for_it(void **state)
{
    (void)state;
    torture(&(scenario_t){.act = act_join_later, .answered = true});
}

static void act_join_never(client_t *c)
{
    client_say(c, "never1", "join", "{'a':1}", "7");
}

static void being_refused(void **state)
{
    (void)state;
    torture(&(scenario_t){.act = act_join_never, .answered = true});
}

static void prepare_hurry(client_t *c)
{
    client_expect_quiet(c);
}

static void being_too_fast(void **state)
{
    (void)state;
    torture(&(scenario_t){
        .target = "/hurried", .prepare = prepare_hurry, .act = act_say, .answered = true});
}

static void act_leave(client_t *c)
{
    client_say(c, "t0", "leave", "{}", "7");
}

static void leaving(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_leave, .answered = true});
}

static void act_bad(client_t *c)
{
    client_say(c, "t0", "no-such-event", "{}", "7");
    client_say(c, "elsewhere", "join", "{}", "7");
    client_json(c, "[]");
    client_frame(c, CLIENT_TEXT, HUB_STR("{\"topic\":"));
}

static void mistakes(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_bad, .answered = true});
}

static void act_push(client_t *c)
{
    client_say(c, "t0", "push", "{'a':'b'}", "7");
}

static void a_push(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_push, .answered = true});
}

static void act_fragments(client_t *c)
{
    char part[5000];

    memset(part, ' ', sizeof(part));
    client_frame(c, 0x01, HUB_STR("{\"topic\":\"t0\",\"event\":\"say\",\"ref\":7,\"payload\":1"));
    client_frame(c, 0x00, hub_str_n(part, sizeof(part)));
    client_frame(c, CLIENT_PING, HUB_STR("ping"));
    client_frame(c, 0x80, HUB_STR("}"));
}

static void a_message_in_fragments(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_fragments, .answered = true});
}

static void prepare_half(client_t *c)
{
    client_send(c, HUB_STR("\x81"));
}

static void act_half(client_t *c)
{
    client_send_bytewise(c, HUB_STR("\x83"
                                    "aaaa..."));
}

static void a_frame_in_single_bytes(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .prepare = prepare_half, .act = act_half});
}

static void act_ping(client_t *c)
{
    client_frame(c, CLIENT_PING, HUB_STR("ping"));
}

static void pings(void **state)
{
    (void)state;
    torture(&(scenario_t){.act = act_ping});
}

static void act_close(client_t *c)
{
    client_close_frame(c, 1000, "bye");
}

static void act_violate(client_t *c)
{
    client_send(c, HUB_STR("\xff\xff\xff"));
}

static void act_kick(client_t *c)
{
    client_say(c, "t0", "kick", "{}", "7");
}

static void closing_by_either_side(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_close});
    server_teardown(NULL);
    torture(&(scenario_t){.topic = "t0", .act = act_violate});
    server_teardown(NULL);
    torture(&(scenario_t){.topic = "t0", .act = act_kick});
}

static void act_burst(client_t *c)
{
    client_say(c, "t0", "burst", "{}", "7");
}

static void what_waits_for_who_does_not_read(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_burst, .receive_bytes = 4096});
}

static void act_burst_slow(client_t *c)
{
    client_say(c, "slow0", "burst", "{}", "7");
}

static void a_policy_for_who_does_not_read(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "slow0", .act = act_burst_slow, .receive_bytes = 4096});
}

static void act_alarm(client_t *c)
{
    client_say(c, "t0", "alarm", "{}", "7");
}

static void act_job(client_t *c)
{
    client_say(c, "t0", "job", "{}", "7");
}

static void timers_and_jobs(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_alarm, .answered = true});
    server_teardown(NULL);
    torture(&(scenario_t){.topic = "t0", .act = act_job, .answered = true});
}

static void act_later(client_t *c)
{
    client_say(c, "t0", "later", "{}", "7");
}

static void an_answer_by_token(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_later, .answered = true});
}

static void act_pause(client_t *c)
{
    client_say(c, "t0", "pause", "{}", "7");
    client_say(c, "t0", "say", "1", "8");
}

static void a_suspension_and_what_waits_for_it(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_pause, .answered = true});
}

static void act_filtered(client_t *c)
{
    client_say(c, "filter0", "say", "1", "7");
}

static void a_filter_that_replaces(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "filter0", .act = act_filtered, .answered = true});
}

static void act_count(client_t *c)
{
    client_say(c, "t0", "count", "1", "7");
}

static void a_publish_that_is_counted(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "t0", .act = act_count, .answered = true});
}

static void act_track(client_t *c)
{
    client_say(c, "list0", "track", "{}", "7");
}

static void presence(void **state)
{
    (void)state;
    torture(&(scenario_t){.topic = "list0", .act = act_track, .answered = true});
}

static void act_upgrade(client_t *c)
{
    client_send_text(c, client_upgrade_text("/socket?a=b", ""));
}

static void act_upgrade_later(client_t *c)
{
    client_send_text(c, client_upgrade_text("/later", ""));
}

static void coming_in(void **state)
{
    (void)state;
    torture(&(scenario_t){.http = true, .act = act_upgrade});
    server_teardown(NULL);
    torture(&(scenario_t){.http = true, .act = act_upgrade_later});
}

static void coming_in_over_tls(void **state)
{
    SSL_CTX *context = certificate_client();

    (void)state;
    torture(&(scenario_t){.http = true, .act = act_upgrade, .tls = context});
    SSL_CTX_free(context);
}

static void what_waits_for_who_does_not_read_over_tls(void **state)
{
    SSL_CTX *context = certificate_client();

    (void)state;
    torture_with(
        &(scenario_t){.topic = "t0", .act = act_burst, .receive_bytes = 4096, .tls = context},
        false);
    SSL_CTX_free(context);
}

static void act_poll(client_t *c)
{
    client_request(c, "GET", "/socket/longpoll?vsn=2.0.0", "");
}

static void a_long_poll_that_opens(void **state)
{
    (void)state;
    torture(&(scenario_t){.http = true, .act = act_poll});
}

/* Between its parts nobody polls for longer than the window and a half of a slow machine. */
static char poll_target[200];

static void prepare_poll(client_t *c)
{
    client_response_t response;
    const char *token;

    act_poll(c);
    response = client_expect_response(c, 200);
    token = strstr(response.body.base, "\"token\":\"");
    assert_non_null(token);
    token += strlen("\"token\":\"");
    snprintf(poll_target, sizeof(poll_target), "/socket/longpoll?vsn=2.0.0&token=%.*s",
             (int)strcspn(token, "\""), token);
}

static void act_post(client_t *c)
{
    static const char body[] = "[\"1\",\"1\",\"t0\",\"phx_join\",{}]";
    char field[60];

    snprintf(field, sizeof(field), "Content-Length: %zu\r\n", strlen(body));
    client_request(c, "POST", poll_target, field);
    client_send_text(c, body);
}

static void act_poll_again(client_t *c)
{
    client_request(c, "GET", poll_target, "");
}

static void a_long_poll_that_goes_on(void **state)
{
    (void)state;
    torture(&(scenario_t){.http = true, .prepare = prepare_poll, .act = act_post});
    server_teardown(NULL);
    torture(&(scenario_t){.http = true, .prepare = prepare_poll, .act = act_poll_again});
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(saying_and_being_answered),
        SERVER_CASE(joining),
        SERVER_CASE(joining_with_a_push_and_a_broadcast),
        SERVER_CASE(a_deferred_join_and_what_waits_for_it),
        SERVER_CASE(being_refused),
        SERVER_CASE(being_too_fast),
        SERVER_CASE(leaving),
        SERVER_CASE(mistakes),
        SERVER_CASE(a_push),
        SERVER_CASE(a_message_in_fragments),
        SERVER_CASE(a_frame_in_single_bytes),
        SERVER_CASE(pings),
        SERVER_CASE(closing_by_either_side),
        SERVER_CASE(what_waits_for_who_does_not_read),
        SERVER_CASE(coming_in_over_tls),
        SERVER_CASE(what_waits_for_who_does_not_read_over_tls),
        SERVER_CASE(a_policy_for_who_does_not_read),
        SERVER_CASE(timers_and_jobs),
        SERVER_CASE(an_answer_by_token),
        SERVER_CASE(a_suspension_and_what_waits_for_it),
        SERVER_CASE(a_filter_that_replaces),
        SERVER_CASE(a_publish_that_is_counted),
        SERVER_CASE(presence),
        SERVER_CASE(coming_in),
        SERVER_CASE(a_long_poll_that_opens),
        SERVER_CASE(a_long_poll_that_goes_on),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
