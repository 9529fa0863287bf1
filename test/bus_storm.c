/* SPDX-License-Identifier: MIT */
/* Some threads only publish; on others loops run, with mailboxes that are too small, where watchers
 * come and go between the loop's own publishes and emits. Every message carries who published it
 * and its number for that publisher and topic. A watcher knows what it may hear next:
 *
 * - the numbers of one publisher rise; where one is left out, a gap was told since the last
 * - what the gaps say was missed is at least what was left out
 * - nothing after it was unsubscribed or closed, which it is once
 *
 * and each completion asked for comes exactly once. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/bus_storm.h"
#include "test/executor.h"

#define PLAIN_THREADS 4
#define LOOPS 3
#define PUBLISHERS (PLAIN_THREADS + LOOPS)
#define TOPICS 4
#define WATCHERS 6
#define PLAIN_STEPS 3000
#define LOOP_STEPS 2000
#define MAILBOX 24
#define COMPLETIONS (2 * (PLAIN_THREADS * PLAIN_STEPS + LOOPS * LOOP_STEPS))

struct said {
    uint32_t publisher;
    uint32_t number;
};

struct storm;
struct speaker;

struct watcher {
    struct storm *storm;
    struct speaker *speaker; /* of its loop, who may answer; NULL without executor */
    pthread_mutex_t lock;    /* without executor many threads call it */
    hub_bus_sub_t *sub;
    struct watcher **place; /* freed and set to NULL at its end */
    bool over;
    uint32_t last[PUBLISHERS];
    uint64_t gaps_at[PUBLISHERS]; /* when `last` came */
    uint64_t gaps;
    uint64_t told;
    uint64_t left_out;
    unsigned random;
};

struct speaker {
    struct storm *storm;
    uint32_t publisher;
    unsigned random;
    uint32_t numbers[TOPICS];
    unsigned steps;
};

struct loop {
    test_executor_t executor;
    hub_task_t task;
    struct speaker speaker;
    struct watcher *watchers[WATCHERS];
};

struct storm {
    hub_bus_t *bus;
    struct loop loops[LOOPS];
    struct speaker speakers[PLAIN_THREADS];
    struct watcher *everywhere[TOPICS]; /* without executor */
    atomic_uint running;
    atomic_uint asked;
    atomic_uint completed;
    atomic_uint heard;
    atomic_uint gaps;
    _Atomic(const char *) broken;
    atomic_uchar completions[COMPLETIONS]; /* calls of each */
};

struct asked {
    struct storm *storm;
    unsigned index;
};

static unsigned roll(unsigned *random, unsigned below)
{
    *random = *random * 1103515245U + 12345U;
    return (*random >> 16) % below;
}

static void demand(struct storm *storm, bool holds, const char *promise)
{
    const char *none = NULL;

    if (!holds)
        atomic_compare_exchange_strong(&storm->broken, &none, promise);
}

static hub_str_t topic_of(unsigned index)
{
    static const char *const names[TOPICS] = {"room:1", "room:2", "room:3", "room:4"};

    return hub_str(names[index]);
}

/* ---- speaking ---- */

static void on_published(const hub_publish_result_t *result, void *user)
{
    struct asked *asked = user;

    demand(asked->storm, result->status == HUB_OK, "a completion that failed");
    atomic_fetch_add(&asked->storm->completions[asked->index], 1);
    atomic_fetch_add(&asked->storm->completed, 1);
    free(asked);
}

static hub_bus_publish_options_t ask(struct speaker *speaker)
{
    struct storm *storm = speaker->storm;
    struct asked *asked = malloc(sizeof(*asked));

    *asked = (struct asked){.storm = storm, .index = atomic_fetch_add(&storm->asked, 1)};
    if (asked->index >= COMPLETIONS)
        abort();
    return (hub_bus_publish_options_t){
        .on_published = on_published,
        .user = asked,
        .executor = &storm->loops[roll(&speaker->random, LOOPS)].executor.base,
    };
}

static void speak(struct speaker *speaker)
{
    struct storm *storm = speaker->storm;
    unsigned topic = roll(&speaker->random, TOPICS);
    struct said said = {.publisher = speaker->publisher, .number = ++speaker->numbers[topic]};
    hub_bus_publish_options_t options = {0};
    hub_message_t *msg = NULL;
    hub_status_t err = hub_message_create(topic_of(topic), HUB_STR("said"),
                                          hub_binary(&said, sizeof(said)), NULL, &msg, NULL);

    if (roll(&speaker->random, 8) == 0)
        options = ask(speaker);
    if (err == HUB_OK && roll(&speaker->random, 2) == 0)
        err = hub_bus_emit(storm->bus, msg, &options);
    else if (err == HUB_OK)
        err = hub_bus_publish(storm->bus, msg, &options);
    demand(storm, err == HUB_OK, "publish failed");
    hub_message_release(msg);
}

/* ---- watching ---- */

static void check_number(struct watcher *watcher, const struct said *said)
{
    uint32_t last = watcher->last[said->publisher];
    struct storm *storm = watcher->storm;

    if (last != 0) {
        demand(storm, said->number > last, "doubled or out of order");
        demand(storm, said->number == last + 1 || watcher->gaps > watcher->gaps_at[said->publisher],
               "left out without a gap");
        watcher->left_out += said->number - last - 1;
        demand(storm, watcher->left_out <= watcher->told, "more left out than told");
    }
    watcher->last[said->publisher] = said->number;
    watcher->gaps_at[said->publisher] = watcher->gaps;
}

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    struct watcher *watcher = user;
    struct said said;
    bool fail, answer;

    (void)sub;
    memcpy(&said, msg->payload.bytes.base, sizeof(said));
    pthread_mutex_lock(&watcher->lock);
    demand(watcher->storm, !watcher->over, "called after its end");
    check_number(watcher, &said);
    fail = watcher->speaker != NULL && roll(&watcher->random, 500) == 0;
    answer = watcher->speaker != NULL && roll(&watcher->random, 40) == 0;
    pthread_mutex_unlock(&watcher->lock);
    atomic_fetch_add(&watcher->storm->heard, 1);
    if (ack != NULL)
        hub_bus_ack_add(ack, &(hub_publish_counts_t){.queued = 1});
    if (answer)
        speak(watcher->speaker);
    return fail ? HUB_EINTERNAL : HUB_OK;
}

static void on_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    struct watcher *watcher = user;

    (void)sub;
    demand(watcher->storm, !watcher->over, "a gap after its end");
    demand(watcher->storm, reason == HUB_GAP_MAILBOX, "a gap that nothing can have caused");
    watcher->gaps++;
    watcher->told += missed;
    atomic_fetch_add(&watcher->storm->gaps, 1);
}

static void watcher_free(struct watcher *watcher)
{
    if (watcher->place != NULL)
        *watcher->place = NULL;
    pthread_mutex_destroy(&watcher->lock);
    free(watcher);
}

static void on_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    struct watcher *watcher = user;

    (void)sub;
    demand(watcher->storm, why == HUB_EINTERNAL && !watcher->over, "closed twice, or for nothing");
    watcher->over = true;
    watcher_free(watcher);
}

static struct watcher *watch(struct storm *storm, unsigned topic, struct loop *loop,
                             struct watcher **place)
{
    struct watcher *watcher = calloc(1, sizeof(*watcher));
    hub_executor_t *executor = loop == NULL ? NULL : &loop->executor.base;
    hub_bus_sub_options_t options = {.on_message = on_message,
                                     .on_gap = on_gap,
                                     .on_close = on_close,
                                     .executor = executor,
                                     .user = watcher};

    watcher->storm = storm;
    watcher->place = place;
    watcher->speaker = loop == NULL ? NULL : &loop->speaker;
    watcher->random = loop == NULL ? 0 : loop->speaker.random;
    pthread_mutex_init(&watcher->lock, NULL);
    demand(storm, hub_bus_subscribe(storm->bus, topic_of(topic), &options, &watcher->sub) == HUB_OK,
           "subscribe failed");
    return watcher;
}

/* On the watcher's thread, so nothing may call it from here on: what is freed would show. */
static void unwatch(struct watcher *watcher)
{
    hub_bus_unsubscribe(watcher->sub);
    watcher->over = true;
    watcher_free(watcher);
}

/* ---- threads ---- */

static void *run_speaker(void *arg)
{
    struct speaker *speaker = arg;

    while (speaker->steps-- > 0)
        speak(speaker);
    atomic_fetch_sub(&speaker->storm->running, 1);
    return NULL;
}

/* ---- loops ---- */

static void change_watchers(struct loop *loop)
{
    struct speaker *speaker = &loop->speaker;
    struct watcher **place = &loop->watchers[roll(&speaker->random, WATCHERS)];

    if (*place != NULL)
        unwatch(*place);
    else
        *place = watch(speaker->storm, roll(&speaker->random, TOPICS), loop, place);
}

static void run_step(hub_task_t *task)
{
    struct loop *loop = (struct loop *)(void *)((char *)task - offsetof(struct loop, task));
    struct speaker *speaker = &loop->speaker;

    if (roll(&speaker->random, 4) == 0)
        change_watchers(loop);
    else
        speak(speaker);
    if (--speaker->steps > 0)
        loop->executor.base.post(&loop->executor.base, task, true);
    else
        atomic_fetch_sub(&speaker->storm->running, 1);
}

static void attach(void *arg)
{
    struct loop *loop = arg;

    demand(loop->speaker.storm,
           hub_bus_attach(loop->speaker.storm->bus, &loop->executor.base) == HUB_OK,
           "attach failed");
}

static void detach(void *arg)
{
    struct loop *loop = arg;

    for (unsigned i = 0; i < WATCHERS; i++) {
        if (loop->watchers[i] != NULL)
            unwatch(loop->watchers[i]);
    }
    hub_bus_detach(loop->speaker.storm->bus, &loop->executor.base);
}

static bool has_passed(void *arg)
{
    struct storm *storm = arg;

    return atomic_load(&storm->running) == 0 &&
           atomic_load(&storm->asked) == atomic_load(&storm->completed);
}

/* ---- the storm ---- */

static unsigned choose_seed(void)
{
    const char *given = getenv("SOCKETHUB_SEED");

    return given == NULL ? (unsigned)getpid() * 2654435761U : (unsigned)strtoul(given, NULL, 10);
}

static void start_storm(struct storm *storm, pthread_t *threads, unsigned seed)
{
    for (unsigned i = 0; i < TOPICS; i++)
        storm->everywhere[i] = watch(storm, i, NULL, NULL);
    for (unsigned i = 0; i < LOOPS; i++) {
        struct loop *loop = &storm->loops[i];

        loop->speaker = (struct speaker){.storm = storm,
                                         .publisher = PLAIN_THREADS + i,
                                         .random = seed + 100 + i,
                                         .steps = LOOP_STEPS};
        loop->task = (hub_task_t){.run = run_step, .discard = run_step};
        test_executor_start(&loop->executor, MAILBOX);
        test_executor_call(&loop->executor, attach, loop);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        storm->loops[i].executor.base.post(&storm->loops[i].executor.base, &storm->loops[i].task,
                                           true);
    for (unsigned i = 0; i < PLAIN_THREADS; i++) {
        storm->speakers[i] = (struct speaker){
            .storm = storm, .publisher = i, .random = seed + i, .steps = PLAIN_STEPS};
        if (pthread_create(&threads[i], NULL, run_speaker, &storm->speakers[i]) != 0)
            abort();
    }
}

static void end_storm(struct storm *storm, pthread_t *threads)
{
    test_executor_t waiting;

    for (unsigned i = 0; i < PLAIN_THREADS; i++)
        pthread_join(threads[i], NULL);
    test_executor_init(&waiting, 0);
    demand(storm, test_executor_run_until(&waiting, has_passed, storm), "a completion never came");
    for (unsigned i = 0; i < LOOPS; i++)
        test_executor_call(&storm->loops[i].executor, detach, &storm->loops[i]);
    /* a watcher may have answered meanwhile, and nobody is left to answer now */
    demand(storm, test_executor_run_until(&waiting, has_passed, storm), "a completion never came");
    test_executor_end(&waiting);
    for (unsigned i = 0; i < LOOPS; i++)
        test_executor_stop(&storm->loops[i].executor);
    for (unsigned i = 0; i < TOPICS; i++)
        unwatch(storm->everywhere[i]);
    for (unsigned i = 0; i < atomic_load(&storm->asked); i++)
        demand(storm, atomic_load(&storm->completions[i]) == 1, "a completion came twice");
}

void bus_storm_run(hub_bus_t *bus)
{
    struct storm *storm = calloc(1, sizeof(*storm));
    pthread_t threads[PLAIN_THREADS];
    unsigned seed = choose_seed();
    const char *broken;
    hub_bus_stats_t stats;

    storm->bus = bus;
    atomic_store(&storm->running, PUBLISHERS);
    start_storm(storm, threads, seed);
    end_storm(storm, threads);
    hub_bus_get_stats(bus, &stats);
    broken = atomic_load(&storm->broken);
    print_message("seed %u: heard %u, gaps %u, completions %u\n", seed, atomic_load(&storm->heard),
                  atomic_load(&storm->gaps), atomic_load(&storm->completed));
    assert_true(atomic_load(&storm->heard) > 0);
    assert_int_equal(stats.topics, 0);
    assert_int_equal(stats.subscriptions, 0);
    free(storm);
    if (broken != NULL)
        fail_msg("seed %u: %s", seed, broken);
}
