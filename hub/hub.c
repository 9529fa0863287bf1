/* SPDX-License-Identifier: MIT */
/* A hub before and beside its connections: channels, included hubs and hooks until the start, then
 * one compiled router; and publishing. */
#include "hub/hub.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "bus/json.h"
#include "hub/internal.h"

#define OFFLOAD_THREADS 4
#define TOPICS_MAX 1000000
#define OFFLOAD_QUEUE 1024

hub_t *hub__root(hub_t *hub)
{
    while (hub->parent != NULL)
        hub = hub->parent;
    return hub;
}

void hub__log_failure(const char *event, hub_status_t status, const hub_error_t *error)
{
    char text[HUB_LOG_FIELD];

    hub_log(HUB_LOG_ERROR, event, "error=%s status=%s", hub_log_escape(hub_str(error->text), text),
            hub_status_name(status));
}

/* A mistake of the program's is logged where it was made, and handed out where it asked. */
static hub_status_t fail(const char *what, hub_status_t err, const hub_error_t *error,
                         hub_error_t *ret_error)
{
    hub__log_failure(what, err, error);
    if (ret_error != NULL)
        *ret_error = *error;
    return err;
}

/* ---- declaring ---- */

static void make_root(hub_t *hub)
{
    randombytes_buf(&hub->node, sizeof(hub->node));
    randombytes_buf(hub->ticket_key, sizeof(hub->ticket_key));
    hub->node |= 1; /* never the id of nobody */
}

/* It stands before topics on a broker. */
static bool name_is_good(hub_str_t name)
{
    return name.len != 0 && name.len <= HUB__NAME_BYTES_MAX &&
           strspn(name.base, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") ==
               name.len;
}

hub_status_t hub_create(const hub_options_t *options, hub_t **ret_hub)
{
    hub_options_t given = options != NULL ? *options : (hub_options_t){0};
    hub_str_t name = hub_str(given.name != NULL ? given.name : "hub");
    hub_error_t error = {0};
    hub_t *hub;

    if (!name_is_good(name)) {
        hub_error_set(&error, HUB_EINVAL, 0,
                      "name \"%.64s\": 1 to %d letters, digits, underscores or hyphens", name.base,
                      HUB__NAME_BYTES_MAX);
        return fail("hub.create", HUB_EINVAL, &error, given.ret_error);
    }
    if (sodium_init() == -1)
        return HUB_ESYSTEM;
    hub = hub__alloc_zeroed(sizeof(*hub));
    hub->name = hub__str_copy(name);
    hub->user = given.user;
    hub->bus = given.bus;
    hub->offload_threads = given.offload_threads != 0 ? given.offload_threads : OFFLOAD_THREADS;
    hub->presence_beat_ms = given.presence_beat_ms;
    hub->offload_queue = given.offload_queue != 0 ? given.offload_queue : OFFLOAD_QUEUE;
    hub->topics_max = given.topics_max != 0 ? given.topics_max : TOPICS_MAX;
    hub->conns_max = given.conns_max != 0 ? given.conns_max : SIZE_MAX;
    pthread_mutex_init(&hub->lock, NULL);
    pthread_mutex_init(&hub->order_lock, NULL);
    make_root(hub);
    *ret_hub = hub;
    return HUB_OK;
}

void hub_destroy(hub_t *hub)
{
    if (hub == NULL)
        return;
    assert(hub->worker_count == 0); /* its server has stopped */
    hub__pool_destroy(hub->pool);
    hub__router_release(hub->router);
    if (hub->owns_bus)
        hub_bus_destroy(hub->bus);
    while (hub->held != NULL) {
        hub__held_t *held = hub->held;

        hub->held = held->next;
        hub__worker_release(held->worker);
        free(held);
    }
    while (hub->channels != NULL) {
        hub__channel_t *channel = hub->channels;

        hub->channels = channel->next;
        hub__channel_destroy(channel);
    }
    while (hub->includes != NULL) {
        hub__include_t *include = hub->includes;

        hub->includes = include->next;
        free(include->prefix);
        free(include);
    }
    for (unsigned i = 0; i != HUB_HOOK_COUNT; ++i)
        while (hub->hooks[i] != NULL) {
            hub__hook_row_t *row = hub->hooks[i];

            hub->hooks[i] = row->next;
            free(row);
        }
    while (hub->checks != NULL) {
        hub__check_row_t *row = hub->checks;

        hub->checks = row->next;
        free(row);
    }
    hub__match_scratch_destroy(hub->order_scratch);
    pthread_mutex_destroy(&hub->order_lock);
    pthread_mutex_destroy(&hub->lock);
    free((void *)(uintptr_t)hub->bus_prefix.base);
    free(hub->prefix);
    free(hub->name);
    free(hub);
}

void *hub_user(const hub_t *hub)
{
    return hub->user;
}

const char *hub_name(const hub_t *hub)
{
    return hub->name;
}

/* What hub_channel_add() can already say about a pattern among those of its own hub. */
static hub_status_t check_pattern(hub_t *hub, const hub__channel_t *added, hub_error_t *error)
{
    hub__route_source_t *sources;
    hub__router_t *router;
    size_t count = 1;
    hub_status_t err;

    for (hub__channel_t *channel = hub->channels; channel != NULL; channel = channel->next)
        ++count;
    sources = hub__alloc_zeroed(count * sizeof(*sources));
    count = 0;
    for (const hub__channel_t *channel = added; channel != NULL;
         channel = channel == added ? hub->channels : channel->next)
        sources[count++] = (hub__route_source_t){
            .pattern = hub_str(channel->options.pattern),
            .has_priority = channel->options.has_priority,
            .priority = channel->options.priority,
        };
    err = hub__router_create(sources, count, &router, error);
    free(sources);
    if (err == HUB_OK)
        hub__router_release(router);
    return err;
}

hub_status_t hub_channel_add(hub_t *hub, const hub_channel_options_t *options)
{
    hub_error_t *ret_error = options != NULL ? options->ret_error : NULL;
    hub__channel_t *channel, **last = &hub->channels;
    hub_error_t error = {0};
    hub_status_t err;

    if (atomic_load(&hub__root(hub)->started)) {
        err = hub_error_set(&error, HUB_EBUSY, 0, "the hub has started, channels come before");
        return fail("hub.channel_add", err, &error, ret_error);
    }
    if ((err = hub__channel_create(hub, options, &channel, &error)) != HUB_OK)
        return fail("hub.channel_add", err, &error, ret_error);
    if ((err = check_pattern(hub, channel, &error)) != HUB_OK) {
        hub__channel_destroy(channel);
        return fail("hub.channel_add", err, &error, ret_error);
    }
    while (*last != NULL)
        last = &(*last)->next;
    *last = channel;
    return HUB_OK;
}

hub_status_t hub_include(hub_t *parent, hub_t *sub, const char *prefix)
{
    hub_error_t error = {0};
    hub__include_t *include;

    if (atomic_load(&hub__root(parent)->started) || atomic_load(&sub->started))
        return fail("hub.include",
                    hub_error_set(&error, HUB_EBUSY, 0, "a hub has started, includes come before"),
                    &error, NULL);
    if (sub->parent != NULL)
        return fail("hub.include",
                    hub_error_set(&error, HUB_EEXIST, 0,
                                  "hub \"%s\" is included already under \"%s\"", sub->name,
                                  sub->prefix),
                    &error, NULL);
    if (hub__root(parent) == sub)
        return fail("hub.include",
                    hub_error_set(&error, HUB_ECONFLICT, 0,
                                  "including hub \"%s\" into \"%s\" would make a circle", sub->name,
                                  parent->name),
                    &error, NULL);
    include = hub__alloc_zeroed(sizeof(*include));
    include->sub = sub;
    include->prefix = hub__str_copy(hub_str(prefix));
    include->next = parent->includes;
    parent->includes = include;
    sub->parent = parent;
    sub->prefix = hub__str_copy(hub_str(prefix));
    return HUB_OK;
}

hub_status_t hub_hook_add(hub_t *hub, hub_hook_t hook, hub_hook_cb on_hook, void *user)
{
    hub__hook_row_t *row, **last;

    if ((unsigned)hook >= HUB_HOOK_COUNT || on_hook == NULL)
        return HUB_EINVAL;
    if (atomic_load(&hub__root(hub)->started))
        return HUB_EBUSY;
    last = &hub->hooks[hook];
    while (*last != NULL)
        last = &(*last)->next;
    row = hub__alloc_zeroed(sizeof(*row));
    row->on_hook = on_hook;
    row->user = user;
    *last = row;
    return HUB_OK;
}

hub_status_t hub_authorize_add(hub_t *hub, hub_on_authorize_cb on_authorize, void *user)
{
    hub__check_row_t *row, **last = &hub->checks;

    if (on_authorize == NULL)
        return HUB_EINVAL;
    if (atomic_load(&hub__root(hub)->started))
        return HUB_EBUSY;
    while (*last != NULL)
        last = &(*last)->next;
    row = hub__alloc_zeroed(sizeof(*row));
    row->on_authorize = on_authorize;
    row->user = user;
    *last = row;
    return HUB_OK;
}

hub_status_t hub__run_hooks(hub_t *hub, hub_hook_event_t *event)
{
    bool veto = event->hook == HUB_HOOK_MESSAGE_IN;

    event->hub = hub;
    for (const hub__hook_row_t *row = hub->hooks[event->hook]; row != NULL; row = row->next) {
        hub_status_t err = row->on_hook(event, row->user);

        if (err == HUB_OK)
            continue;
        if (veto)
            return err;
        hub_log_peer(HUB_LOG_WARN, "hook.failed", "hook=%d error=\"%s\"", (int)event->hook,
                     hub_status_text(err));
    }
    return HUB_OK;
}

/* ---- the start ---- */

typedef struct hub__sources {
    hub__route_source_t *rows;
    size_t count, capacity;
    hub__buffer_t *prefixes; /* owned texts, one per included hub */
    size_t prefix_count;
} hub__sources_t;

static void collect(hub_t *hub, hub_str_t prefix, hub__sources_t *sources)
{
    for (hub__channel_t *channel = hub->channels; channel != NULL; channel = channel->next) {
        if (sources->count == sources->capacity) {
            sources->capacity = sources->capacity == 0 ? 16 : sources->capacity * 2;
            sources->rows = hub__realloc(sources->rows, sources->capacity * sizeof(*sources->rows));
        }
        sources->rows[sources->count++] = (hub__route_source_t){
            .prefix = prefix,
            .pattern = hub_str(channel->options.pattern),
            .has_priority = channel->options.has_priority,
            .priority = channel->options.priority,
            .target = channel,
        };
    }
    for (hub__include_t *include = hub->includes; include != NULL; include = include->next) {
        hub__buffer_t longer = {0};

        hub__buffer_append(&longer, prefix);
        hub__buffer_append(&longer, hub_str(include->prefix));
        sources->prefixes = hub__realloc(sources->prefixes,
                                         (sources->prefix_count + 1) * sizeof(*sources->prefixes));
        sources->prefixes[sources->prefix_count++] = longer;
        collect(include->sub, hub__buffer_str(&longer), sources);
    }
}

static hub_status_t check_params(const hub__router_t *router, hub_error_t *error)
{
    for (size_t i = 0; i != hub__router_count(router); ++i) {
        const hub__route_t *route = hub__router_at(router, i);
        const hub__channel_t *channel = route->target;
        const char *const *name = channel->options.params;
        const hub_int_param_t *row = channel->options.int_params;

        for (; name != NULL && *name != NULL; ++name)
            if (hub__pattern_param_index(route->pattern, hub_str(*name)) == SIZE_MAX)
                return hub_error_set(error, HUB_EINVAL, 0,
                                     "channel \"%.*s\" has no parameter \"%s\"",
                                     HUB_STR_ARG(hub__pattern_source(route->pattern)), *name);
        for (; row != NULL && row->name != NULL; ++row)
            if (hub__pattern_param_index(route->pattern, hub_str(row->name)) == SIZE_MAX)
                return hub_error_set(error, HUB_EINVAL, 0,
                                     "channel \"%.*s\" has no parameter \"%s\"",
                                     HUB_STR_ARG(hub__pattern_source(route->pattern)), row->name);
    }
    return HUB_OK;
}

static void inherit_hooks(hub_t *root, const hub_t *hub)
{
    for (unsigned i = 0; i != HUB_HOOK_COUNT; ++i)
        root->hooks_any[i] = root->hooks_any[i] || hub->hooks[i] != NULL;
    for (const hub__include_t *include = hub->includes; include != NULL; include = include->next)
        inherit_hooks(root, include->sub);
}

/* Whoever publishes to a topic must know whether its channel has an order. */
static hub_status_t check_order(hub_t *root, const hub__router_t *router, hub_error_t *error)
{
    for (size_t i = 0; i != hub__router_count(router); ++i) {
        const hub__route_t *route = hub__router_at(router, i);

        if (hub__channel_flags(route->target) == 0)
            continue;
        if (root->bus != NULL && !hub_bus_has_one_order(root->bus))
            return hub_error_set(error, HUB_EINVAL, 0,
                                 "channel \"%.*s\", order: the broker of the hub's bus has no one "
                                 "order of a topic",
                                 HUB_STR_ARG(hub__pattern_source(route->pattern)));
        if (root->bus != NULL)
            hub_bus_want_order(root->bus);
        if (root->order_scratch == NULL)
            root->order_scratch = hub__match_scratch_create();
    }
    return HUB_OK;
}

static hub_status_t compile(hub_t *root, hub_error_t *error)
{
    hub__sources_t sources = {0};
    hub__router_t *router = NULL;
    hub_status_t err;

    collect(root, (hub_str_t){0}, &sources);
    err = hub__router_create(sources.rows, sources.count, &router, error);
    if (err == HUB_OK && ((err = check_params(router, error)) != HUB_OK ||
                          (err = check_order(root, router, error)) != HUB_OK))
        hub__router_release(router);
    else if (err == HUB_OK)
        root->router = router;
    for (size_t i = 0; i != sources.prefix_count; ++i)
        hub__buffer_dispose(&sources.prefixes[i]);
    free(sources.prefixes);
    free(sources.rows);
    return err;
}

static hub_status_t start(hub_t *root, hub_error_t *error)
{
    hub_bus_options_t bus_options = {.name = root->name};
    hub_status_t err;

    if (root->parent != NULL)
        return hub_error_set(error, HUB_EBUSY, 0, "hub \"%s\" is included, its root is served",
                             root->name);
    if (atomic_load(&root->started))
        return HUB_OK;
    if ((err = compile(root, error)) != HUB_OK)
        return err;
    if (root->bus == NULL) {
        if ((err = hub_bus_create(&bus_options, &root->bus, error)) != HUB_OK)
            return err;
        root->owns_bus = true;
    } else {
        hub__buffer_t prefix = {0};

        hub__buffer_printf(&prefix, "%s/", root->name);
        root->bus_prefix = hub__buffer_str(&prefix);
    }
    root->pool = hub__pool_create(root->offload_threads, root->offload_queue);
    inherit_hooks(root, root);
    atomic_store(&root->started, true);
    return HUB_OK;
}

hub_status_t hub__start(hub_t *root, hub_error_t *error)
{
    hub_status_t err;

    /* several loops may mount one hub at the same time */
    pthread_mutex_lock(&root->lock);
    err = start(root, error);
    pthread_mutex_unlock(&root->lock);
    return err;
}

/* A place for a worker of somebody else's loop. Under the lock. */
static unsigned free_index(const hub_t *root)
{
    unsigned index = 0;

    while (index != HUB__WORKERS_MAX && root->workers[index] != NULL)
        ++index;
    return index;
}

/* Unless another of its hubs is on it. */
static void leave_bus(hub_t *root, hub__worker_t *worker)
{
    if (!hub__worker_has_bus(worker, root->bus))
        hub_bus_detach(root->bus, &worker->executor);
}

hub_status_t hub__worker_join(hub_t *root, hub__worker_t *worker)
{
    hub__held_t *held;
    hub_status_t err = HUB_OK;

    if (!hub__worker_has_bus(worker, root->bus))
        err = hub_bus_attach(root->bus, &worker->executor);
    if (err != HUB_OK)
        return err;
    held = hub__alloc_zeroed(sizeof(*held));
    pthread_mutex_lock(&root->lock);
    if (worker->mounted)
        worker->index = free_index(root);
    if (worker->index == HUB__WORKERS_MAX) {
        pthread_mutex_unlock(&root->lock);
        leave_bus(root, worker);
        free(held);
        return HUB_ELIMIT;
    }
    assert(root->workers[worker->index] == NULL);
    if (worker->generation < root->generations[worker->index])
        worker->generation = root->generations[worker->index];
    held->worker = hub__worker_retain(worker);
    held->next = root->held;
    root->held = held;
    root->workers[worker->index] = worker;
    ++root->worker_count;
    atomic_store(&root->serving, true);
    pthread_mutex_unlock(&root->lock);
    return HUB_OK;
}

void hub__worker_leave_hub(hub_t *root, hub__worker_t *worker)
{
    pthread_mutex_lock(&root->lock);
    root->workers[worker->index] = NULL;
    root->generations[worker->index] = worker->generation;
    if (--root->worker_count == 0)
        atomic_store(&root->serving, false);
    pthread_mutex_unlock(&root->lock);
    leave_bus(root, worker);
}

/* ---- publishing ---- */

/* The worker of the calling thread if it serves this hub, else any. Under the lock. */
static hub__worker_t *some_worker(hub_t *root)
{
    hub__worker_t *any = NULL;

    for (unsigned i = 0, seen = 0; seen != root->worker_count && i != HUB__WORKERS_MAX; ++i) {
        if (root->workers[i] == NULL)
            continue;
        if (hub__worker_is_here(root->workers[i]))
            return root->workers[i];
        any = root->workers[i];
        ++seen;
    }
    return any;
}

/* What a callback publishes to the topic that its member is joining reaches that member too, behind
 * the join reply. */
static void lift_joining(hub_t *root, hub_str_t topic)
{
    hub__worker_t *worker;
    hub_member_t *member;

    pthread_mutex_lock(&root->lock);
    worker = some_worker(root);
    pthread_mutex_unlock(&root->lock);
    if (worker == NULL || !hub__worker_is_here(worker) || (member = worker->joining) == NULL ||
        hub__root(hub_member_hub(member)) != root)
        return;
    topic.base += root->bus_prefix.len;
    topic.len -= root->bus_prefix.len;
    if (hub_str_equals(hub__member_name(member), topic))
        (void)hub__member_subscribe_early(member);
}

static bool has_params(const char *prefix)
{
    return strpbrk(prefix, "{}*") != NULL;
}

/* The topic as the bus knows it: under all include prefixes, and the hub's name on a bus that it
 * shares. */
hub_status_t hub__full_topic(hub_t *hub, hub_str_t topic, hub__buffer_t *buffer)
{
    const hub_t *chain[64];
    size_t depth = 0;
    hub_t *root = hub__root(hub);

    for (const hub_t *at = hub; at->parent != NULL; at = at->parent) {
        if (has_params(at->prefix) || depth == sizeof(chain) / sizeof(*chain))
            return HUB_EINVAL;
        chain[depth++] = at;
    }
    hub__buffer_append(buffer, root->bus_prefix);
    while (depth != 0)
        hub__buffer_append(buffer, hub_str(chain[--depth]->prefix));
    hub__buffer_append(buffer, topic);
    if (buffer->failed)
        return HUB_ENOMEM;
    return buffer->len == root->bus_prefix.len ? HUB_ETOPIC : HUB_OK;
}

/* Of what is published to a full topic, by its channel. */
static unsigned topic_flags(hub_t *root, hub_str_t topic)
{
    const hub__route_t *route;
    hub__captures_t captures;
    hub_status_t err;

    topic.base += root->bus_prefix.len;
    topic.len -= root->bus_prefix.len;
    if (root->order_scratch == NULL || !hub_utf8_valid(topic))
        return 0;
    pthread_mutex_lock(&root->order_lock);
    err = hub__router_match(root->router, topic, root->order_scratch, &route, &captures);
    pthread_mutex_unlock(&root->order_lock);
    return err == HUB_OK ? hub__channel_flags(route->target) : 0;
}

static hub_status_t make_message(hub_t *hub, hub_str_t topic, hub_str_t event,
                                 hub_payload_t payload, hub_message_t **ret_message)
{
    hub_message_options_t options = {.max_depth = HUB_JSON_DEPTH_MAX};
    hub__buffer_t full = {.fallible = true};
    hub_error_t error;
    hub_status_t err;

    if (!atomic_load(&hub__root(hub)->serving))
        return HUB_ECLOSED;
    if ((err = hub__full_topic(hub, topic, &full)) == HUB_OK) {
        options.flags = topic_flags(hub__root(hub), hub__buffer_str(&full));
        err = hub_message_create(hub__buffer_str(&full), event, payload, &options, ret_message,
                                 &error);
        if (err != HUB_OK)
            hub_log_peer(HUB_LOG_WARN, "hub.publish", "error=\"%s\" offset=%zu", error.text,
                         error.offset);
    }
    hub__buffer_dispose(&full);
    return err;
}

hub_status_t hub_publish(hub_t *hub, hub_str_t topic, hub_str_t event, hub_payload_t payload)
{
    hub_message_t *msg;
    hub_status_t err = make_message(hub, topic, event, payload, &msg);

    if (err != HUB_OK)
        return err;
    lift_joining(hub__root(hub), msg->topic);
    err = hub_bus_publish(hub__root(hub)->bus, msg, NULL);
    hub_message_release(msg);
    return err;
}

hub_status_t hub_emit(hub_t *hub, hub_str_t topic, hub_str_t event, hub_payload_t payload)
{
    hub_message_t *msg;
    hub_status_t err = make_message(hub, topic, event, payload, &msg);

    if (err != HUB_OK)
        return err;
    lift_joining(hub__root(hub), msg->topic);
    err = hub_bus_emit(hub__root(hub)->bus, msg, NULL);
    hub_message_release(msg);
    return err;
}

hub_status_t hub_publish_counted(hub_t *hub, hub_str_t topic, hub_str_t event,
                                 hub_payload_t payload, hub_on_published_cb on_published,
                                 void *user)
{
    hub_bus_publish_options_t options = {.on_published = on_published, .user = user};
    hub_t *root = hub__root(hub);
    hub__worker_t *worker;
    hub_message_t *msg;
    hub_status_t err = make_message(hub, topic, event, payload, &msg);

    if (err != HUB_OK)
        return err;
    pthread_mutex_lock(&root->lock);
    worker = some_worker(root);
    pthread_mutex_unlock(&root->lock);
    if (worker == NULL) {
        err = HUB_ECLOSED;
    } else {
        options.executor = &worker->executor;
        lift_joining(root, msg->topic);
        err = hub_bus_publish(root->bus, msg, &options);
    }
    hub_message_release(msg);
    return err;
}

/* ---- the short form ---- */

void hub__set_server(hub_t *root, hub_server_t *server)
{
    pthread_mutex_lock(&root->lock);
    root->server = server;
    pthread_mutex_unlock(&root->lock);
}

void hub_stop(hub_t *hub)
{
    hub_t *root = hub__root(hub);

    /* under the lock, so that the server can't be destroyed meanwhile */
    pthread_mutex_lock(&root->lock);
    if (root->server != NULL)
        hub_server_stop(root->server);
    pthread_mutex_unlock(&root->lock);
}

hub_status_t hub_run(hub_t *hub, const char *address)
{
    hub_server_t *server = NULL;
    hub_status_t err = hub_server_create(NULL, &server);

    if (err == HUB_OK)
        err = hub_server_mount(server, hub, NULL);
    if (err == HUB_OK)
        err = hub_server_listen(server, address);
    if (err == HUB_OK)
        err = hub_server_run(server);
    hub_server_destroy(server);
    return err;
}
