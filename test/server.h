/* test/server.h - the fixture of the wire tests: a server within the test's own process, the
 * clients that talk to it, and what its callbacks noted.
 *
 * Callbacks run on worker threads and must not assert: they write notes, which the case then
 * expects. Everything that a case makes here is ended by server_teardown(), also when it failed. */
#pragma once

#include "hub/hub.h"
#include "test/client.h"

typedef struct server {
    hub_t *hub;            /* one is made; others are the case's own */
    hub_server_t *server;  /* nothing is mounted */
    const char *address;   /* after server_start() */
    client_t *clients[64]; /* closed at the end */
    size_t client_count;
} server_t;

/* One worker. For more: server_create_with(). Its log and notes begin empty. */
server_t *server_create(void);
server_t *server_create_with(const hub_server_options_t *server_options,
                             const hub_options_t *hub_options);
/* These fail the case where they fail. */
void server_channel(server_t *server, const hub_channel_options_t *options);
void server_hook(server_t *server, hub_hook_t hook, hub_hook_cb on_hook);
void server_mount(server_t *server, const hub_endpoint_options_t *options);
/* Limits of an endpoint whose clients may say as much as they like, as often. */
#define SERVER_UNHURRIED                                                                           \
    .messages_per_s = HUB_OFF, .bytes_per_s = HUB_OFF, .joins_per_s = HUB_OFF,                     \
    .controls_per_s = HUB_OFF
/* Listens on a port that the kernel picks. */
void server_start(server_t *server);

/* A websocket with its handshake done, or a TCP connection alone; closed at the end. */
client_t *server_client(server_t *server, const char *target);
client_t *server_connect(server_t *server);
/* Takes over one that the case connected itself; returns it. */
client_t *server_keep_client(server_t *server, client_t *client);
/* The case closes this one now. */
void server_drop_client(server_t *server, client_t *client, void (*drop)(client_t *client));
/* Two that are served by different workers: `target`'s channel must answer `event` on `topic` with
 * something that differs between the workers (server_reply_thread()). Both have joined `topic`. */
void server_client_pair(server_t *server, const char *target, const char *topic, const char *event,
                        client_t **ret_left, client_t **ret_right);
/* A handler for that event. */
hub_status_t server_reply_thread(hub_member_t *me, const hub_message_t *msg);

/* Stops the server and waits. */
void server_stop(server_t *server);

/* ---- notes: what callbacks saw, in the order written ---- */

/* At most 255 bytes. Any thread. */
void server_note(const char *format, ...) HUB_PRINTF(1, 2);
/* The next note is this one; waits for it. */
void server_expect_note(const char *text);
/* The next notes are these, in any order. */
void server_expect_notes(const char *const *texts, size_t count);
#define SERVER_EXPECT_NOTES(...)                                                                   \
    server_expect_notes((const char *const[]){__VA_ARGS__},                                        \
                        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
/* Nothing is left that was not expected. */
void server_expect_no_note(void);
/* The next note, whatever it is. */
void server_copy_note(char *buffer, size_t size);
/* One more note of this text will come; skips others. */
void server_skip_to_note(const char *text);

/* ---- waiting for what a test lets happen on another thread ---- */

/* A gate that callbacks and jobs wait at; closed when the case begins. */
void server_gate_wait(void);
void server_gate_open(void);

/* ---- counters and log ---- */

/* Waits until this counter has the value; `offset` is offsetof(hub_stats_t, …). */
void server_expect_stat(server_t *server, size_t offset, uint64_t value);
#define SERVER_EXPECT_STAT(server, name, value)                                                    \
    server_expect_stat((server), offsetof(hub_stats_t, name), (value))
/* The same, or more. */
void server_expect_stat_at_least(server_t *server, size_t offset, uint64_t value);
#define SERVER_EXPECT_STAT_AT_LEAST(server, name, value)                                           \
    server_expect_stat_at_least((server), offsetof(hub_stats_t, name), (value))
uint64_t server_stat(server_t *server, size_t offset);
#define SERVER_STAT(server, name) server_stat((server), offsetof(hub_stats_t, name))
/* Some line of the log has this event name and this within its text; waits for it. */
void server_expect_log(const char *event, const char *within);
/* From here on all lines are of the same moment, and so their limits hold. */
void server_stop_log_clock(void);
/* Lines so far of this event; whether any holds this text; how long the longest is. */
size_t server_count_log(const char *event);
bool server_has_log(const char *within);
size_t server_longest_line(void);

int server_teardown(void **state);
/* An entry of cmocka's table. */
#define SERVER_CASE(name) cmocka_unit_test_teardown(name, server_teardown)
