/* SPDX-License-Identifier: MIT */
/* A hub before and beside its connections: what may be declared until when, what the start says
 * about all of it together, hooks, and where a publish of a hub or of one included in it goes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "hub/internal.h"
#include "test/fake_backend.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define TEN "aaaaaaaaaa"
#define NAME_64 TEN TEN TEN TEN TEN TEN "aaaa"

/* A root, two to be included, and a worker that only stands there, so that the hub serves. */
typedef struct fixture {
    hub_t *root, *sub, *deep;
    hub_bus_t *bus; /* the program's own; NULL: the root has its own */
    hub__worker_t *worker;
    hub_bus_sub_t *heard_by[4];
    size_t listeners;
    char heard[512];
} fixture_t;

static int set_up(void **state)
{
    fixture_t *fixture = calloc(1, sizeof(*fixture));

    hub_log_set_level(HUB_LOG_OFF);
    *state = fixture;
    return hub_create(&(hub_options_t){.name = "sub"}, &fixture->sub) != HUB_OK ||
           hub_create(&(hub_options_t){.name = "deep"}, &fixture->deep) != HUB_OK;
}

static int tear_down(void **state)
{
    fixture_t *fixture = *state;

    while (fixture->listeners != 0)
        hub_bus_unsubscribe(fixture->heard_by[--fixture->listeners]);
    if (fixture->worker != NULL)
        hub__worker_leave_hub(fixture->root, fixture->worker);
    hub__worker_release(fixture->worker);
    hub_destroy(fixture->root);
    hub_destroy(fixture->sub);
    hub_destroy(fixture->deep);
    hub_bus_destroy(fixture->bus);
    free(fixture);
    return 0;
}

static fixture_t *create_root(void **state, const hub_options_t *options)
{
    fixture_t *fixture = *state;

    assert_int_equal(hub_create(options, &fixture->root), HUB_OK);
    return fixture;
}

static hub_status_t add(hub_t *hub, const char *pattern)
{
    return hub_channel_add(hub, &(hub_channel_options_t){.pattern = pattern});
}

static void assert_start_fails(hub_t *hub, hub_status_t status, const char *text)
{
    hub_error_t error = {0};

    assert_int_equal(hub__start(hub, &error), status);
    assert_string_equal(error.text, text);
    assert_false(atomic_load(&hub->started));
}

/* ---- creating ---- */

static void zeroed_options_make_a_hub(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_string_equal(hub_name(fixture->root), "hub");
    assert_null(hub_user(fixture->root));
    assert_int_equal(fixture->root->offload_threads, 4);
    assert_int_equal(fixture->root->offload_queue, 1024);
    assert_int_not_equal(fixture->root->node, 0);
    assert_int_not_equal(fixture->root->node, fixture->sub->node);
    hub_destroy(NULL);
}

static void options_are_kept(void **state)
{
    char name[] = "web";
    fixture_t *fixture = create_root(
        state,
        &(hub_options_t){.name = name, .user = state, .offload_threads = 7, .offload_queue = 9});

    name[0] = '!';
    assert_string_equal(hub_name(fixture->root), "web");
    assert_ptr_equal(hub_user(fixture->root), state);
    assert_int_equal(fixture->root->offload_threads, 7);
    assert_int_equal(fixture->root->offload_queue, 9);
}

static void refuse_name(const char *name, const char *text)
{
    hub_t *hub = NULL;
    hub_error_t error = {0};

    assert_int_equal(hub_create(&(hub_options_t){.name = name, .ret_error = &error}, &hub),
                     HUB_EINVAL);
    assert_null(hub);
    assert_string_equal(error.text, text);
}

static void a_name_is_1_to_64_characters_that_any_broker_takes(void **state)
{
    refuse_name("", "name \"\": 1 to 64 letters, digits, underscores or hyphens");
    refuse_name("a/b", "name \"a/b\": 1 to 64 letters, digits, underscores or hyphens");
    refuse_name(NAME_64 "b",
                "name \"" NAME_64 "\": 1 to 64 letters, digits, underscores or hyphens");
    create_root(state, &(hub_options_t){.name = NAME_64});
}

/* ---- channels ---- */

static void refuse_channel(fixture_t *fixture, hub_channel_options_t options, hub_status_t status,
                           const char *text)
{
    hub_error_t error = {0};

    options.ret_error = &error;
    assert_int_equal(hub_channel_add(fixture->sub, &options), status);
    assert_string_equal(error.text, text);
}

static void a_wrong_channel_is_refused_at_once(void **state)
{
    fixture_t *fixture = *state;
    const hub_event_handler_t no_handler[] = {{"e", NULL}, {NULL, NULL}};

    assert_int_equal(hub_channel_add(fixture->sub, NULL), HUB_EINVAL);
    assert_int_equal(add(fixture->sub, "room:{oops"), HUB_ESYNTAX);
    refuse_channel(fixture, (hub_channel_options_t){.pattern = NULL}, HUB_EINVAL,
                   "a channel needs a pattern");
    refuse_channel(fixture, (hub_channel_options_t){.pattern = "p", .events = no_handler},
                   HUB_EINVAL, "channel \"p\": the event \"e\" has no handler");
    assert_null(fixture->sub->channels);
}

static void a_conflict_names_both_patterns(void **state)
{
    fixture_t *fixture = *state;

    assert_int_equal(add(fixture->sub, "a:{x:[0-9]+}"), HUB_OK);
    refuse_channel(fixture, (hub_channel_options_t){.pattern = "a:{y:[a-z]+}"}, HUB_ECONFLICT,
                   "\"a:{x:[0-9]+}\" and \"a:{y:[a-z]+}\" conflict: their constraints differ, so "
                   "only a .priority can say which goes first");
    assert_int_equal(add(fixture->sub, "b"), HUB_OK);
    refuse_channel(fixture, (hub_channel_options_t){.pattern = "b"}, HUB_ECONFLICT,
                   "\"b\" and \"b\" are the same pattern");
    assert_int_equal(add(fixture->sub, "c"), HUB_OK); /* what was refused is forgotten */
    assert_int_equal(hub__start(fixture->sub, NULL), HUB_OK);
}

/* Of an included hub's, too: it is the root's bus that carries it. */
static void a_channel_with_an_order_needs_a_broker_that_has_one(void **state)
{
    hub_bus_backend_t backend = fake_backend;
    fake_broker_t *broker = fake_broker_create();
    hub_bus_options_t options = {.backend = &backend, .backend_options = broker};
    fixture_t *fixture = *state;

    backend.one_order = false;
    assert_int_equal(hub_bus_create(&options, &fixture->bus, NULL), HUB_OK);
    assert_false(hub_bus_has_one_order(fixture->bus));
    (void)create_root(state, &(hub_options_t){.bus = fixture->bus});
    assert_int_equal(hub_include(fixture->root, fixture->sub, "s:"), HUB_OK);
    assert_int_equal(
        hub_channel_add(fixture->sub,
                        &(hub_channel_options_t){.pattern = "game:{id}", .order = HUB_ORDER_BUS}),
        HUB_OK);
    assert_start_fails(
        fixture->root, HUB_EINVAL,
        "channel \"s:game:{id}\", order: the broker of the hub's bus has no one order "
        "of a topic");
    hub_destroy(fixture->root);
    fixture->root = NULL;
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    fake_broker_destroy(broker);
}

static unsigned wants;

static void want_order(void *self)
{
    (void)self;
    wants++;
}

/* So that what the broker lacks is in the log before anybody is refused for it. */
static void a_channel_with_an_order_says_so_to_the_broker_at_the_start(void **state)
{
    hub_bus_backend_t backend = fake_backend;
    fake_broker_t *broker = fake_broker_create();
    hub_bus_options_t options = {.backend = &backend, .backend_options = broker};
    fixture_t *fixture = *state;

    backend.want_order = want_order;
    wants = 0;
    assert_int_equal(hub_bus_create(&options, &fixture->bus, NULL), HUB_OK);
    (void)create_root(state, &(hub_options_t){.bus = fixture->bus});
    assert_int_equal(
        hub_channel_add(fixture->root,
                        &(hub_channel_options_t){.pattern = "game:{id}", .order = HUB_ORDER_BUS}),
        HUB_OK);
    assert_int_equal(wants, 0);
    assert_int_equal(hub__start(fixture->root, NULL), HUB_OK);
    assert_true(wants > 0);
    hub_destroy(fixture->root);
    fixture->root = NULL;
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    fake_broker_destroy(broker);
}

static void nothing_is_declared_after_the_start(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(hub_include(fixture->root, fixture->sub, "s:"), HUB_OK);
    assert_int_equal(hub__start(fixture->root, NULL), HUB_OK);
    assert_int_equal(hub__start(fixture->root, NULL), HUB_OK); /* again: nothing happens */
    assert_int_equal(add(fixture->root, "late"), HUB_EBUSY);
    assert_int_equal(add(fixture->sub, "late"), HUB_EBUSY);
    assert_int_equal(hub_include(fixture->root, fixture->deep, "d:"), HUB_EBUSY);
    assert_int_equal(hub_include(fixture->sub, fixture->deep, "d:"), HUB_EBUSY);
    assert_int_equal(hub_include(fixture->deep, fixture->root, "r:"), HUB_EBUSY);
}

/* ---- including ---- */

static void a_hub_is_included_once(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(hub_include(fixture->root, fixture->sub, "a:"), HUB_OK);
    assert_int_equal(hub_include(fixture->root, fixture->sub, "b:"), HUB_EEXIST);
    assert_int_equal(hub_include(fixture->deep, fixture->sub, "c:"), HUB_EEXIST);
}

static void hubs_are_not_included_in_a_circle(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(hub_include(fixture->root, fixture->root, "a:"), HUB_ECONFLICT);
    assert_int_equal(hub_include(fixture->root, fixture->sub, "a:"), HUB_OK);
    assert_int_equal(hub_include(fixture->sub, fixture->deep, "b:"), HUB_OK);
    assert_int_equal(hub_include(fixture->deep, fixture->root, "c:"), HUB_ECONFLICT);
    assert_int_equal(hub_include(fixture->sub, fixture->root, "c:"), HUB_ECONFLICT);
    assert_int_equal(hub_include(fixture->deep, fixture->sub, "c:"), HUB_EEXIST);
}

static void an_included_hub_is_served_by_its_root(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(hub_include(fixture->root, fixture->sub, "a:"), HUB_OK);
    assert_start_fails(fixture->sub, HUB_EBUSY, "hub \"sub\" is included, its root is served");
}

static hub__channel_t *match(fixture_t *fixture, const char *topic)
{
    hub__match_scratch_t *scratch = hub__match_scratch_create();
    const hub__route_t *route = NULL;
    hub__captures_t captures;
    hub_status_t err =
        hub__router_match(fixture->root->router, hub_str(topic), scratch, &route, &captures);

    hub__match_scratch_destroy(scratch);
    return err == HUB_OK ? route->target : NULL;
}

static void included_channels_are_found_under_their_prefixes(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(add(fixture->root, "room:{id}"), HUB_OK);
    assert_int_equal(add(fixture->sub, "room:{id}"), HUB_OK);
    assert_int_equal(add(fixture->deep, "room:{id}"), HUB_OK);
    assert_int_equal(hub_include(fixture->root, fixture->sub, "app:{app}:"), HUB_OK);
    assert_int_equal(hub_include(fixture->sub, fixture->deep, "deep:"), HUB_OK);
    assert_int_equal(hub__start(fixture->root, NULL), HUB_OK);
    assert_ptr_equal(match(fixture, "room:1")->hub, fixture->root);
    assert_ptr_equal(match(fixture, "app:x:room:1")->hub, fixture->sub);
    assert_ptr_equal(match(fixture, "app:x:deep:room:1")->hub, fixture->deep);
    assert_null(match(fixture, "deep:room:1"));
}

static void a_conflict_between_hubs_shows_at_the_start(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(add(fixture->root, "a:{x:[0-9]+}"), HUB_OK);
    assert_int_equal(add(fixture->sub, "{y:[a-z]+}"), HUB_OK);
    assert_int_equal(hub_include(fixture->root, fixture->sub, "a:"), HUB_OK);
    assert_start_fails(fixture->root, HUB_ECONFLICT,
                       "\"a:{x:[0-9]+}\" and \"a:{y:[a-z]+}\" conflict: their constraints differ, "
                       "so only a .priority can say which goes first");
}

static void a_prefix_that_is_no_pattern_shows_at_the_start(void **state)
{
    fixture_t *fixture = create_root(state, NULL);
    hub_error_t error = {0};

    assert_int_equal(add(fixture->sub, "a"), HUB_OK);
    assert_int_equal(hub_include(fixture->root, fixture->sub, "x{"), HUB_OK);
    assert_int_equal(hub__start(fixture->root, &error), HUB_ESYNTAX);
    assert_non_null(strstr(error.text, "x{a"));
}

static void required_parameters_must_be_in_the_pattern_or_its_prefix(void **state)
{
    static const char *const good[] = {"app", "id", NULL}, *const bad[] = {"id", "user", NULL};
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(hub_channel_add(fixture->sub,
                                     &(hub_channel_options_t){.pattern = "r:{id}", .params = good}),
                     HUB_OK);
    assert_int_equal(hub_include(fixture->root, fixture->sub, "{app}:"), HUB_OK);
    assert_int_equal(hub_channel_add(fixture->root, &(hub_channel_options_t){.pattern = "q:{id}:z",
                                                                             .params = bad}),
                     HUB_OK);
    assert_start_fails(fixture->root, HUB_EINVAL, "channel \"q:{id}:z\" has no parameter \"user\"");
}

static void integer_parameters_must_be_there_too(void **state)
{
    static const hub_int_param_t params[] = {{"id", 0, 1}, {"n", 0, 1}, {NULL, 0, 0}};
    fixture_t *fixture = *state;

    assert_int_equal(hub_channel_add(fixture->sub, &(hub_channel_options_t){.pattern = "q:{id}",
                                                                            .int_params = params}),
                     HUB_OK);
    assert_start_fails(fixture->sub, HUB_EINVAL, "channel \"q:{id}\" has no parameter \"n\"");
}

/* ---- hooks ---- */

typedef struct hooked {
    char *heard;
    const char *name;
    hub_status_t status;
} hooked_t;

static hub_status_t on_hook(const hub_hook_event_t *event, void *user)
{
    const hooked_t *hooked = user;

    strcat(hooked->heard, hooked->name);
    strcat(hooked->heard, hub_name(event->hub));
    strcat(hooked->heard, " ");
    return hooked->status;
}

static void hook(fixture_t *fixture, hub_hook_t which, hooked_t *hooked)
{
    hooked->heard = fixture->heard;
    assert_int_equal(hub_hook_add(fixture->sub, which, on_hook, hooked), HUB_OK);
}

static void a_notify_hook_that_fails_does_not_stop_the_others(void **state)
{
    hooked_t first = {.name = "1", .status = HUB_EINTERNAL}, second = {.name = "2"};
    hub_hook_event_t event = {.hook = HUB_HOOK_OPEN};

    hook(*state, HUB_HOOK_OPEN, &first);
    hook(*state, HUB_HOOK_JOIN, &first);
    hook(*state, HUB_HOOK_OPEN, &second);
    hook(*state, HUB_HOOK_OPEN, &first); /* the same twice is called twice */
    assert_int_equal(hub__run_hooks(((fixture_t *)*state)->sub, &event), HUB_OK);
    assert_string_equal(((fixture_t *)*state)->heard, "1sub 2sub 1sub ");
}

static void a_veto_is_the_last_word(void **state)
{
    hooked_t first = {.name = "1"}, second = {.name = "2", .status = HUB_ERATE},
             third = {.name = "3"};
    hub_hook_event_t event = {.hook = HUB_HOOK_MESSAGE_IN};

    hook(*state, HUB_HOOK_MESSAGE_IN, &first);
    hook(*state, HUB_HOOK_MESSAGE_IN, &second);
    hook(*state, HUB_HOOK_MESSAGE_IN, &third);
    assert_int_equal(hub__run_hooks(((fixture_t *)*state)->sub, &event), HUB_ERATE);
    assert_string_equal(((fixture_t *)*state)->heard, "1sub 2sub ");
}

static void hooks_are_added_until_the_start(void **state)
{
    fixture_t *fixture = create_root(state, NULL);
    hooked_t hooked = {.heard = fixture->heard};

    assert_int_equal(hub_hook_add(fixture->root, HUB_HOOK_COUNT, on_hook, &hooked), HUB_EINVAL);
    assert_int_equal(hub_hook_add(fixture->root, (hub_hook_t)-1, on_hook, &hooked), HUB_EINVAL);
    assert_int_equal(hub_hook_add(fixture->root, HUB_HOOK_OPEN, NULL, &hooked), HUB_EINVAL);
    assert_int_equal(hub_include(fixture->root, fixture->sub, "s:"), HUB_OK);
    assert_int_equal(hub_hook_add(fixture->sub, HUB_HOOK_JOIN, on_hook, &hooked), HUB_OK);
    assert_int_equal(hub__start(fixture->root, NULL), HUB_OK);
    assert_true(fixture->root->hooks_any[HUB_HOOK_JOIN]); /* of the included one */
    assert_false(fixture->root->hooks_any[HUB_HOOK_LEAVE]);
    assert_int_equal(hub_hook_add(fixture->root, HUB_HOOK_OPEN, on_hook, &hooked), HUB_EBUSY);
    assert_int_equal(hub_hook_add(fixture->sub, HUB_HOOK_OPEN, on_hook, &hooked), HUB_EBUSY);
}

/* ---- publishing ---- */

static hub_status_t post(hub_executor_t *self, hub_task_t *task, bool urgent)
{
    (void)self, (void)task, (void)urgent;
    return HUB_ECLOSED;
}

static bool is_current(const hub_executor_t *self)
{
    (void)self;
    return false;
}

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    fixture_t *fixture = user;

    (void)sub, (void)ack;
    snprintf(fixture->heard + strlen(fixture->heard), 256, "%.*s %.*s %.*s\n",
             HUB_STR_ARG(msg->topic), HUB_STR_ARG(msg->event), HUB_STR_ARG(msg->payload.bytes));
    return HUB_OK;
}

static void hear(fixture_t *fixture, const char *topic)
{
    assert_int_equal(
        hub_bus_subscribe(fixture->root->bus, hub_str(topic),
                          &(hub_bus_sub_options_t){.on_message = on_message, .user = fixture},
                          &fixture->heard_by[fixture->listeners++]),
        HUB_OK);
}

static void serve(fixture_t *fixture)
{
    fixture->worker = calloc(1, sizeof(*fixture->worker));
    atomic_init(&fixture->worker->refs, 1);
    pthread_mutex_init(&fixture->worker->lock, NULL);
    fixture->worker->executor = (hub_executor_t){.post = post, .is_current = is_current};
    assert_int_equal(hub__start(fixture->root, NULL), HUB_OK);
    assert_int_equal(hub__worker_join(fixture->root, fixture->worker), HUB_OK);
}

static hub_status_t publish(hub_t *hub, const char *topic)
{
    return hub_publish(hub, hub_str(topic), HUB_STR("e"), HUB_JSON("1"));
}

static void an_included_hub_publishes_under_its_prefixes(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(hub_include(fixture->root, fixture->sub, "s:"), HUB_OK);
    assert_int_equal(hub_include(fixture->sub, fixture->deep, "d:"), HUB_OK);
    serve(fixture);
    hear(fixture, "room:1");
    hear(fixture, "s:room:1");
    hear(fixture, "s:d:room:1");
    assert_int_equal(publish(fixture->deep, "room:1"), HUB_OK);
    assert_int_equal(hub_emit(fixture->sub, HUB_STR("room:1"), HUB_STR("f"), HUB_JSON("[ ]")),
                     HUB_OK);
    assert_int_equal(publish(fixture->root, "room:1"), HUB_OK);
    assert_int_equal(publish(fixture->root, "nobody:1"), HUB_OK);
    assert_string_equal(fixture->heard, "s:d:room:1 e 1\ns:room:1 f [ ]\nroom:1 e 1\n");
}

static void a_hub_on_a_shared_bus_puts_its_name_before_its_topics(void **state)
{
    fixture_t *fixture = *state;

    assert_int_equal(hub_bus_create(NULL, &fixture->bus, NULL), HUB_OK);
    create_root(state, &(hub_options_t){.name = "web", .bus = fixture->bus});
    assert_int_equal(hub_include(fixture->root, fixture->sub, "s:"), HUB_OK);
    serve(fixture);
    hear(fixture, "web/room:1");
    hear(fixture, "web/s:room:1");
    hear(fixture, "room:1");
    assert_int_equal(publish(fixture->root, "room:1"), HUB_OK);
    assert_int_equal(publish(fixture->sub, "room:1"), HUB_OK);
    assert_string_equal(fixture->heard, "web/room:1 e 1\nweb/s:room:1 e 1\n");
}

static void a_topic_is_never_empty(void **state)
{
    fixture_t *fixture = *state;

    assert_int_equal(hub_bus_create(NULL, &fixture->bus, NULL), HUB_OK);
    create_root(state, &(hub_options_t){.name = "web", .bus = fixture->bus});
    serve(fixture);
    assert_int_equal(publish(fixture->root, ""), HUB_ETOPIC);
    assert_int_equal(publish(fixture->root, "\xff"), HUB_ETOPIC);
}

static void a_prefix_with_parameters_has_no_topic_of_its_own(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    assert_int_equal(hub_include(fixture->root, fixture->sub, "app:{app}:"), HUB_OK);
    assert_int_equal(hub_include(fixture->sub, fixture->deep, "d:"), HUB_OK);
    serve(fixture);
    assert_int_equal(publish(fixture->sub, "room:1"), HUB_EINVAL);
    assert_int_equal(publish(fixture->deep, "room:1"), HUB_EINVAL);
    assert_int_equal(publish(fixture->root, "app:x:room:1"), HUB_OK);
}

static void a_wrong_message_is_not_published(void **state)
{
    fixture_t *fixture = create_root(state, NULL);

    serve(fixture);
    hear(fixture, "t");
    assert_int_equal(hub_publish(fixture->root, HUB_STR("t"), HUB_STR("e"), HUB_JSON("{")),
                     HUB_EPAYLOAD);
    assert_int_equal(hub_emit(fixture->root, HUB_STR("t"), HUB_STR(""), HUB_JSON("1")), HUB_EINVAL);
    assert_int_equal(
        hub_publish_counted(fixture->root, HUB_STR(""), HUB_STR("e"), HUB_JSON("1"), NULL, NULL),
        HUB_ETOPIC);
    assert_string_equal(fixture->heard, "");
}

static void nothing_is_published_before_or_after_a_hub_serves(void **state)
{
    fixture_t *fixture = create_root(state, NULL);
    hub_token_t token = {._kind = HUB__TOKEN_REPLY, ._conn = {.node = fixture->root->node}};

    assert_int_equal(publish(fixture->root, "t"), HUB_ECLOSED);
    assert_int_equal(hub_reply(fixture->root, &token, HUB_JSON("1")), HUB_ECLOSED);
    assert_int_equal(hub_disconnect(fixture->root, HUB_STR("me")), HUB_ECLOSED);
    serve(fixture);
    assert_int_equal(publish(fixture->root, "t"), HUB_OK);
    hub__worker_leave_hub(fixture->root, fixture->worker);
    assert_int_equal(publish(fixture->root, "t"), HUB_ECLOSED);
    assert_int_equal(hub_emit(fixture->root, HUB_STR("t"), HUB_STR("e"), HUB_JSON("1")),
                     HUB_ECLOSED);
    hub__worker_release(fixture->worker);
    fixture->worker = NULL;
}

/* ---- connections by id, identity and token ---- */

static void what_names_a_connection_is_checked(void **state)
{
    fixture_t *fixture = create_root(state, NULL);
    hub_conn_id_t elsewhere = {.node = fixture->root->node + 2, .local = 1};
    hub_token_t token = {._kind = HUB__TOKEN_REPLY, ._conn = elsewhere};
    hub_str_t name = HUB_STR("t");

    serve(fixture);
    assert_int_equal(hub_conn_close_id(fixture->root, elsewhere, 4000, name), HUB_ENOTFOUND);
    assert_int_equal(hub_reply(fixture->root, &token, HUB_JSON("1")), HUB_ENOTFOUND);
    assert_int_equal(hub_reply(fixture->root, &token, HUB_JSON("{")), HUB_EPAYLOAD);
    assert_int_equal(hub_join_accept(fixture->root, &token, HUB_JSON("1")), HUB_EINVAL);
    assert_int_equal(hub_join_reject(fixture->root, &token, HUB_JSON("1")), HUB_EINVAL);
    assert_int_equal(hub_resume(fixture->root, &token), HUB_EINVAL);
    assert_int_equal(hub_disconnect(fixture->root, (hub_str_t){0}), HUB_EINVAL);
    assert_int_equal(hub_push_identity(fixture->root, (hub_str_t){0}, name, name, HUB_JSON("1")),
                     HUB_EINVAL);
    assert_int_equal(
        hub_conn_push_id(fixture->root, elsewhere, name, (hub_str_t){0}, HUB_JSON("1")),
        HUB_EINVAL);
    assert_int_equal(hub_conn_push_id(fixture->root, elsewhere, name, name, HUB_JSON("")),
                     HUB_EPAYLOAD);
    assert_int_equal(hub_conn_push_id(fixture->root, elsewhere, name, name, HUB_JSON("1")),
                     HUB_ENOTFOUND);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(zeroed_options_make_a_hub),
        CASE(options_are_kept),
        CASE(a_name_is_1_to_64_characters_that_any_broker_takes),
        CASE(a_wrong_channel_is_refused_at_once),
        CASE(a_conflict_names_both_patterns),
        CASE(a_channel_with_an_order_needs_a_broker_that_has_one),
        CASE(a_channel_with_an_order_says_so_to_the_broker_at_the_start),
        CASE(nothing_is_declared_after_the_start),
        CASE(a_hub_is_included_once),
        CASE(hubs_are_not_included_in_a_circle),
        CASE(an_included_hub_is_served_by_its_root),
        CASE(included_channels_are_found_under_their_prefixes),
        CASE(a_conflict_between_hubs_shows_at_the_start),
        CASE(a_prefix_that_is_no_pattern_shows_at_the_start),
        CASE(required_parameters_must_be_in_the_pattern_or_its_prefix),
        CASE(integer_parameters_must_be_there_too),
        CASE(a_notify_hook_that_fails_does_not_stop_the_others),
        CASE(a_veto_is_the_last_word),
        CASE(hooks_are_added_until_the_start),
        CASE(an_included_hub_publishes_under_its_prefixes),
        CASE(a_hub_on_a_shared_bus_puts_its_name_before_its_topics),
        CASE(a_topic_is_never_empty),
        CASE(a_prefix_with_parameters_has_no_topic_of_its_own),
        CASE(a_wrong_message_is_not_published),
        CASE(nothing_is_published_before_or_after_a_hub_serves),
        CASE(what_names_a_connection_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
