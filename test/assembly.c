/* SPDX-License-Identifier: MIT */
/* The world of trackers as the tests make it. */
#include "test/assembly.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#define START_MS 1000000
#define LARGEST_BYTES 2000

/* A question's answer is owed as long as somebody holds this. */
typedef struct promise {
    unsigned holds;
    hub__query_t *query;
    int asker;
    bool reached;
    uint64_t epoch; /* of the asker */
} promise_t;

typedef struct letter {
    struct letter *next;
    int topic;             /* -1: to all */
    unsigned subscription; /* that was there when it was posted */
    uint64_t owner;
    hub__replica_kind_t kind;
    char *payload;
    promise_t *promise;
    bool gap, answer;
} letter_t;

typedef struct node {
    hub__tracker_t *tracker;
    hub__wheel_t *wheel;
    hub_stats_t stats;
    hub__venue_t *venues[ASSEMBLY_TOPICS]; /* subscribed */
    unsigned subscriptions[ASSEMBLY_TOPICS];
    attendee_t attendees[ASSEMBLY_GUESTS];
    int process;
    uint64_t epoch;
    size_t refusals;
    uint64_t skew_us;
    bool listens; /* to what is for all */
    bool alive, frozen, refused, isolated, cut, scheduled;
    assembly_t *assembly;
} node_t;

struct assembly {
    node_t nodes[ASSEMBLY_NODES];
    int count;
    uint64_t now_ms, wall_us, owners;
    hub_presence_options_t options;
    bool hurries;
    letter_t *queues[ASSEMBLY_NODES][ASSEMBLY_NODES]; /* from, to */
    size_t delivered;
    int acting; /* whose code runs */
};

static const char *const topics[ASSEMBLY_TOPICS] = {"room:a", "room:b", "room:c"};

static node_t *node_of(const hub__tracker_t *tracker)
{
    return tracker->user;
}

static int index_of(const node_t *node)
{
    return (int)(node - node->assembly->nodes);
}

static int topic_of(const hub__venue_t *venue)
{
    int topic = 0;

    while (!hub_str_equals(hub_str(topics[topic]), hub__venue_topic(venue)))
        topic++;
    return topic;
}

/* ---- letters ---- */

static letter_t *post(assembly_t *assembly, int from, int to)
{
    letter_t *letter = calloc(1, sizeof(*letter)), **last = &assembly->queues[from][to];

    assert_non_null(letter);
    while (*last != NULL)
        last = &(*last)->next;
    *last = letter;
    return letter;
}

static void release_promise(assembly_t *assembly, promise_t *promise)
{
    letter_t *letter;

    if (promise == NULL || --promise->holds != 0)
        return;
    letter = post(assembly, assembly->acting, promise->asker);
    letter->answer = true;
    letter->promise = promise;
}

static hub_status_t io_publish(hub__tracker_t *tracker, hub__venue_t *venue,
                               hub__replica_kind_t kind, hub_str_t payload, hub__query_t *query)
{
    node_t *self = node_of(tracker);
    assembly_t *assembly = self->assembly;
    int topic = venue == NULL ? -1 : topic_of(venue);
    promise_t *promise = NULL;

    if (self->refused || self->cut) {
        self->refusals += kind != HUB__REPLICA_BEAT;
        return self->refused ? HUB_ELIMIT : HUB_EBUSDOWN;
    }
    if (payload.len > LARGEST_BYTES)
        return HUB_ETOOLARGE;
    if (query != NULL) {
        promise = calloc(1, sizeof(*promise));
        assert_non_null(promise);
        *promise =
            (promise_t){.holds = 1, .query = query, .asker = index_of(self), .epoch = self->epoch};
        promise->reached = !self->isolated;
    }
    for (int i = 0; i < assembly->count; i++) {
        node_t *other = &assembly->nodes[i];
        letter_t *letter;

        if (other == self || !other->alive || other->cut ||
            (self->isolated && other->process != self->process) ||
            (topic < 0 ? !other->listens : other->venues[topic] == NULL))
            continue;
        letter = post(assembly, index_of(self), i);
        letter->topic = topic;
        letter->subscription = topic < 0 ? 0 : other->subscriptions[topic];
        letter->owner = tracker->owner;
        letter->kind = kind;
        letter->payload = calloc(1, payload.len + 1);
        assert_non_null(letter->payload);
        memcpy(letter->payload, payload.base, payload.len);
        if (promise != NULL && other->process == self->process) {
            letter->promise = promise;
            promise->holds++;
        }
    }
    release_promise(assembly, promise);
    return HUB_OK;
}

static hub_status_t io_subscribe(hub__tracker_t *tracker, hub__venue_t *venue)
{
    node_t *self = node_of(tracker);

    if (venue == NULL)
        self->listens = true;
    else
        self->venues[topic_of(venue)] = venue;
    if (venue != NULL)
        self->subscriptions[topic_of(venue)]++;
    return HUB_OK;
}

static void io_unsubscribe(hub__tracker_t *tracker, hub__venue_t *venue)
{
    node_t *self = node_of(tracker);

    if (venue == NULL)
        self->listens = false;
    else
        self->venues[topic_of(venue)] = NULL;
}

static void *io_retain_ack(void *ack)
{
    ((promise_t *)ack)->holds++;
    return ack;
}

/* Which assembly it is in is known by whose code runs; there is one at a time. */
static assembly_t *current;

static void io_release_ack(void *ack)
{
    release_promise(current, ack);
}

static bool io_hears(hub__tracker_t *tracker)
{
    return !node_of(tracker)->cut;
}

/* ---- what members are told ---- */

static json_t *view_of_state(const json_t *state)
{
    json_t *view = json_object();
    const char *key;
    json_t *presence;

    json_object_foreach((json_t *)(uintptr_t)state, key, presence)
    {
        json_t *metas = json_object(), *meta;
        size_t i;

        json_array_foreach(json_object_get(presence, "metas"), i, meta)
            json_object_set(metas, json_string_value(json_object_get(meta, "phx_ref")), meta);
        assert_int_equal(json_object_size(metas),
                         json_array_size(json_object_get(presence, "metas")));
        assert_true(json_object_size(metas) > 0);
        json_object_set_new(view, key, metas);
    }
    return view;
}

static void apply_diff(json_t *view, const json_t *diff)
{
    const char *key, *ref;
    json_t *joins = view_of_state(json_object_get(diff, "joins"));
    json_t *leaves = view_of_state(json_object_get(diff, "leaves"));
    json_t *metas, *meta;

    json_object_foreach(joins, key, metas)
    {
        if (json_object_get(view, key) == NULL)
            json_object_set_new(view, key, json_object());
        json_object_foreach(metas, ref, meta)
        {
            if (json_object_get(json_object_get(view, key), ref) != NULL)
                fail_msg("%s joins %s a second time", ref, key);
            json_object_set(json_object_get(view, key), ref, meta);
        }
    }
    json_object_foreach(leaves, key, metas)
    {
        json_object_foreach(metas, ref, meta)
        {
            if (json_object_del(json_object_get(view, key), ref) != 0)
                fail_msg("%s leaves %s and was not there", ref, key);
        }
        if (json_object_size(json_object_get(view, key)) == 0)
            json_object_del(view, key);
    }
    json_decref(joins);
    json_decref(leaves);
}

static json_t *parse(hub_str_t payload)
{
    json_error_t error;
    json_t *value = json_loadb(payload.base, payload.len, JSON_REJECT_DUPLICATES, &error);

    if (value == NULL)
        fail_msg("no JSON: %s: %.*s", error.text, HUB_STR_ARG(payload));
    return value;
}

static void io_tell(hub__tracker_t *tracker, hub__venue_t *venue, hub_str_t event,
                    hub_str_t payload)
{
    node_t *self = node_of(tracker);
    json_t *value = parse(payload);

    for (int i = 0; i < ASSEMBLY_GUESTS; i++) {
        attendee_t *attendee = &self->attendees[i];

        if (!attendee->present || attendee->attendance.venue != venue || attendee->view == NULL)
            continue;
        if (hub_str_equals(event, HUB_STR("presence_diff"))) {
            apply_diff(attendee->view, value);
            continue;
        }
        json_decref(attendee->view);
        attendee->view = view_of_state(value);
    }
    json_decref(value);
}

static void io_tell_state(hub__tracker_t *tracker, hub__venue_t *venue, hub_str_t payload)
{
    json_t *value = parse(payload);

    (void)tracker;
    while (venue->wishes != NULL) {
        attendee_t *attendee = (attendee_t *)venue->wishes;

        hub__attendance_unwish(venue->wishes);
        json_decref(attendee->view);
        attendee->view = view_of_state(value);
    }
    json_decref(value);
}

/* ---- time ---- */

static void io_schedule(hub__tracker_t *tracker)
{
    node_of(tracker)->scheduled = true;
}

static bool io_is_late(hub__tracker_t *tracker)
{
    return node_of(tracker)->assembly->hurries;
}

static void io_timer_arm(hub__tracker_t *tracker, hub__timer_t *timer, uint64_t due_ms)
{
    hub__timer_arm(node_of(tracker)->wheel, timer, due_ms);
}

static void io_timer_disarm(hub__tracker_t *tracker, hub__timer_t *timer)
{
    hub__timer_disarm(node_of(tracker)->wheel, timer);
}

static uint64_t io_wall_us(hub__tracker_t *tracker)
{
    return ++node_of(tracker)->assembly->wall_us + node_of(tracker)->skew_us;
}

static const hub__tracker_io_t io = {
    .publish = io_publish,
    .subscribe = io_subscribe,
    .unsubscribe = io_unsubscribe,
    .hears = io_hears,
    .tell = io_tell,
    .tell_state = io_tell_state,
    .schedule = io_schedule,
    .is_late = io_is_late,
    .timer_arm = io_timer_arm,
    .timer_disarm = io_timer_disarm,
    .wall_us = io_wall_us,
    .retain_ack = io_retain_ack,
    .release_ack = io_release_ack,
};

/* ---- life ---- */

void assembly_revive(assembly_t *assembly, int index)
{
    node_t *self = &assembly->nodes[index];
    hub__tracker_options_t options = {
        .io = &io,
        .user = self,
        .now_ms = &assembly->now_ms,
        .stats = &self->stats,
        .owner = ++assembly->owners,
        .beat_ms = ASSEMBLY_BEAT_MS,
        .largest_bytes = LARGEST_BYTES,
        .remote = true,
    };

    self->assembly = assembly;
    self->wheel = hub__wheel_create(assembly->now_ms);
    self->tracker = hub__tracker_create(&options);
    self->epoch++;
    self->alive = true;
    self->frozen = self->refused = self->isolated = self->cut = self->scheduled = false;
}

assembly_t *assembly_create(int count, int per_process, const hub_presence_options_t *options)
{
    assembly_t *assembly = calloc(1, sizeof(*assembly));

    assert_non_null(assembly);
    current = assembly;
    assembly->count = count;
    assembly->now_ms = START_MS;
    if (options != NULL)
        assembly->options = *options;
    assert_int_equal(hub__presence_options_resolve(&assembly->options, NULL), HUB_OK);
    for (int i = 0; i < count; i++) {
        assembly->nodes[i].process = i / per_process;
        assembly_revive(assembly, i);
    }
    return assembly;
}

static void free_letter(letter_t *letter)
{
    free(letter->payload);
    free(letter);
}

static void end_node(node_t *self)
{
    if (!self->alive)
        return;
    self->assembly->acting = index_of(self);
    for (int i = 0; i < ASSEMBLY_GUESTS; i++)
        if (self->attendees[i].present)
            assembly_go(self->assembly, &self->attendees[i], false);
    hub__tracker_close(self->tracker);
    hub__tracker_destroy(self->tracker);
    hub__wheel_destroy(self->wheel);
    self->alive = self->listens = false;
}

static void drop_letters(assembly_t *assembly, int from, int to)
{
    while (assembly->queues[from][to] != NULL) {
        letter_t *letter = assembly->queues[from][to];

        assembly->queues[from][to] = letter->next;
        assembly->acting = to;
        if (letter->answer)
            free(letter->promise);
        else
            release_promise(assembly, letter->promise);
        free_letter(letter);
    }
}

void assembly_destroy(assembly_t *assembly)
{
    for (int i = 0; i < assembly->count; i++)
        end_node(&assembly->nodes[i]);
    for (int round = 0; round < 2; round++) /* promises come back as letters */
        for (int i = 0; i < assembly->count; i++)
            for (int j = 0; j < assembly->count; j++)
                drop_letters(assembly, i, j);
    free(assembly);
}

/* Nothing of it gets out: what its ending says is dropped. */
static void silence(assembly_t *assembly, node_t *self)
{
    int index = index_of(self);

    hub__tracker_t *tracker = self->tracker;

    tracker->stopped = true; /* no farewell */
    hub__timer_disarm(self->wheel, &tracker->beat);
    end_node(self);
    for (int i = 0; i < assembly->count; i++) {
        drop_letters(assembly, index, i);
        drop_letters(assembly, i, index);
    }
}

void assembly_kill(assembly_t *assembly, int node)
{
    for (int i = 0; i < assembly->count; i++)
        if (assembly->nodes[i].process == assembly->nodes[node].process && assembly->nodes[i].alive)
            silence(assembly, &assembly->nodes[i]);
}

void assembly_stop(assembly_t *assembly, int node)
{
    int process = assembly->nodes[node].process;

    for (int i = 0; i < assembly->count; i++)
        if (assembly->nodes[i].process == process && assembly->nodes[i].alive) {
            assembly->acting = i;
            hub__tracker_stop(assembly->nodes[i].tracker);
            end_node(&assembly->nodes[i]);
            for (int j = 0; j < assembly->count; j++)
                drop_letters(assembly, j, i);
        }
}

void assembly_freeze(assembly_t *assembly, int node, bool frozen)
{
    assembly->nodes[node].frozen = frozen;
}

void assembly_refuse(assembly_t *assembly, int node, bool refused)
{
    assembly->nodes[node].refused = refused;
}

void assembly_isolate(assembly_t *assembly, int node, bool isolated)
{
    assembly->nodes[node].isolated = isolated;
}

/* What was on its way to `self` will be missed there, what was on its way from it elsewhere. */
static void lose_letters(assembly_t *assembly, node_t *self)
{
    int index = index_of(self);

    for (int i = 0; i < assembly->count; i++) {
        if (assembly->nodes[i].process == self->process)
            continue;
        drop_letters(assembly, i, index);
        for (letter_t *letter = assembly->queues[index][i]; letter != NULL; letter = letter->next)
            letter->gap = letter->gap || letter->topic >= 0;
    }
}

void assembly_cut(assembly_t *assembly, int node, bool cut)
{
    for (int i = 0; i < assembly->count; i++) {
        node_t *self = &assembly->nodes[i];

        if (self->process != assembly->nodes[node].process || !self->alive || self->cut == cut)
            continue;
        self->cut = cut;
        if (cut)
            lose_letters(assembly, self);
        assembly->acting = i;
        for (int topic = 0; topic < ASSEMBLY_TOPICS; topic++)
            if (!cut && self->venues[topic] != NULL)
                hub__tracker_gap(self->venues[topic]);
    }
}

bool assembly_is_cut(const assembly_t *assembly, int node)
{
    return assembly->nodes[node].cut;
}

bool assembly_is_alive(const assembly_t *assembly, int node)
{
    return assembly->nodes[node].alive;
}

/* ---- members ---- */

attendee_t *assembly_come(assembly_t *assembly, int node, int topic, bool wants_state)
{
    node_t *self = &assembly->nodes[node];
    attendee_t *attendee = self->attendees;
    hub__venue_t *venue;

    while (attendee != self->attendees + ASSEMBLY_GUESTS && attendee->present)
        attendee++;
    if (!self->alive || self->frozen || attendee == self->attendees + ASSEMBLY_GUESTS)
        return NULL;
    assembly->acting = node;
    venue = hub__tracker_venue(self->tracker, hub_str(topics[topic]), &assembly->options);
    assert_non_null(venue);
    *attendee = (attendee_t){.present = true, .topic = topic};
    hub__attendance_begin(&attendee->attendance, venue);
    if (wants_state)
        hub__attendance_wish(&attendee->attendance);
    return attendee;
}

void assembly_go(assembly_t *assembly, attendee_t *attendee, bool may_return)
{
    assembly->acting = index_of(node_of(attendee->attendance.venue->tracker));
    hub__attendance_end(&attendee->attendance, may_return);
    json_decref(attendee->view);
    attendee->present = false;
}

attendee_t *assembly_anybody(assembly_t *assembly, uint64_t draw)
{
    attendee_t *found = NULL;
    uint64_t seen = 0;

    for (int i = 0; i < assembly->count; i++)
        for (int j = 0; j < ASSEMBLY_GUESTS; j++)
            if (assembly->nodes[i].alive && !assembly->nodes[i].frozen &&
                assembly->nodes[i].attendees[j].present)
                seen++;
    if (seen == 0)
        return NULL;
    draw %= seen;
    for (int i = 0; i < assembly->count; i++)
        for (int j = 0; j < ASSEMBLY_GUESTS; j++)
            if (assembly->nodes[i].alive && !assembly->nodes[i].frozen &&
                assembly->nodes[i].attendees[j].present && draw-- == 0)
                found = &assembly->nodes[i].attendees[j];
    assembly->acting = index_of(node_of(found->attendance.venue->tracker));
    return found;
}

/* ---- what moves ---- */

void assembly_hurry(assembly_t *assembly, bool hurries)
{
    assembly->hurries = hurries;
}

bool assembly_turn(assembly_t *assembly, int node)
{
    node_t *self = &assembly->nodes[node];

    if (!self->alive || self->frozen || !self->scheduled)
        return false;
    assembly->acting = node;
    self->scheduled = false;
    hub__tracker_settle(self->tracker);
    return true;
}

void assembly_skew(assembly_t *assembly, int node, uint64_t hours)
{
    assembly->nodes[node].skew_us = hours * 3600 * 1000000;
}

void assembly_pass(assembly_t *assembly, uint64_t ms)
{
    assembly->now_ms += ms;
    assembly->wall_us += ms * 1000;
    for (int i = 0; i < assembly->count; i++)
        if (assembly->nodes[i].alive && !assembly->nodes[i].frozen) {
            assembly->acting = i;
            hub__wheel_run(assembly->nodes[i].wheel, assembly->now_ms);
        }
}

static void read_letter(assembly_t *assembly, node_t *to, const letter_t *letter)
{
    hub__venue_t *venue =
        letter->topic < 0 || to->subscriptions[letter->topic] != letter->subscription
            ? NULL
            : to->venues[letter->topic];

    if (letter->gap && venue != NULL)
        hub__tracker_gap(venue);
    else if (!letter->gap && (letter->topic < 0 ? to->listens : venue != NULL))
        hub__tracker_receive(to->tracker, venue, letter->owner, hub__replica_event(letter->kind),
                             hub_str(letter->payload), letter->promise);
    assembly->delivered += letter->kind != HUB__REPLICA_BEAT;
}

bool assembly_deliver(assembly_t *assembly, uint64_t draw, bool lose)
{
    size_t places = (size_t)(assembly->count * assembly->count);

    for (size_t i = 0; i < places; i++) {
        size_t place = (size_t)(draw + i) % places;
        int from = (int)(place / (size_t)assembly->count);
        int index = (int)(place % (size_t)assembly->count);
        letter_t *letter = assembly->queues[from][index];
        node_t *to = &assembly->nodes[index];

        if (letter == NULL || to->frozen)
            continue;
        if (lose && !letter->answer && !letter->gap && letter->topic >= 0) {
            letter->gap = true; /* next time it tells that something was there */
            assembly->acting = index;
            release_promise(assembly, letter->promise);
            letter->promise = NULL;
            return true;
        }
        assembly->queues[from][index] = letter->next;
        assembly->acting = index;
        if (letter->answer) {
            if (to->alive && to->epoch == letter->promise->epoch)
                hub__query_answered(letter->promise->query, letter->promise->reached);
            free(letter->promise);
        } else {
            if (to->alive)
                read_letter(assembly, to, letter);
            release_promise(assembly, letter->promise);
        }
        free_letter(letter);
        return true;
    }
    return false;
}

bool assembly_vanish(assembly_t *assembly, int from, int to)
{
    letter_t *letter = assembly->queues[from][to];

    if (letter == NULL || letter->answer)
        return false;
    assembly->queues[from][to] = letter->next;
    assembly->acting = to;
    release_promise(assembly, letter->promise);
    free_letter(letter);
    return true;
}

size_t assembly_waiting(const assembly_t *assembly, int from, int to)
{
    size_t count = 0;

    for (const letter_t *letter = assembly->queues[from][to]; letter != NULL; letter = letter->next)
        count++;
    return count;
}

void assembly_settle(assembly_t *assembly, uint64_t ms)
{
    uint64_t until = assembly->now_ms + ms;

    do {
        assembly_pass(assembly, 10);
        for (int round = 0; round < 100; round++) {
            for (int i = 0; i < assembly->count; i++)
                assembly_turn(assembly, i);
            while (assembly_deliver(assembly, 0, false))
                ;
        }
    } while (assembly->now_ms < until);
}

/* ---- what must be ---- */

/* key -> meta without references, as text -> how often. */
static void count_meta(json_t *counts, const char *key, json_t *meta)
{
    json_t *copy = json_copy(meta);
    char *text;
    json_t *of_key;

    json_object_del(copy, "phx_ref");
    json_object_del(copy, "phx_ref_prev");
    text = json_dumps(copy, JSON_SORT_KEYS | JSON_COMPACT);
    if ((of_key = json_object_get(counts, key)) == NULL)
        json_object_set_new(counts, key, of_key = json_object());
    json_object_set_new(of_key, text,
                        json_integer(json_integer_value(json_object_get(of_key, text)) + 1));
    free(text);
    json_decref(copy);
}

static json_t *held(assembly_t *assembly, int topic)
{
    json_t *counts = json_object();

    for (int i = 0; i < assembly->count; i++)
        for (int j = 0; assembly->nodes[i].alive && j < ASSEMBLY_GUESTS; j++) {
            attendee_t *attendee = &assembly->nodes[i].attendees[j];

            if (!attendee->present || attendee->topic != topic)
                continue;
            for (hub__stay_t *stay = attendee->attendance.stays; stay != NULL; stay = stay->next) {
                hub_str_t key = hub__tracking_key(stay->tracking);
                hub_str_t meta = hub__tracking_meta(stay->tracking);
                char name[256], text[512];
                json_t *value;

                snprintf(name, sizeof(name), "%.*s", HUB_STR_ARG(key));
                snprintf(text, sizeof(text), "{%.*s}", HUB_STR_ARG(meta));
                value = json_loads(text, 0, NULL);
                count_meta(counts, name, value);
                json_decref(value);
            }
        }
    return counts;
}

static json_t *seen(const attendee_t *attendee)
{
    json_t *counts = json_object(), *metas, *meta;
    const char *key, *ref;

    json_object_foreach(attendee->view, key, metas) json_object_foreach(metas, ref, meta)
        count_meta(counts, key, meta);
    return counts;
}

/* Whose trackings each node has, for the reader of a failure. */
static void print_shares(const assembly_t *assembly, int topic)
{
    for (int i = 0; i < assembly->count; i++) {
        const node_t *self = &assembly->nodes[i];

        print_error("node %d of process %d %s", i, self->process,
                    self->alive ? "lives" : "is dead");
        if (self->alive)
            print_error(", owner %llu:", (unsigned long long)self->tracker->owner);
        if (self->alive && self->venues[topic] != NULL)
            for (hub__share_t *share = hub__roster_shares(self->venues[topic]->roster);
                 share != NULL; share = share->next)
                print_error(" %llu has %zu at %llu%s%s", (unsigned long long)share->owner,
                            share->count, (unsigned long long)share->clock,
                            share->stale ? " stale" : "", share->receiving ? " receiving" : "");
        print_error("\n");
    }
}

static void expect_equal(const json_t *wanted, const json_t *got, int topic, const char *what)
{
    char *left, *right;

    if (json_equal(wanted, got))
        return;
    left = json_dumps(wanted, JSON_SORT_KEYS);
    right = json_dumps(got, JSON_SORT_KEYS);
    print_error("wanted %s\ngot    %s\n", left, right);
    print_shares(current, topic);
    free(left);
    free(right);
    fail_msg("%s differs", what);
}

static json_t *list_of(hub__venue_t *venue)
{
    hub__buffer_t payload = {0};
    json_t *list;

    hub__venue_list(venue, &payload);
    list = parse(hub__buffer_str(&payload));
    hub__buffer_dispose(&payload);
    return list;
}

/* What a member was told adds up to what it would be told now, reference by reference. */
static void expect_list_of(hub__venue_t *venue, const attendee_t *attendee, int topic)
{
    json_t *list = list_of(venue), *view = view_of_state(list);

    expect_equal(view, attendee->view, topic, "what a member was told so far");
    json_decref(view);
    json_decref(list);
}

void assembly_check_views(assembly_t *assembly)
{
    for (int i = 0; i < assembly->count; i++)
        for (int j = 0; assembly->nodes[i].alive && j < ASSEMBLY_GUESTS; j++) {
            attendee_t *attendee = &assembly->nodes[i].attendees[j];

            if (attendee->present && attendee->view != NULL)
                expect_list_of(attendee->attendance.venue, attendee, attendee->topic);
        }
}

void assembly_check(assembly_t *assembly)
{
    assembly_check_views(assembly);
    for (int topic = 0; topic < ASSEMBLY_TOPICS; topic++) {
        json_t *wanted = held(assembly, topic), *first = NULL;

        for (int i = 0; i < assembly->count; i++) {
            node_t *self = &assembly->nodes[i];

            if (!self->alive || self->venues[topic] == NULL)
                continue;
            if (first == NULL) {
                first = list_of(self->venues[topic]);
            } else {
                json_t *list = list_of(self->venues[topic]);

                expect_equal(first, list, topic, "the list of another node");
                json_decref(list);
            }
            for (int j = 0; j < ASSEMBLY_GUESTS; j++) {
                attendee_t *attendee = &self->attendees[j];
                json_t *got;

                if (!attendee->present || attendee->topic != topic || attendee->view == NULL)
                    continue;
                got = seen(attendee);
                expect_equal(wanted, got, topic, "what a member sees");
                json_decref(got);
            }
        }
        json_decref(first);
        json_decref(wanted);
    }
}

size_t assembly_letters(const assembly_t *assembly)
{
    return assembly->delivered;
}

size_t assembly_refusals(const assembly_t *assembly, int node)
{
    return assembly->nodes[node].refusals;
}

char *assembly_list(assembly_t *assembly, int node, int topic)
{
    json_t *list = list_of(assembly->nodes[node].venues[topic]), *presence, *meta;
    const char *key;
    char *text;
    size_t i;

    json_object_foreach(list, key, presence)
        json_array_foreach(json_object_get(presence, "metas"), i, meta)
    {
        json_object_del(meta, "phx_ref");
        json_object_del(meta, "phx_ref_prev");
    }
    text = json_dumps(list, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(list);
    for (char *at = text; *at != '\0'; at++)
        if (*at == '"')
            *at = '\'';
    return text;
}

const hub_stats_t *assembly_stats(const assembly_t *assembly, int node)
{
    return &assembly->nodes[node].stats;
}

hub__tracker_t *assembly_tracker(assembly_t *assembly, int node)
{
    return assembly->nodes[node].tracker;
}

hub__venue_t *assembly_venue(assembly_t *assembly, int node, int topic)
{
    return assembly->nodes[node].venues[topic];
}
