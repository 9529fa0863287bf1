/* SPDX-License-Identifier: MIT */
/* The clients of the stress test together: a step is something that a client of the world might do,
 * drawn at random. What comes back is judged in guest.c. */
#define _GNU_SOURCE 1
#include "test/crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/guest.h"

#define WANTED_MAX 5  /* topics of one client */
#define ASKED_MAX 300 /* requests under way, of all clients */
#define STEPS_OF_TURN 8
#define SETTLE_MS 30000
#define CHECK_MS 20
#define FLOOD_BYTES 4000
#define PAUSED_RECEIVE_BYTES 4096
#define RECEIVE_BYTES 200000

static const char *const what_events[] = {"join", "leave", NULL, "later", "quit", "heartbeat"};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void set_receive_buffer(const guest_t *client, int bytes)
{
    setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

/* Stops reading; the kernel, too, takes no more than what is announced already. */
static void pause_until(crowd_t *crowd, guest_t *client, uint64_t ms)
{
    client->resume_ms = ms;
    set_receive_buffer(client, PAUSED_RECEIVE_BYTES);
    guest_watch(crowd, client, EPOLL_CTL_MOD);
}

static void resume(crowd_t *crowd, guest_t *client)
{
    client->resume_ms = 0;
    set_receive_buffer(client, RECEIVE_BYTES);
    guest_watch(crowd, client, EPOLL_CTL_MOD);
}

static void turn(crowd_t *crowd, int wait_ms)
{
    struct epoll_event events[64];
    int count = epoll_wait(crowd->epoll_fd, events, 64, wait_ms);
    uint64_t now = crowd_now_ms();

    for (int i = 0; i < count; i++) {
        guest_t *client = events[i].data.ptr;

        if (client->stage != GONE && (events[i].events & EPOLLOUT) != 0)
            guest_flush(crowd, client);
        if (client->stage != GONE && (events[i].events & (EPOLLHUP | EPOLLERR)) != 0)
            client->resume_ms = 0;
        if (client->stage != GONE && client->resume_ms == 0 &&
            (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            guest_read(crowd, client);
    }
    for (uint32_t i = 0; i != crowd->options.slow_clients; i++)
        if (crowd->clients[i].resume_ms != 0 && crowd->clients[i].resume_ms <= now)
            resume(crowd, &crowd->clients[i]);
}

/* ---- steps ---- */

/* A topic that is wanted, or not; none: topic_count. */
static uint32_t pick_topic(crowd_t *crowd, const guest_t *client, bool wanted)
{
    uint32_t count = crowd->options.topic_count, from = crowd_draw(crowd, count);

    for (uint32_t i = 0; i != count; i++) {
        uint32_t topic = (from + i) % count;

        if (client->places[topic].wanted == wanted &&
            crowd->options.topics[topic].door != CROWD_CLOSED &&
            !crowd->options.topics[topic].flooded)
            return topic;
    }
    return count;
}

static void step_join(crowd_t *crowd, guest_t *client)
{
    uint32_t topic = pick_topic(crowd, client, false), wanted = 0;

    for (uint32_t i = 0; i != crowd->options.topic_count; i++)
        wanted += client->places[i].wanted;
    if (topic == crowd->options.topic_count)
        return;
    if (wanted < WANTED_MAX)
        guest_join(crowd, client, topic);
    /* all in one write, so the server may meet them in one read */
    if (crowd_draw(crowd, 8) == 0 && wanted < WANTED_MAX) {
        guest_say(crowd, client, topic);
        guest_say(crowd, client, topic);
        guest_leave(crowd, client, topic);
        if (crowd_draw(crowd, 2) == 0) {
            guest_join(crowd, client, topic);
            guest_say(crowd, client, topic);
        }
    }
}

static bool is_joining(const guest_t *client, uint32_t topic)
{
    for (size_t i = 0; i != client->request_count; i++)
        if (client->requests[i].what == JOIN && client->requests[i].topic == topic)
            return true;
    return false;
}

static void step_leave(crowd_t *crowd, guest_t *client)
{
    uint32_t topic = pick_topic(crowd, client, true);

    if (topic == crowd->options.topic_count)
        return;
    /* what waits behind a pending join is unanswered when the member ends among it */
    if (crowd_draw(crowd, 5) == 0 && !is_joining(client, topic)) {
        guest_ask(crowd, client, QUIT, topic, what_events[QUIT], "{}");
        guest_end_membership(crowd, client, topic);
        return;
    }
    guest_leave(crowd, client, topic);
    if (crowd_draw(crowd, 3) == 0)
        guest_join(crowd, client, topic);
}

static void step_say(crowd_t *crowd, guest_t *client)
{
    uint32_t topic = pick_topic(crowd, client, true);

    if (topic == crowd->options.topic_count)
        return;
    for (uint32_t left = 1 + crowd_draw(crowd, 4); left != 0; left--)
        guest_say(crowd, client, topic);
    if (crowd_draw(crowd, 12) == 0)
        guest_ask(crowd, client, LATER, topic, what_events[LATER], "{}");
}

/* Everybody who is one of these when hub_disconnect() is called will be closed. */
static void step_kick(crowd_t *crowd)
{
    uint32_t identity = crowd_draw(crowd, crowd->options.identities);
    char name[16];

    snprintf(name, sizeof(name), "u%u", identity);
    crowd->kicked[identity] = true;
    crowd->options.kick(name, crowd->options.user);
    for (uint32_t i = identity; i < crowd->options.clients; i += crowd->options.identities)
        crowd->clients[i].doomed = crowd->clients[i].stage == OPEN;
}

static void step_die(crowd_t *crowd, guest_t *client)
{
    switch (crowd_draw(crowd, 5)) {
    case 0:
        guest_close(crowd, client, 1000);
        guest_expect_no_replies(crowd, client);
        break;
    case 1:
        guest_flush(crowd, client);
        shutdown(client->fd, SHUT_WR);
        client->stage = FINISHED;
        guest_expect_no_replies(crowd, client);
        crowd->counts.died++;
        break;
    case 2: /* in the midst of a frame */
        guest_append(client, "\x81\xfe\x01", 3);
        guest_flush(crowd, client);
        guest_reset(crowd, client);
        break;
    case 3: /* with its last words on their way */
        step_say(crowd, client);
        step_join(crowd, client);
        guest_flush(crowd, client);
        guest_reset(crowd, client);
        break;
    default:
        guest_reset(crowd, client);
        break;
    }
}

static void step_pause(crowd_t *crowd, guest_t *client)
{
    if (!client->slow || client->resume_ms != 0)
        return;
    pause_until(crowd, client, crowd_now_ms() + 100 + crowd_draw(crowd, 900));
}

static void step_order(crowd_t *crowd)
{
    uint32_t topic = crowd_draw(crowd, crowd->options.topic_count);
    const crowd_topic_t *it = &crowd->options.topics[topic];

    if (it->door == CROWD_CLOSED || (it->flooded && crowd->options.slow_clients == 0))
        return;
    crowd->options.order(topic, 1 + crowd_draw(crowd, it->flooded ? 40 : 12),
                         it->flooded ? FLOOD_BYTES : 0, crowd->options.user);
}

/* Clients with a small outbox meet where long messages are said, among others who read. */
static void join_flooded(crowd_t *crowd, guest_t *client)
{
    for (uint32_t i = 0; i != crowd->options.topic_count; i++)
        if (crowd->options.topics[i].flooded && client->slot < 2 * crowd->options.slow_clients &&
            !client->places[i].wanted)
            guest_join(crowd, client, i);
}

static void step_open(crowd_t *crowd, guest_t *client)
{
    uint32_t what = crowd_draw(crowd, 1000);

    if (what < 250)
        step_join(crowd, client);
    else if (what < 450)
        step_leave(crowd, client);
    else if (what < 820)
        step_say(crowd, client);
    else if (what < 860)
        step_order(crowd);
    else if (what < 890)
        join_flooded(crowd, client);
    else if (what < 910)
        guest_ask(crowd, client, HEARTBEAT, 0, what_events[HEARTBEAT], "{}");
    else if (what < 925)
        for (uint32_t i = 0; i != crowd->options.topic_count; i++) {
            if (crowd->options.topics[i].door == CROWD_CLOSED)
                guest_join(crowd, client, i);
        }
    else if (what < 930)
        step_kick(crowd);
    else if (what < 960)
        step_pause(crowd, client);
    else
        step_die(crowd, client);
    if (client->stage != GONE)
        guest_flush(crowd, client);
}

static void step(crowd_t *crowd)
{
    guest_t *client = &crowd->clients[crowd_draw(crowd, crowd->options.clients)];

    if (client->stage == GONE && crowd_draw(crowd, 3) == 0)
        guest_connect(crowd, client);
    else if (client->stage == CONNECTING && crowd_draw(crowd, 50) == 0)
        guest_reset(crowd, client);
    else if (client->stage == OPEN)
        step_open(crowd, client);
}

void crowd_run(crowd_t *crowd, unsigned ms)
{
    uint64_t now, from = crowd_now_ms(), rate = crowd->options.steps_per_s, steps = 0;

    while ((now = crowd_now_ms()) < from + ms) {
        bool late = rate == 0 || steps * 1000 <= (now - from) * rate;

        for (int i = 0; i != STEPS_OF_TURN && late && crowd->asked < ASKED_MAX; i++, steps++)
            step(crowd);
        turn(crowd, late && crowd->asked < ASKED_MAX ? 0 : 1);
    }
}

/* ---- settling ---- */

static bool client_settled(crowd_t *crowd, const guest_t *client, char *why, size_t size)
{
    static const char *const stages[] = {"gone", "connecting", "open", "leaving", "finished"};

    if (client->stage == GONE)
        return true;
    if (client->stage != OPEN || client->doomed) {
        snprintf(why, size, "client %u (publisher %u) is still %s%s", client->slot, client->self,
                 stages[client->stage], client->doomed ? ", though it was kicked" : "");
        return false;
    }
    for (size_t i = 0; i != client->request_count; i++)
        if (!client->requests[i].optional) {
            snprintf(why, size, "client %u: no reply to %u, %s", client->slot,
                     client->requests[i].ref,
                     crowd->options.topics[client->requests[i].topic].name);
            return false;
        }
    for (uint32_t i = 0; i != crowd->options.topic_count; i++)
        if (client->places[i].in &&
            !hearing_is_complete(crowd->options.ledger, &client->places[i].hearing, why, size))
            return false;
    return true;
}

/* How many clients are not settled; `why` is the first one's reason. */
static uint32_t count_unsettled(crowd_t *crowd, char *why, size_t size)
{
    char other[256];
    uint32_t count = 0;

    for (uint32_t i = 0; i != crowd->options.clients; i++)
        count += !client_settled(crowd, &crowd->clients[i], count == 0 ? why : other,
                                 count == 0 ? size : sizeof(other));
    return count;
}

static void await_settled(crowd_t *crowd)
{
    uint64_t until = crowd_now_ms() + SETTLE_MS, next = 0;
    uint32_t unsettled = 1;
    char why[256] = "";

    while (unsettled != 0 || !crowd->options.orders_done(crowd->options.user)) {
        turn(crowd, 5);
        if (crowd_now_ms() < next)
            continue;
        next = crowd_now_ms() + CHECK_MS;
        unsettled = count_unsettled(crowd, why, sizeof(why));
        if (crowd_now_ms() > until)
            ledger_fail(crowd->options.ledger, "nothing more comes to %u clients; %s", unsettled,
                        unsettled != 0 ? why : "a thread of the program has not published yet");
    }
}

void crowd_settle(crowd_t *crowd)
{
    for (uint32_t i = 0; i != crowd->options.slow_clients; i++)
        if (crowd->clients[i].resume_ms != 0)
            resume(crowd, &crowd->clients[i]);
    await_settled(crowd);
    /* behind the answer to this nothing is left: what came twice has shown */
    for (uint32_t i = 0; i != crowd->options.clients; i++) {
        guest_t *client = &crowd->clients[i];

        if (client->stage != OPEN)
            continue;
        guest_ask(crowd, client, HEARTBEAT, 0, what_events[HEARTBEAT], "{}");
        guest_flush(crowd, client);
    }
    await_settled(crowd);
}

void crowd_stall(crowd_t *crowd, bool (*enough)(void *user))
{
    const crowd_options_t *options = &crowd->options;
    uint64_t until = crowd_now_ms() + SETTLE_MS;
    uint32_t flooded = 0;

    while (!options->topics[flooded].flooded)
        flooded++;
    for (uint32_t i = 0; i != options->slow_clients; i++)
        if (crowd->clients[i].stage == GONE)
            guest_connect(crowd, &crowd->clients[i]);
    crowd_settle(crowd);
    for (uint32_t i = 0; i != options->slow_clients; i++) {
        join_flooded(crowd, &crowd->clients[i]);
        guest_flush(crowd, &crowd->clients[i]);
    }
    crowd_settle(crowd);
    for (uint32_t i = 0; i != options->slow_clients; i++) {
        if (crowd->clients[i].stage == OPEN)
            pause_until(crowd, &crowd->clients[i], UINT64_MAX);
    }
    while (!enough(options->user)) {
        if (options->orders_done(options->user))
            options->order(flooded, 10, FLOOD_BYTES, options->user);
        turn(crowd, 1);
        if (crowd_now_ms() > until)
            ledger_fail(options->ledger, "nobody is closed for not reading");
    }
    crowd_settle(crowd);
}

/* ---- the end ---- */

static bool all_gone(const crowd_t *crowd)
{
    for (uint32_t i = 0; i != crowd->options.clients; i++)
        if (crowd->clients[i].stage != GONE)
            return false;
    return true;
}

static void await_gone(crowd_t *crowd)
{
    uint64_t until = crowd_now_ms() + SETTLE_MS;

    while (!all_gone(crowd)) {
        turn(crowd, 5);
        if (crowd_now_ms() > until)
            ledger_fail(crowd->options.ledger, "connections that should have ended are there");
    }
}

void crowd_disperse(crowd_t *crowd)
{
    for (uint32_t i = 0; i != crowd->options.clients; i++) {
        guest_t *client = &crowd->clients[i];

        if (client->stage != OPEN)
            continue;
        step_die(crowd, client);
        if (client->stage != GONE)
            guest_flush(crowd, client);
    }
    await_gone(crowd);
}

void crowd_await_shutdown(crowd_t *crowd)
{
    crowd->stopping = true;
    await_gone(crowd);
}

crowd_counts_t crowd_counts(const crowd_t *crowd)
{
    return crowd->counts;
}

crowd_t *crowd_create(const crowd_options_t *options)
{
    crowd_t *crowd = must(calloc(1, sizeof(*crowd)));

    crowd->options = *options;
    crowd->random = options->seed;
    crowd->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    crowd->clients = must(calloc(options->clients, sizeof(guest_t)));
    crowd->kicked = must(calloc(options->identities, sizeof(bool)));
    crowd->address.sin_family = AF_INET;
    crowd->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    crowd->address.sin_port = htons((uint16_t)atoi(strrchr(options->address, ':') + 1));
    for (uint32_t i = 0; i != options->clients; i++)
        crowd->clients[i].slot = i;
    return crowd;
}

void crowd_destroy(crowd_t *crowd)
{
    for (uint32_t i = 0; i != crowd->options.clients; i++) {
        free(crowd->clients[i].in);
        free(crowd->clients[i].out);
        free(crowd->clients[i].requests);
    }
    close(crowd->epoll_fd);
    free(crowd->clients);
    free(crowd->kicked);
    free(crowd);
}
