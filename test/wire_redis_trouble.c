/* SPDX-License-Identifier: MIT */
/* What goes wrong with a Redis that was a good one: a full disk, a restart with much to read, other
 * addresses, other rights, no descriptors, no answers; and what a node does meanwhile, which is
 * nothing where there is nothing to do. */
#include "test/redis_world.h"

#include <dirent.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/internal.h"
#include "bus/log.h"
#include "test/port.h"

#define KIB(n) ((size_t)(n) << 10)
#define COMES_IN "+OK\r\n+PONG\r\n" /* to CLIENT SETNAME and PING */

extern size_t hub__redis_unanswered_bytes_max; /* redis.c */
extern int (*hub__lookup_resolve)(const char *host, const char *service,
                                  const struct addrinfo *hints,
                                  struct addrinfo **ret_found); /* lookup.c */

/* ---- its own troubles ---- */

static bool can_not_save(struct fixture *fixture)
{
    char *answer = broker_admin(fixture->broker, "INFO persistence");
    bool failed = answer != NULL && strstr(answer, "rdb_last_bgsave_status:err") != NULL;

    free(answer);
    return failed;
}

/* Where its file is to be is a folder with something in it. */
static void fill_its_disk(struct fixture *fixture)
{
    char path[320];

    snprintf(path, sizeof(path), "%s/dump.rdb", broker_folder(fixture->broker));
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/dump.rdb/full", broker_folder(fixture->broker));
    assert_int_equal(mkdir(path, 0700), 0);
    redis_admin(fixture, "CONFIG SET save \"3600 1\"");
    redis_admin(fixture, "BGSAVE");
    redis_await(fixture, can_not_save, "not saved");
}

static void one_that_can_not_save_carries_messages(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    fill_its_disk(fixture);
    open_pair(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "1");
}

static bool reads_its_data(struct fixture *fixture)
{
    char *answer = broker_admin(fixture->broker, "INFO persistence");
    bool reads = answer != NULL && strstr(answer, "\r\nloading:1") != NULL;

    free(answer);
    return reads;
}

/* Takes longer than any case. Nobody waits for the answer; returns the connection. */
static int make_it_read_its_data(struct fixture *fixture)
{
    static const char command[] = "DEBUG RELOAD\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    redis_admin(fixture, "EVAL \"for i=1,5000 do redis.call('set',i,string.rep('x',1024)) end\" 0");
    redis_admin(fixture, "CONFIG SET key-load-delay 2000");
    address.sin_port = htons((uint16_t)broker_port(fixture->broker));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, command, sizeof(command) - 1, MSG_NOSIGNAL), sizeof(command) - 1);
    redis_await(fixture, reads_its_data, "loading");
    return fd;
}

static void one_that_reads_its_data_carries_messages(void **state)
{
    struct fixture *fixture = *state;
    int fd;

    start_broker(fixture, false,
                 "enable-debug-command yes\nrdbcompression no\n"
                 "loading-process-events-interval-bytes 1024");
    fd = make_it_read_its_data(fixture);
    open_pair(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "1");
    assert_true(reads_its_data(fixture));
    close(fd);
}

static void a_socket_that_is_replaced_is_found(void **state)
{
    struct fixture *fixture = *state;
    char url[320];

    start_broker(fixture, false, NULL);
    snprintf(url, sizeof(url), "redis+unix:%s/redis.sock", broker_folder(fixture->broker));
    fixture->bus = redis_open_url(url, "");
    fixture->far = redis_open_url(broker_url(fixture->broker), "");
    await_healthy(fixture);
    /* while it comes up for the first time a gap may be told as well */
    listen_to(fixture, "room:1");
    redis_await(fixture, stands, "subscribed");
    assert_true(broker_restart(fixture->broker, true));
    await_heard(fixture, "gap(bus,0)");
    await_healthy(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "gap(bus,0) 1");
}

/* ---- several servers ---- */

static broker_t *second; /* server */

static int tear_down_second(void **state)
{
    int failed = redis_tear_down(state);

    broker_stop(second);
    second = NULL;
    return failed;
}

static void start_two(struct fixture *fixture, const char *line, const char *line_of_second)
{
    const char *config[] = {line_of_second, NULL};

    start_broker(fixture, false, line);
    second = broker_start(BROKER_REDIS, &(broker_options_t){.config = config});
    assert_non_null(second);
}

static bool second_says(const char *command, const char *expected)
{
    char *answer = broker_admin(second, command);
    bool says = answer != NULL && strstr(answer, expected) != NULL;

    free(answer);
    return says;
}

static bool know_each_other(struct fixture *fixture)
{
    char *answer = broker_admin(fixture->broker, "CLUSTER LINKS");
    bool both = answer != NULL && strstr(answer, "\r\nto\r\n") != NULL &&
                strstr(answer, "\r\nfrom\r\n") != NULL;

    free(answer);
    return both && second_says("CLUSTER INFO", "cluster_known_nodes:2");
}

static bool follows(struct fixture *fixture)
{
    (void)fixture;
    return second_says("INFO replication", "master_link_status:up");
}

/* One node on each. */
static void open_on_two(struct fixture *fixture)
{
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    fixture->far = redis_open_url(broker_url(second), "");
    assert_int_equal(hub_bus_attach(fixture->bus, &fixture->loop.base), HUB_OK);
    await_healthy(fixture);
    listener_start_ready(&fixture->listener, fixture->bus, "room:1", &fixture->loop.base);
    await_heard(fixture, "ready");
}

static void a_cluster_is_as_one_server(void **state)
{
    struct fixture *fixture = *state;
    char lines[2][64], command[64];
    unsigned ports[2]; /* 10,000 above their own may be one that the kernel gives away */
    int claims[2];

    for (int i = 0; i < 2; i++) {
        claims[i] = port_claim(&ports[i]);
        assert_int_not_equal(claims[i], -1);
        snprintf(lines[i], sizeof(lines[i]), "cluster-enabled yes\ncluster-port %u", ports[i]);
    }
    start_two(fixture, lines[0], lines[1]);
    snprintf(command, sizeof(command), "CLUSTER MEET 127.0.0.1 %u %u", broker_port(second),
             ports[1]);
    redis_admin(fixture, command);
    redis_await(fixture, know_each_other, "a cluster");
    open_on_two(fixture);
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "ready 1");
    close(claims[0]);
    close(claims[1]);
}

/* Which is why all nodes must be on one server: the master's messages come to it, and its own go
 * nowhere. */
static void what_is_published_on_a_replica_stays_there(void **state)
{
    struct fixture *fixture = *state;
    char command[64];

    start_two(fixture, "repl-diskless-sync-delay 0", "repl-diskless-sync-delay 0");
    snprintf(command, sizeof(command), "REPLICAOF 127.0.0.1 %u", broker_port(fixture->broker));
    free(broker_admin(second, command));
    redis_await(fixture, follows, "a replica");
    open_on_two(fixture);
    say(fixture->far, "room:1", "1");
    say(fixture->bus, "room:1", "2");
    await_heard(fixture, "ready 2");
}

/* ---- addresses ---- */

static void an_address_of_ipv6_will_do(void **state)
{
    struct fixture *fixture = *state;
    char url[64];

    start_broker(fixture, false, "bind 127.0.0.1 ::1");
    snprintf(url, sizeof(url), "redis://[::1]:%u", broker_port(fixture->broker));
    fixture->bus = redis_open_url(url, "");
    await_healthy(fixture);
    assert_admin_has(fixture, "CLIENT LIST TYPE pubsub", "addr=[::1]:");
}

static atomic_uint asked; /* the name server of the cases below, so often */

/* Moves to 127.0.0.1 after its first answer. */
static int resolve_moving(const char *host, const char *service, const struct addrinfo *hints,
                          struct addrinfo **ret_found)
{
    (void)host;
    return getaddrinfo(atomic_fetch_add(&asked, 1) == 0 ? "127.0.0.2" : "127.0.0.1", service, hints,
                       ret_found);
}

/* 127.0.0.2, where nobody is, and 127.0.0.1. */
static int resolve_two(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret_found)
{
    (void)host;
    if (getaddrinfo("127.0.0.2", service, hints, ret_found) != 0)
        return EAI_FAIL;
    return getaddrinfo("127.0.0.1", service, hints, &(*ret_found)->ai_next);
}

static int tear_down_names(void **state)
{
    int failed = redis_tear_down(state);

    hub__lookup_resolve = getaddrinfo;
    atomic_store(&asked, 0);
    return failed;
}

static void open_name(struct fixture *fixture,
                      int (*resolve)(const char *, const char *, const struct addrinfo *,
                                     struct addrinfo **))
{
    char url[64];

    start_broker(fixture, false, NULL);
    hub__lookup_resolve = resolve;
    snprintf(url, sizeof(url), "redis://redis.example:%u", broker_port(fixture->broker));
    fixture->bus = redis_open_url(url, "");
}

static void a_name_that_moves_is_followed(void **state)
{
    struct fixture *fixture = *state;

    open_name(fixture, resolve_moving);
    await_healthy(fixture);
    assert_true(log_has(fixture, "address=\"redis.example:"));
    assert_true(log_has(fixture, " at=127.0.0.2 "));
}

static void behind_a_failure_the_next_address_has_its_turn(void **state)
{
    struct fixture *fixture = *state;

    open_name(fixture, resolve_two);
    await_healthy(fixture);
    assert_true(log_has(fixture, "Connection refused"));
}

/* ---- rights ---- */

static bool all_stand(struct fixture *fixture)
{
    char *answer = broker_admin(fixture->broker, "PUBSUB CHANNELS hub:room:*");
    bool all = answer != NULL && strncmp(answer, "*600\r\n", 6) == 0;

    free(answer);
    return all;
}

static hub_status_t on_nothing(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    (void)sub;
    (void)msg;
    (void)ack;
    (void)user;
    return HUB_OK;
}

static hub_bus_sub_t *subscribe_room(struct fixture *fixture, unsigned room)
{
    char topic[32];
    hub_bus_sub_t *sub;

    snprintf(topic, sizeof(topic), "room:%u", room);
    assert_int_equal(hub_bus_subscribe(fixture->bus, hub_str(topic),
                                       &(hub_bus_sub_options_t){.on_message = on_nothing}, &sub),
                     HUB_OK);
    return sub;
}

/* So many at a time, in turn. */
static void all_that_was_refused_is_asked_for_again(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " resetchannels &hub/probe/*");
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    await_healthy(fixture);
    for (unsigned i = 0; i < 600; i++)
        subscribe_room(fixture, i);
    fixture->refused = 600;
    redis_await(fixture, has_refusals, "refused");
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " &hub:*");
    redis_await(fixture, all_stand, "all of them");
}

static void what_was_refused_and_left_is_not_asked_for_again(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_sub_t *left;

    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " resetchannels &hub/probe/*");
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    await_healthy(fixture);
    left = subscribe_room(fixture, 2);
    subscribe_room(fixture, 1);
    fixture->refused = 2;
    redis_await(fixture, has_refusals, "refused");
    hub_bus_unsubscribe(left);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " &hub:*");
    redis_await(fixture, stands, "room:1");
    assert_admin_has(fixture, "PUBSUB NUMSUB hub:room:2", "\r\n:0\r\n");
}

/* It is refused, and time to ask again comes while its end is on its way. */
static void an_end_on_its_way_is_not_overtaken(void **state)
{
    struct fixture *fixture = *state;
    hub_bus_sub_t *left;

    hub__redis_ask_again_ms = 100;
    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " resetchannels &hub/probe/*");
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    await_healthy(fixture);
    left = subscribe_room(fixture, 2);
    fixture->refused = 1;
    redis_await(fixture, has_refusals, "refused");
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " &hub:*");
    broker_pause(fixture->broker);
    hub_bus_unsubscribe(left);
    poll(NULL, 0, 150);
    broker_continue(fixture->broker);
    subscribe_room(fixture, 1);
    redis_await(fixture, stands, "room:1");
    assert_admin_has(fixture, "PUBSUB NUMSUB hub:room:2", "\r\n:0\r\n");
}

static int answers[3]; /* in the order of the publishes, 1: not yet */

static void on_answer(const hub_publish_result_t *result, void *user)
{
    *(int *)user = result->status;
}

static bool are_answered(struct fixture *fixture)
{
    (void)fixture;
    return answers[0] != 1 && answers[1] != 1 && answers[2] != 1;
}

static void say_for(struct fixture *fixture, const char *topic, int *answer)
{
    *answer = 1;
    assert_int_equal(try_say(fixture->bus, topic, "1",
                             &(hub_bus_publish_options_t){.on_published = on_answer,
                                                          .user = answer,
                                                          .executor = &fixture->loop.base}),
                     HUB_OK);
}

/* All three are on their way when the first is answered. */
static void each_publish_has_its_own_answer(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " resetchannels &hub/probe/* &hub:room:1");
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    listen_to(fixture, "room:1");
    await_healthy(fixture);
    broker_pause(fixture->broker);
    say_for(fixture, "room:2", &answers[0]);
    say_for(fixture, "room:1", &answers[1]);
    say_for(fixture, "room:1", &answers[2]);
    broker_continue(fixture->broker);
    redis_await(fixture, are_answered, "answered");
    assert_int_equal(answers[0], HUB_EREJECTED);
    assert_int_equal(answers[1], HUB_OK);
    assert_int_equal(answers[2], HUB_OK);
    assert_int_equal(redis_stats_of(fixture->bus).refused_broker, 1);
}

/* ---- subscriptions that come and go ---- */

/* Nothing of it is answered before the last. */
static void one_that_comes_and_goes_faster_than_the_answers_hears_the_end(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_pair(fixture);
    broker_pause(fixture->broker);
    for (int i = 0; i < 200; i++) {
        listener_stop(&fixture->listener);
        listener_start_ready(&fixture->listener, fixture->bus, "room:1", &fixture->loop.base);
    }
    broker_continue(fixture->broker);
    await_heard(fixture, "ready");
    assert_true(stands(fixture));
    say(fixture->far, "room:1", "1");
    await_heard(fixture, "ready 1");
}

static void one_that_goes_before_the_answer_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    open_both(fixture);
    broker_pause(fixture->broker);
    for (unsigned i = 0; i < 100; i++)
        hub_bus_unsubscribe(subscribe_room(fixture, i));
    listen_to(fixture, "room:1");
    broker_continue(fixture->broker);
    redis_await(fixture, stands, "subscribed");
    assert_admin_has(fixture, "PUBSUB CHANNELS hub:room:*", "*1\r\n");
}

static void ends_of_subscriptions_that_nobody_answers_are_bounded(void **state)
{
    struct fixture *fixture = *state;

    hub__redis_unanswered_bytes_max = KIB(16);
    start_broker(fixture, false, NULL);
    open_both(fixture);
    broker_pause(fixture->broker);
    for (unsigned i = 0; i < 400; i++)
        hub_bus_unsubscribe(subscribe_room(fixture, i));
    await_log(fixture, "subscriber: too much is not answered");
    broker_continue(fixture->broker);
    await_healthy(fixture);
}

static int tear_down_bounds(void **state)
{
    int failed = redis_tear_down(state);

    hub__redis_unanswered_bytes_max = (size_t)256 << 20;
    return failed;
}

/* ---- names and bytes ---- */

/* RESP counts bytes, and nothing of a topic is a pattern. */
static void a_topic_may_hold_whatever_it_may_hold(void **state)
{
    static char all[256];
    struct fixture *fixture = *state;
    size_t len = 0;

    for (char c = ' '; c <= '~'; c++)
        all[len++] = c;
    strcpy(all + len, "\u00e4\u20ac\U0001f600\uffff");
    start_broker(fixture, false, NULL);
    open_both(fixture);
    assert_int_equal(hub_bus_attach(fixture->bus, &fixture->loop.base), HUB_OK);
    listener_start_ready(&fixture->listener, fixture->bus, all, &fixture->loop.base);
    await_heard(fixture, "ready");
    say(fixture->far, "?", "0");
    say(fixture->far, all, "1");
    await_heard(fixture, "ready 1");
}

/* ---- the broker's side ---- */

static void a_message_before_anything_was_asked_for_ends_it(void **state)
{
    static const fake_redis_lines_t lines = {
        .first =
            COMES_IN "*3\r\n$7\r\nmessage\r\n$10\r\nhub:room:1\r\n$13\r\n{\"event\":\"e\"}\r\n"};
    struct fixture *fixture = *state;
    char url[64];

    fixture->fake = fake_redis_start(&lines);
    snprintf(url, sizeof(url), "redis://127.0.0.1:%u", fake_redis_port(fixture->fake));
    fixture->bus = redis_open_url(url, "");
    listen_to(fixture, "room:1");
    await_log(fixture, "subscriber: a message to no SUBSCRIBE");
    assert_int_equal(redis_stats_of(fixture->bus).remote_received, 0);
}

static void words_that_answer_nothing_are_told(void **state)
{
    static const fake_redis_lines_t lines = {.first = COMES_IN "-GOODBYE for maintenance\r\n"};
    struct fixture *fixture = *state;
    char url[64];

    fixture->fake = fake_redis_start(&lines);
    snprintf(url, sizeof(url), "redis://127.0.0.1:%u", fake_redis_port(fixture->fake));
    fixture->bus = redis_open_url(url, "?connect_timeout_ms=100");
    await_log(fixture, "GOODBYE for maintenance");
}

/* ---- what an operator is told ---- */

static void the_reason_is_told_whatever_peers_do(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    fixture->bus = redis_open_url(broker_url(fixture->broker), "");
    await_healthy(fixture);
    for (int i = 0; i < 1000; i++)
        hub_log_peer(HUB_LOG_INFO, "flood", "by=peers");
    broker_kill(fixture->broker);
    await_log(fixture, "bus.broken backend=redis");
    await_log(fixture, "Connection refused");
}

/* ---- the end ---- */

static void a_broker_that_takes_no_more_does_not_hold_up_the_end(void **state)
{
    struct fixture *fixture = *state;

    hub__redis_farewell_ms = 50;
    start_broker(fixture, false, NULL);
    open_both(fixture);
    broker_pause(fixture->broker);
    say(fixture->far, "room:1", "1");
    hub_bus_destroy(fixture->far); /* returns, though nothing answers */
    fixture->far = NULL;
}

static sem_t name_server;

static int resolve_late(const char *host, const char *service, const struct addrinfo *hints,
                        struct addrinfo **ret_found)
{
    (void)host;
    (void)service;
    (void)hints;
    (void)ret_found;
    atomic_fetch_add(&asked, 1);
    sem_wait(&name_server);
    return EAI_AGAIN;
}

static bool is_asked(struct fixture *fixture)
{
    (void)fixture;
    return atomic_load(&asked) > 0;
}

static void an_end_while_it_connects_is_no_failure(void **state)
{
    struct fixture *fixture = *state;

    sem_init(&name_server, 0, 0);
    hub__lookup_resolve = resolve_late;
    fixture->bus = redis_open_url("redis://redis.example", "");
    redis_await(fixture, is_asked, "asked");
    hub_bus_destroy(fixture->bus);
    fixture->bus = NULL;
    sem_post(&name_server);
    assert_false(log_has(fixture, "bus.failed"));
}

/* ---- what this machine lacks ---- */

static void without_descriptors_it_waits_until_there_are_some(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit before, none;

    start_broker(fixture, false, NULL);
    open_pair(fixture);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max}; /* those open stay */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    broker_kill(fixture->broker);
    await_log(fixture, "Too many open files");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(broker_restart(fixture->broker, true));
    await_healthy(fixture);
}

/* ---- what it costs ---- */

#define THREADS_MAX 64
#define WINDOW_MS 30

struct threads {
    int ids[THREADS_MAX];
    size_t count;
};

static struct threads threads_now(void)
{
    struct threads threads = {0};
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;

    while ((entry = readdir(folder)) != NULL && threads.count < THREADS_MAX) {
        if (entry->d_name[0] != '.')
            threads.ids[threads.count++] = atoi(entry->d_name);
    }
    closedir(folder);
    return threads;
}

static bool has_thread(const struct threads *threads, int id)
{
    for (size_t i = 0; i < threads->count; i++) {
        if (threads->ids[i] == id)
            return true;
    }
    return false;
}

/* Not one that only waits for a processor. */
static bool sleeps(int id)
{
    char path[64], state = 'S';
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
    if ((file = fopen(path, "r")) == NULL)
        return true;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'R';
    fclose(file);
    return state == 'S';
}

static bool all_sleep(const struct threads *others)
{
    struct threads threads = threads_now();

    for (size_t i = 0; i < threads.count; i++) {
        if (!has_thread(others, threads.ids[i]) && !sleeps(threads.ids[i]))
            return false;
    }
    return true;
}

/* How often the threads that are not among `others` were given a processor so far. */
static unsigned long turns_of_others(const struct threads *others)
{
    struct threads threads = threads_now();
    unsigned long sum = 0;

    for (size_t i = 0; i < threads.count; i++) {
        char path[64];
        unsigned long long ran, waited;
        unsigned long turns = 0;
        FILE *file;

        if (has_thread(others, threads.ids[i]))
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", threads.ids[i]);
        if ((file = fopen(path, "r")) == NULL)
            continue;
        if (fscanf(file, "%llu %llu %lu", &ran, &waited, &turns) == 3)
            sum += turns + (unsigned long)(ran / 1000000); /* a loop is one long turn */
        fclose(file);
    }
    return sum;
}

static struct threads others;

static bool nobody_moves(struct fixture *fixture)
{
    unsigned long before = turns_of_others(&others);

    (void)fixture;
    poll(NULL, 0, WINDOW_MS);
    return all_sleep(&others) && turns_of_others(&others) == before;
}

#define NO_CLOCKWORK "?probe_ms=off&position_ms=off"

static void one_that_has_nothing_to_do_does_nothing(void **state)
{
    struct fixture *fixture = *state;

    start_broker(fixture, false, NULL);
    others = threads_now();
    fixture->bus = redis_open_url(broker_url(fixture->broker), NO_CLOCKWORK);
    await_healthy(fixture);
    redis_await(fixture, nobody_moves, "at rest");
}

static void one_that_was_refused_a_topic_waits_at_rest(void **state)
{
    struct fixture *fixture = *state;

    hub__redis_ask_again_ms = 600000;
    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " resetchannels");
    others = threads_now();
    fixture->bus = redis_open_url(broker_url(fixture->broker), NO_CLOCKWORK);
    subscribe_room(fixture, 1);
    fixture->refused = 1;
    redis_await(fixture, has_refusals, "refused");
    redis_await(fixture, nobody_moves, "at rest");
}

/* It is time to ask again, but something else is not answered. */
static void one_that_can_not_ask_again_waits_at_rest(void **state)
{
    struct fixture *fixture = *state;

    hub__redis_ask_again_ms = 200;
    start_broker(fixture, true, NULL);
    redis_admin(fixture, "ACL SETUSER " BROKER_USER " resetchannels");
    others = threads_now();
    fixture->bus =
        redis_open_url(broker_url(fixture->broker), NO_CLOCKWORK "&answer_timeout_ms=600000");
    subscribe_room(fixture, 1);
    subscribe_room(fixture, 2);
    fixture->refused = 2;
    redis_await(fixture, has_refusals, "refused");
    broker_pause(fixture->broker);
    subscribe_room(fixture, 3);
    poll(NULL, 0, 250);
    redis_await(fixture, nobody_moves, "at rest");
}

static void one_whose_broker_takes_no_more_waits_at_rest(void **state)
{
    struct fixture *fixture = *state;
    char *json = malloc(KIB(64) + 1);

    memset(json, 'a', KIB(64));
    json[0] = json[KIB(64) - 1] = '"';
    json[KIB(64)] = '\0';
    hub__redis_farewell_ms = 50;
    start_broker(fixture, false, NULL);
    others = threads_now();
    fixture->bus =
        redis_open_url(broker_url(fixture->broker), NO_CLOCKWORK "&answer_timeout_ms=600000");
    await_healthy(fixture);
    broker_pause(fixture->broker);
    for (int i = 0; i < 256; i++)
        say(fixture->bus, "room:1", json);
    redis_await(fixture, nobody_moves, "at rest");
    free(json);
}

#define NAMES_TEST(test) cmocka_unit_test_setup_teardown(test, redis_set_up, tear_down_names)
#define SECOND_TEST(test) cmocka_unit_test_setup_teardown(test, redis_set_up, tear_down_second)
#define BOUNDS_TEST(test) cmocka_unit_test_setup_teardown(test, redis_set_up, tear_down_bounds)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REDIS_TEST(one_that_can_not_save_carries_messages),
        REDIS_TEST(one_that_reads_its_data_carries_messages),
        REDIS_TEST(a_socket_that_is_replaced_is_found),
        SECOND_TEST(a_cluster_is_as_one_server),
        SECOND_TEST(what_is_published_on_a_replica_stays_there),
        REDIS_TEST(an_address_of_ipv6_will_do),
        NAMES_TEST(a_name_that_moves_is_followed),
        NAMES_TEST(behind_a_failure_the_next_address_has_its_turn),
        REDIS_TEST(all_that_was_refused_is_asked_for_again),
        REDIS_TEST(what_was_refused_and_left_is_not_asked_for_again),
        REDIS_TEST(an_end_on_its_way_is_not_overtaken),
        REDIS_TEST(each_publish_has_its_own_answer),
        REDIS_TEST(one_that_comes_and_goes_faster_than_the_answers_hears_the_end),
        REDIS_TEST(one_that_goes_before_the_answer_leaves_nothing),
        BOUNDS_TEST(ends_of_subscriptions_that_nobody_answers_are_bounded),
        REDIS_TEST(a_topic_may_hold_whatever_it_may_hold),
        REDIS_TEST(a_message_before_anything_was_asked_for_ends_it),
        REDIS_TEST(words_that_answer_nothing_are_told),
        REDIS_TEST(the_reason_is_told_whatever_peers_do),
        REDIS_TEST(a_broker_that_takes_no_more_does_not_hold_up_the_end),
        NAMES_TEST(an_end_while_it_connects_is_no_failure),
        REDIS_TEST(without_descriptors_it_waits_until_there_are_some),
        REDIS_TEST(one_that_has_nothing_to_do_does_nothing),
        REDIS_TEST(one_that_was_refused_a_topic_waits_at_rest),
        REDIS_TEST(one_that_can_not_ask_again_waits_at_rest),
        REDIS_TEST(one_whose_broker_takes_no_more_waits_at_rest),
    };

    return cmocka_run_group_tests_name("redis in trouble", tests, NULL, NULL);
}
