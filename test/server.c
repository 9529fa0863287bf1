/* SPDX-License-Identifier: MIT */
/* The fixture of the wire tests. It exists so that a case is arrange, act, check and nothing else:
 * what must be ended whatever happens lies in one list here, and the one way from a callback on
 * another thread to an assertion is the list of notes. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "bus/line.h"

#define NOTES_MAX 8192
#define SERVERS_MAX 4
#define LOG_BYTES 262144

static server_t *servers[SERVERS_MAX];
static size_t server_count;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* all under the lock */
static char notes[NOTES_MAX][256];
static size_t note_count, note_next;
static bool gate_is_open;
static char log_lines[LOG_BYTES];
static size_t log_len;

static atomic_uint thread_count;
static _Thread_local unsigned thread_number;

/* By the clock that nobody sets. */
static struct timespec deadline(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += CLIENT_DEADLINE_MS / 1000;
    return at;
}

/* Under the lock. False: it is too late. */
static bool await_change(const struct timespec *until)
{
    return pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, until) == 0;
}

/* ---- log ---- */

/* The limiter's clock in log.c. Here it goes by a second with each look, so that no line is
 * suppressed because of others, until a case stops it. */
extern uint64_t (*hub__log_clock)(void);
static atomic_ullong log_ms = 1000000;
static atomic_bool log_clock_stands;

static uint64_t log_clock(void)
{
    return atomic_fetch_add(&log_ms, atomic_load(&log_clock_stands) ? 0 : 1000);
}

void server_stop_log_clock(void)
{
    atomic_store(&log_clock_stands, true);
}

static void on_log(hub_log_level_t level, const char *event, const char *text, void *user)
{
    int len;

    (void)level, (void)user;
    pthread_mutex_lock(&lock);
    len = snprintf(log_lines + log_len, LOG_BYTES - log_len, "%s %s\n", event, text);
    if (len > 0 && (size_t)len < LOG_BYTES - log_len)
        log_len += (size_t)len;
    log_lines[log_len] = '\0';
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Under the lock. */
static bool is_logged(const char *event, const char *within)
{
    bool found = false;

    for (const char *line = log_lines; !found && *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t len = strcspn(line, "\n"), event_len = strlen(event);

        found = strncmp(line, event, event_len) == 0 && line[event_len] == ' ' &&
                (within[0] == '\0' || memmem(line, len, within, strlen(within)) != NULL);
    }
    return found;
}

/* What brought it about may be seen, by a counter or at a client, before the line is written. */
void server_expect_log(const char *event, const char *within)
{
    struct timespec until = deadline();
    bool found;

    pthread_mutex_lock(&lock);
    while (!(found = is_logged(event, within)) && await_change(&until))
        ;
    pthread_mutex_unlock(&lock);
    if (!found)
        fail_msg("no line of the log is %s with %s:\n%s", event, within, log_lines);
}

size_t server_count_log(const char *event)
{
    size_t count = 0, len = strlen(event);

    pthread_mutex_lock(&lock);
    for (const char *line = log_lines; *line != '\0'; line = strchr(line, '\n') + 1)
        count += strncmp(line, event, len) == 0 && line[len] == ' ';
    pthread_mutex_unlock(&lock);
    return count;
}

bool server_has_log(const char *within)
{
    bool found;

    pthread_mutex_lock(&lock);
    found = strstr(log_lines, within) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

size_t server_longest_line(void)
{
    size_t longest = 0;

    pthread_mutex_lock(&lock);
    for (const char *line = log_lines; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t len = strcspn(line, "\n");

        longest = len > longest ? len : longest;
    }
    pthread_mutex_unlock(&lock);
    return longest;
}

/* Whatever the case was about: a line for each event, good for machines, too, and without what is
 * nobody's business. */
static void check_log(void)
{
    for (char *line = log_lines, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        char json[HUB__LINE_BYTES], *text = memchr(line, ' ', (size_t)(end - line));
        json_t *parsed;
        size_t len;

        *end = '\0';
        if (text == NULL || strstr(text, SERVER_SECRET) != NULL)
            fail_msg("a line of the log that should not be: %s", line);
        *text = '\0';
        len = hub__line_json("", "", line, text + 1, json);
        *text = ' ';
        parsed = json_loadb(json, len, 0, NULL);
        if (parsed == NULL || memchr(json, '\n', len) != json + len - 1)
            fail_msg("a line of the log is no line of JSON: %s", line);
        json_decref(parsed);
        *end = '\n';
    }
}

/* ---- life ---- */

static void begin_case(void)
{
    pthread_mutex_lock(&lock);
    note_count = note_next = log_len = 0;
    log_lines[0] = '\0';
    gate_is_open = false;
    pthread_mutex_unlock(&lock);
    atomic_store(&log_clock_stands, false);
    atomic_fetch_add(&log_ms, 1000);
    hub__log_clock = log_clock;
    hub_log_set(on_log, NULL);
}

server_t *server_create_with(const hub_server_options_t *server_options,
                             const hub_options_t *hub_options)
{
    server_t *server = calloc(1, sizeof(*server));

    assert_non_null(server);
    assert_true(server_count < SERVERS_MAX);
    if (server_count == 0)
        begin_case();
    servers[server_count++] = server;
    assert_int_equal(hub_create(hub_options, &server->hub), HUB_OK);
    assert_int_equal(hub_server_create(server_options, &server->server), HUB_OK);
    return server;
}

server_t *server_create(void)
{
    return server_create_with(NULL, NULL);
}

static void check(hub_status_t status, const char *what)
{
    if (status != HUB_OK)
        fail_msg("%s: %s\n%s", what, hub_status_text(status), log_lines);
}

void server_channel(server_t *server, const hub_channel_options_t *options)
{
    check(hub_channel_add(server->hub, options), options->pattern);
}

void server_hook(server_t *server, hub_hook_t hook, hub_hook_cb on_hook)
{
    check(hub_hook_add(server->hub, hook, on_hook, NULL), "hook");
}

void server_mount(server_t *server, const hub_endpoint_options_t *options)
{
    check(hub_server_mount(server->server, server->hub, options), "mount");
}

void server_start(server_t *server)
{
    check(hub_server_listen(server->server, "127.0.0.1:0"), "listen");
    check(hub_server_start(server->server), "start");
    server->address = hub_server_address(server->server, 0);
    assert_non_null(server->address);
}

void server_stop(server_t *server)
{
    hub_server_stop(server->server);
    hub_server_wait(server->server);
}

int server_teardown(void **state)
{
    (void)state;
    server_gate_open();
    for (size_t i = 0; i < server_count; i++)
        for (size_t j = 0; j < servers[i]->client_count; j++)
            client_destroy(servers[i]->clients[j]);
    while (server_count > 0) {
        server_t *server = servers[--server_count];

        hub_server_destroy(server->server);
        hub_destroy(server->hub);
        free(server);
    }
    if (getenv("WIRE_LOG") != NULL)
        fprintf(stderr, "%s", log_lines);
    hub_log_set(NULL, NULL);
    check_log();
    return 0;
}

/* ---- clients ---- */

client_t *server_keep_client(server_t *server, client_t *client)
{
    assert_true(server->client_count < sizeof(server->clients) / sizeof(server->clients[0]));
    server->clients[server->client_count++] = client;
    return client;
}

client_t *server_connect(server_t *server)
{
    return server_keep_client(server, client_connect(server->address, 0));
}

client_t *server_client(server_t *server, const char *target)
{
    client_t *client = server_connect(server);

    client_send_text(client, client_upgrade_text(target, ""));
    client_expect_upgraded(client);
    return client;
}

void server_drop_client(server_t *server, client_t *client, void (*drop)(client_t *client))
{
    for (size_t i = 0; i < server->client_count; i++)
        if (server->clients[i] == client)
            server->clients[i] = server->clients[--server->client_count];
    drop(client);
}

hub_status_t server_reply_thread(hub_member_t *me, const hub_message_t *msg)
{
    char number[16];
    int len;

    if (thread_number == 0)
        thread_number = atomic_fetch_add(&thread_count, 1) + 1;
    len = snprintf(number, sizeof(number), "%u", thread_number);
    return hub_member_reply(me, msg, hub_json(hub_str_n(number, (size_t)len)));
}

static void join_and_ask(client_t *client, const char *topic, const char *event, char answer[300])
{
    client_join(client, topic, "'1'");
    client_say(client, topic, event, "{}", "'2'");
    snprintf(answer, 300, "%s", client_expect_frame(client, CLIENT_TEXT).base);
}

void server_client_pair(server_t *server, const char *target, const char *topic, const char *event,
                        client_t **ret_left, client_t **ret_right)
{
    char left[300], right[300];
    uint64_t members;

    *ret_left = server_client(server, target);
    join_and_ask(*ret_left, topic, event, left);
    members = SERVER_STAT(server, members); /* not of conns: a 101 goes out before it counts */
    /* the kernel picks the listener by a hash of the ports: one in two hits the other worker */
    for (int tries = 0; tries < 40; tries++) {
        *ret_right = server_client(server, target);
        join_and_ask(*ret_right, topic, event, right);
        if (strcmp(left, right) != 0)
            return;
        server_drop_client(server, *ret_right, client_destroy);
        SERVER_EXPECT_STAT(server, members, members);
    }
    fail_msg("forty connections, all on one worker");
}

/* ---- notes ---- */

void server_note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    pthread_mutex_lock(&lock);
    if (note_count < NOTES_MAX)
        vsnprintf(notes[note_count++], sizeof(notes[0]), format, args);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    va_end(args);
}

/* NULL when none comes in time. The text stays where it is. */
static const char *next_note(void)
{
    struct timespec until = deadline();
    const char *note = NULL;

    pthread_mutex_lock(&lock);
    while (note_next == note_count && await_change(&until))
        ;
    if (note_next < note_count)
        note = notes[note_next++];
    pthread_mutex_unlock(&lock);
    return note;
}

void server_expect_note(const char *text)
{
    const char *note = next_note();

    if (note == NULL || strcmp(note, text) != 0)
        fail_msg("expected note \"%s\", got %s", text, note == NULL ? "none in time" : note);
}

void server_copy_note(char *buffer, size_t size)
{
    const char *note = next_note();

    if (note == NULL)
        fail_msg("expected a note, none came in time");
    snprintf(buffer, size, "%s", note);
}

void server_skip_to_note(const char *text)
{
    const char *note = next_note();

    while (note != NULL && strcmp(note, text) != 0)
        note = next_note();
    if (note == NULL)
        fail_msg("expected note \"%s\", it did not come in time", text);
}

void server_expect_notes(const char *const *texts, size_t count)
{
    uint64_t seen = 0;

    assert_true(count < 64);
    for (size_t i = 0; i < count; i++) {
        const char *note = next_note();
        size_t at = 0;

        while (note != NULL && at < count && ((seen >> at & 1) || strcmp(note, texts[at]) != 0))
            at++;
        if (note == NULL || at == count)
            fail_msg("expected %zu more notes such as \"%s\", got %s", count - i, texts[i],
                     note == NULL ? "none in time" : note);
        seen |= (uint64_t)1 << at;
    }
}

void server_expect_no_note(void)
{
    pthread_mutex_lock(&lock);
    if (note_next < note_count) {
        pthread_mutex_unlock(&lock);
        fail_msg("unexpected note \"%s\"", notes[note_next]);
    }
    pthread_mutex_unlock(&lock);
}

void server_gate_wait(void)
{
    struct timespec until = deadline();

    pthread_mutex_lock(&lock);
    while (!gate_is_open && await_change(&until))
        ;
    pthread_mutex_unlock(&lock);
}

void server_gate_open(void)
{
    pthread_mutex_lock(&lock);
    gate_is_open = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ---- counters ---- */

uint64_t server_stat(server_t *server, size_t offset)
{
    hub_stats_t stats;

    hub_server_stats(server->server, &stats);
    return *(const uint64_t *)((const char *)&stats + offset);
}

static void await_stat(server_t *server, size_t offset, uint64_t value, bool more_will_do)
{
    struct timespec until = deadline(), now;
    uint64_t got = server_stat(server, offset);

    while (got != value && !(more_will_do && got > value)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > until.tv_sec)
            fail_msg("expected the counter at %llu, it is %llu", (unsigned long long)value,
                     (unsigned long long)got);
        poll(NULL, 0, 1);
        got = server_stat(server, offset);
    }
}

void server_expect_stat(server_t *server, size_t offset, uint64_t value)
{
    await_stat(server, offset, value, false);
}

void server_expect_stat_at_least(server_t *server, size_t offset, uint64_t value)
{
    await_stat(server, offset, value, true);
}
