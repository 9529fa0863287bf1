/* SPDX-License-Identifier: MIT */
/* Conversations with phoenix_app, frame for frame: those that were recorded with the same
 * application on Phoenix itself (test/phoenix/v1.jsonl and v2.jsonl), and those that say in the
 * same form what its documents and source promise (more.jsonl). Each is a case. What a client said
 * at once is said at once; that nothing else was answered is proven by pings, not by waiting. */
#define _GNU_SOURCE /* pipe2, asprintf */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/client.h"
#include "test/recording.h"

#define CONNS_MAX 24
#define FRAMES_MAX 256 /* to one connection in one burst */
#define REFS_MAX 64
#define AWAIT_MS 5000    /* the longest recorded silence before an answer is 2 s */
#define IDLE_MIN_MS 1200 /* what a time-out of 2 s may take */
#define IDLE_MAX_MS 3000

/* Where an outcome of ours is meant to be another one. A recorded frame in its place is accepted as
 * well, so each row must be needed: one that is not fails. `ours` NULL: nothing comes. */
static const struct {
    const char *conversation, *recorded, *ours, *reason;
} differences[] = {
    {"v?.http-get-no-upgrade", "http 400", "http 426", "the status for a missing upgrade"},
    {"v?.http-get-no-upgrade", "http 400", "http 405", "the status for another method"},
    {"v?.malformed-json", "close 1011", "close 1007", "the client's error, not the server's"},
    {"v?.wrong-shape-object", "close 1011", "close 1008", "the client's error, not the server's"},
    {"v1.wrong-shape-object", "close 1011",
     "{'event':'phx_reply','payload':{'response':{'reason':'invalid_payload'},'status':'error'},"
     "'ref':'2','topic':'room:1'}",
     "a frame that tells its topic and ref is answered"},
    {"v2.wrong-types", "close 1011",
     "[null,'2',null,'phx_reply',{'response':{'reason':'unmatched topic'},'status':'error'}]",
     "a topic that is an object is one that nobody has"},
    {"v?.binary-broadcast-to-v1", "['JA','JA','room:1','phx_error',{'reason':'channel_crash'}]",
     NULL, "who can't carry bytes is left out; the sender is not to blame"},
    {"v2.longpoll", "http 200 {'status':408}", "http 200 {'status':400}",
     "what is malformed is refused at once"},
    {"v?.auth-token-subprotocol", "http 500", "http 403", "the client's error, not the server's"},
    {"v?.permessage-deflate", "upgrade with permessage-deflate;client_max_window_bits=15",
     "upgrade", "the recorded client offered it, the one here does not"},
    {"v?.idle-timeout-2s*", "close 1002", "close 1001", "going away is no violation"},
    {"v2.server-shutdown", "close 1000", "close 1012", "all are to come back, members or not"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct conn {
    const char *name;
    client_t *client;
    char *token; /* of a long-poll client, as last received */
    bool open;
    bool said;    /* something in this burst */
    bool closing; /* said that it closes */
    bool idles;   /* a ping would keep it alive */
    int64_t said_ms;
    recording_frame_t got[FRAMES_MAX];
    size_t got_count;
} conn_t;

static struct {
    const recording_t *recording;
    pid_t pid;
    FILE *out, *err;
    char address[64];
    int64_t began_ms;
    bool stopped; /* the program was asked to end */
    conn_t conns[CONNS_MAX];
    size_t conn_count;
    bool row_used[COUNT(differences)];
    struct {
        char recorded[32], ours[32];
    } refs[REFS_MAX]; /* of presence: one to one */
    size_t ref_count;
} play;

static recording_t *recordings;
static size_t recording_count;

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the program ---- */

static void become_app(int out, int err)
{
    const char *folder = getenv("SOCKETHUB_APPS");
    char path[1024];

    snprintf(path, sizeof(path), "%s/phoenix_app", folder != NULL ? folder : "build/dev/test");
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    execl(path, path, "--port", "0", (char *)NULL);
    _exit(127);
}

static void start_app(void)
{
    char line[128] = "";
    int ends[2];

    play.err = tmpfile();
    assert_non_null(play.err);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    if ((play.pid = fork()) == 0)
        become_app(ends[1], fileno(play.err));
    assert_true(play.pid > 0);
    close(ends[1]);
    play.out = fdopen(ends[0], "r");
    assert_non_null(fgets(line, sizeof(line), play.out));
    assert_int_equal(sscanf(line, "listening on http://%63s", play.address), 1);
}

/* Ends it, unless it does so by itself; it must have found nothing wrong with itself. */
static void expect_app_ends_well(void)
{
    int status = 0;

    for (size_t i = 0; i < play.conn_count; i++) { /* or it would wait for their farewells */
        client_destroy(play.conns[i].client);
        play.conns[i].client = NULL;
    }
    if (!play.stopped)
        kill(play.pid, SIGTERM);
    while (waitpid(play.pid, &status, 0) == -1 && errno == EINTR)
        ;
    play.pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("phoenix_app ended with status %#x", (unsigned)status);
}

static void print_app_errors(void)
{
    char line[2048];

    rewind(play.err);
    while (fgets(line, sizeof(line), play.err) != NULL)
        print_error("phoenix_app: %s", line);
}

static int clean_up(void **state)
{
    bool failed = play.pid != 0;

    (void)state;
    for (size_t i = 0; i < play.conn_count; i++) {
        conn_t *conn = &play.conns[i];

        client_destroy(conn->client);
        free(conn->token);
        for (size_t j = 0; j < conn->got_count; j++)
            recording_forget(&conn->got[j]);
    }
    if (failed) {
        kill(play.pid, SIGKILL);
        waitpid(play.pid, NULL, 0);
    }
    if (play.err != NULL && failed)
        print_app_errors();
    if (play.out != NULL)
        fclose(play.out);
    if (play.err != NULL)
        fclose(play.err);
    memset(&play, 0, sizeof(play));
    return 0;
}

/* ---- connections ---- */

static conn_t *conn_of(const char *name)
{
    for (size_t i = 0; i < play.conn_count; i++)
        if (strcmp(play.conns[i].name, name) == 0)
            return &play.conns[i];
    assert_true(play.conn_count < CONNS_MAX);
    play.conns[play.conn_count].name = name;
    return &play.conns[play.conn_count++];
}

static void keep_frame(conn_t *conn, recording_frame_t frame)
{
    assert_true(conn->got_count < FRAMES_MAX);
    conn->got[conn->got_count++] = frame;
}

static void on_close(conn_t *conn, hub_str_t payload)
{
    const unsigned char *at = (const unsigned char *)payload.base;
    unsigned code = payload.len < 2 ? 1005 : at[0] * 256U + at[1];
    int64_t idle_ms = now_ms() - conn->said_ms;

    keep_frame(conn, recording_other(recording_format("close %u", code)));
    if (!conn->closing)
        client_close_frame(conn->client, code == 1005 ? 0 : code, "");
    else if (conn->idles)
        assert_in_range(idle_ms, 0, IDLE_MIN_MS);
    if (!conn->closing && conn->idles && !play.stopped)
        assert_in_range(idle_ms, IDLE_MIN_MS, IDLE_MAX_MS);
    client_expect_eof(conn->client);
    conn->open = false;
}

/* Takes what comes next. True: it is the pong that was waited for. */
static bool take_frame(conn_t *conn, const char *wanted_pong)
{
    client_frame_t frame = client_next(conn->client);
    char *hex;

    switch (frame.first) {
    case CLIENT_TEXT:
        keep_frame(conn, recording_text(frame.payload.base));
        break;
    case CLIENT_BINARY:
        keep_frame(conn, recording_binary(frame.payload));
        break;
    case CLIENT_CLOSE:
        on_close(conn, frame.payload);
        break;
    case CLIENT_PONG:
        if (wanted_pong != NULL && hub_str_equals(frame.payload, hub_str(wanted_pong)))
            return true;
        hex = recording_hex(frame.payload);
        keep_frame(conn, recording_other(recording_format("pong %s", hex)));
        free(hex);
        break;
    default:
        fail_msg("an unexpected frame %02x", frame.first);
    }
    return false;
}

/* What the server has for this connection by now has come. */
static void ping(conn_t *conn)
{
    static unsigned count;
    char payload[32];

    if (!conn->open || conn->closing || conn->idles)
        return;
    snprintf(payload, sizeof(payload), "nothing else %u", ++count);
    client_frame(conn->client, CLIENT_PING, hub_str(payload));
    while (conn->open && !take_frame(conn, payload))
        ;
}

/* First those who said something, because of which there may be something for others. */
static void ping_all(void)
{
    for (size_t i = 0; i < play.conn_count; i++)
        if (play.conns[i].said)
            ping(&play.conns[i]);
    for (size_t i = 0; i < play.conn_count; i++)
        ping(&play.conns[i]);
}

/* ---- what the client does ---- */

static char *fields_of(const json_t *data)
{
    const json_t *protocols = json_object_get(data, "protocols");
    char *fields = strdup(""), *longer;
    const char *name;
    json_t *value;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)json_object_get(data, "headers"), name, value)
    {
        longer = recording_format("%s%s: %s\r\n", fields, name, json_string_value(value));
        free(fields);
        fields = longer;
    }
    json_array_foreach(protocols, i, value)
    {
        longer =
            recording_format("%sSec-WebSocket-Protocol: %s\r\n", fields, json_string_value(value));
        free(fields);
        fields = longer;
    }
    return fields;
}

static void do_connect(conn_t *conn, const recording_line_t *line)
{
    const char *path = recording_string(line->data, "path");
    char *fields = fields_of(line->data), *protocol, *extensions;
    client_response_t response;

    client_destroy(conn->client);
    conn->client = client_connect(play.address, 0);
    client_send_text(conn->client, client_upgrade_text(path, fields));
    free(fields);
    response = client_next_response(conn->client);
    conn->idles = strncmp(path, "/short/", 7) == 0;
    conn->open = response.status == 101;
    conn->closing = false;
    if (!conn->open) {
        keep_frame(conn, recording_http(response.status, response.body.base));
        return;
    }
    assert_true(hub_str_equals(client_header(&response, "Sec-WebSocket-Accept"),
                               HUB_STR("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    protocol =
        recording_format("%.*s", HUB_STR_ARG(client_header(&response, "Sec-WebSocket-Protocol")));
    extensions =
        recording_format("%.*s", HUB_STR_ARG(client_header(&response, "Sec-WebSocket-Extensions")));
    keep_frame(conn, recording_upgrade(protocol, extensions));
    free(extensions);
    free(protocol);
}

/* A recorded token stands for the one that came in its place. To be freed. */
static char *target_of(const conn_t *conn, const recording_line_t *line)
{
    static const char recorded[] = "token=SFMyNTY.";
    const char *path = recording_string(line->data, "path"), *at = strstr(path, recorded);

    if (at == NULL || conn->token == NULL)
        return strdup(path);
    return recording_format("%.*stoken=%s%s", (int)(at - path), path, conn->token,
                            at + strcspn(at, "&"));
}

static void keep_token(conn_t *conn, const char *body)
{
    char *token = recording_token(body);

    if (token == NULL)
        return;
    free(conn->token);
    conn->token = token;
}

static void do_http(conn_t *conn, const recording_line_t *line)
{
    const char *body = recording_string(line->data, "body");
    char *fields = fields_of(line->data), *length = strdup(""), *all;
    char *target = target_of(conn, line);
    client_response_t response;

    if (strcmp(recording_string(line->data, "method"), "GET") != 0) {
        free(length);
        length = recording_format("Content-Length: %zu\r\n", strlen(body));
    }
    client_destroy(conn->client);
    conn->client = client_connect(play.address, 0);
    all = recording_format("%s%s", fields, length);
    client_request(conn->client, recording_string(line->data, "method"), target, all);
    free(target);
    free(all);
    client_send_text(conn->client, body);
    response = client_next_response(conn->client);
    keep_token(conn, response.body.base);
    keep_frame(conn, recording_http(response.status, response.body.base));
    free(length);
    free(fields);
}

/* A frame too long to write out: "text frame of 2000036 bytes, event okonly". */
static void do_note(conn_t *conn, const recording_line_t *line)
{
    bool is_v1 = strncmp(play.recording->name, "v1.", 3) == 0;
    const char *head = is_v1 ? "{\"topic\":\"room:1\",\"event\":\"okonly\",\"payload\":{\"a\":\""
                             : "[\"1\",\"2\",\"room:1\",\"okonly\",{\"a\":\"";
    const char *tail = is_v1 ? "\"},\"ref\":\"2\"}" : "\"}]";
    size_t size = 0;
    char *text;

    assert_int_equal(sscanf(line->text, "text frame of %zu bytes, event okonly", &size), 1);
    assert_true(size > strlen(head) + strlen(tail));
    text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text, head, strlen(head));
    memcpy(text + size - strlen(tail), tail, strlen(tail));
    client_frame(conn->client, CLIENT_TEXT, hub_str_n(text, size));
    free(text);
}

static void do_server_action(const char *action)
{
    bool stops = strcmp(action, "System.stop") == 0;
    char *target = recording_format("/ctl/%s", stops ? "stop" : action);
    client_t *client = client_connect(play.address, 0);
    int status;

    client_request(client, "POST", target, "Content-Length: 0\r\n");
    status = client_next_response(client).status;
    client_destroy(client);
    free(target);
    assert_in_range(status, 200, 299);
    play.stopped = play.stopped || stops;
}

static void say_frame(conn_t *conn, const recording_line_t *line)
{
    char *buffer = malloc(line->text == NULL ? 1 : strlen(line->text) / 2 + 1);

    assert_non_null(buffer);
    if (strcmp(line->kind, "text") == 0) {
        client_frame(conn->client, CLIENT_TEXT, hub_str(line->text));
    } else if (strcmp(line->kind, "binary") == 0) {
        client_frame(conn->client, CLIENT_BINARY, recording_bytes(line->text, buffer));
    } else if (strcmp(line->kind, "ping") == 0) {
        client_frame(conn->client, CLIENT_PING, recording_bytes(line->text, buffer));
    } else if (strcmp(line->kind, "note") == 0) {
        do_note(conn, line);
    } else if (strcmp(line->kind, "close") == 0) {
        client_close_frame(conn->client, (unsigned)recording_number(line->data, "code"),
                           recording_string(line->data, "reason"));
        conn->closing = true;
    } else {
        fail_msg("a client does not say %s", line->kind);
    }
    free(buffer);
}

static void do_line(const recording_line_t *line)
{
    conn_t *conn;

    if (strcmp(line->kind, "server-action") == 0) {
        do_server_action(line->text);
        return;
    }
    conn = conn_of(line->conn);
    if (line->dir == RECORDING_BESIDE) { /* the client gave up: no subprotocol was returned */
        client_destroy(conn->client);
        conn->client = NULL;
        conn->open = false;
        return;
    }
    if (strcmp(line->kind, "connect") == 0) {
        do_connect(conn, line);
    } else if (strcmp(line->kind, "http") == 0) {
        do_http(conn, line);
    } else {
        if (!conn->open)
            fail_msg("%s is closed already", conn->name);
        say_frame(conn, line);
    }
    conn->said = true;
    conn->said_ms = now_ms();
}

/* ---- what must have come ---- */

typedef enum verdict { ALL_OF_IT, SOME_OF_IT, SOMETHING_ELSE } verdict_t;

typedef struct expected {
    recording_frame_t frames[FRAMES_MAX];
    size_t count;
} expected_t;

static bool is_text(const char *text, const char *quoted)
{
    for (; *quoted != '\0'; text++, quoted++)
        if (*text != (*quoted == '\'' ? '"' : *quoted))
            return false;
    return *text == '\0';
}

/* Whether a row says that `ours` (NULL: nothing) may stand for what was recorded. */
static bool may_differ(const char *recorded, const char *ours)
{
    for (size_t i = 0; i < COUNT(differences); i++)
        if (fnmatch(differences[i].conversation, play.recording->name, 0) == 0 &&
            is_text(recorded, differences[i].recorded) &&
            (ours == NULL || differences[i].ours == NULL ? ours == differences[i].ours
                                                         : is_text(ours, differences[i].ours))) {
            play.row_used[i] = true;
            return true;
        }
    return false;
}

/* A reference of presence stands for one of the recorded ones, always the same. */
static bool pair_ref(const char *recorded, size_t recorded_len, const char *ours, size_t ours_len)
{
    for (size_t i = 0; i < play.ref_count; i++) {
        bool same =
            hub_str_equals(hub_str(play.refs[i].recorded), hub_str_n(recorded, recorded_len));

        if (same != hub_str_equals(hub_str(play.refs[i].ours), hub_str_n(ours, ours_len)))
            return false;
        if (same)
            return true;
    }
    assert_true(play.ref_count < REFS_MAX && recorded_len < 32 && ours_len < 32);
    memcpy(play.refs[play.ref_count].recorded, recorded, recorded_len);
    memcpy(play.refs[play.ref_count].ours, ours, ours_len);
    play.ref_count++;
    return true;
}

static bool refs_fit(const char *recorded, const char *ours)
{
    while (recorded != NULL && ours != NULL && *recorded != '\0' && *ours != '\0') {
        size_t recorded_len = strcspn(recorded, "\n"), ours_len = strcspn(ours, "\n");

        if (ours_len == 0 || !pair_ref(recorded, recorded_len, ours, ours_len))
            return false;
        recorded += recorded_len + 1;
        ours += ours_len + 1;
    }
    return (recorded == NULL) == (ours == NULL);
}

static bool fits(const recording_frame_t *wanted, const recording_frame_t *got)
{
    return (strcmp(wanted->text, got->text) == 0 && refs_fit(wanted->refs, got->refs)) ||
           may_differ(wanted->text, got->text);
}

/* It may stand anywhere among the frames of its topic. */
static bool is_presence_diff(const recording_frame_t *frame)
{
    return strstr(frame->text, "\"presence_diff\"") != NULL;
}

/* Nothing that was recorded before a pause is still to come. */
static bool is_in_turn(const expected_t *expected, const recording_frame_t *wanted)
{
    for (size_t i = 0; i < expected->count; i++)
        if (!expected->frames[i].matched && expected->frames[i].part < wanted->part &&
            !may_differ(expected->frames[i].text, NULL))
            return false;
    return true;
}

/* The first of its topic that is still to come must be it. Of another topic: only by a row. */
static bool match(expected_t *expected, const recording_frame_t *got)
{
    for (int other = 0; other < 2; other++)
        for (size_t i = 0; i < expected->count; i++) {
            recording_frame_t *wanted = &expected->frames[i];

            if (wanted->matched || (strcmp(wanted->topic, got->topic) != 0) != (other == 1))
                continue;
            if (fits(wanted, got) && is_in_turn(expected, wanted)) {
                wanted->matched = true;
                return true;
            }
            if (other == 0 && !may_differ(wanted->text, NULL) && !is_presence_diff(wanted) &&
                !is_presence_diff(got))
                break;
        }
    return false;
}

static void expected_of(const recording_take_t *take, unsigned burst, const char *conn,
                        expected_t *expected)
{
    expected->count = 0;
    for (size_t i = 0; i < take->count; i++) {
        const recording_line_t *line = &take->lines[i];
        recording_frame_t frame;

        if (line->dir != RECORDING_TO_CLIENT || line->burst != burst ||
            strcmp(line->conn, conn) != 0 || (frame = recording_frame_of(line)).text == NULL)
            continue;
        assert_true(expected->count < FRAMES_MAX);
        expected->frames[expected->count++] = frame;
    }
}

static void forget(recording_frame_t *frames, size_t *count)
{
    while (*count > 0) {
        recording_forget(&frames[--*count]);
    }
}

static verdict_t compare(const recording_take_t *take, unsigned burst, const conn_t *conn)
{
    static expected_t expected;
    verdict_t verdict = ALL_OF_IT;

    expected_of(take, burst, conn->name, &expected);
    for (size_t i = 0; i < conn->got_count; i++)
        if (!match(&expected, &conn->got[i]))
            verdict = SOMETHING_ELSE;
    for (size_t i = 0; i < expected.count && verdict == ALL_OF_IT; i++)
        if (!expected.frames[i].matched && !may_differ(expected.frames[i].text, NULL))
            verdict = conn->open ? SOME_OF_IT : SOMETHING_ELSE;
    forget(expected.frames, &expected.count);
    return verdict;
}

/* Of all connections: the worst; and one that still gets something. */
static verdict_t compare_all(const recording_take_t *take, unsigned burst, conn_t **ret_waits)
{
    verdict_t worst = ALL_OF_IT;

    for (size_t i = 0; i < play.conn_count; i++) {
        verdict_t verdict = compare(take, burst, &play.conns[i]);

        if (verdict == SOME_OF_IT)
            *ret_waits = &play.conns[i];
        worst = verdict > worst ? verdict : worst;
    }
    return worst;
}

static void fail_burst(unsigned burst, const char *what)
{
    static expected_t expected;

    print_error("%s, burst %u: %s\n", play.recording->name, burst, what);
    for (size_t i = 0; i < play.conn_count; i++) {
        const conn_t *conn = &play.conns[i];

        for (size_t j = 0; j < play.recording->take_count; j++) {
            expected_of(&play.recording->takes[j], burst, conn->name, &expected);
            for (size_t k = 0; k < expected.count; k++)
                print_error("  %s expected (%zu) %.400s\n", conn->name, j + 1,
                            expected.frames[k].text);
            forget(expected.frames, &expected.count);
        }
        for (size_t k = 0; k < conn->got_count; k++)
            print_error("  %s got          %.400s\n", conn->name, conn->got[k].text);
    }
    fail_msg("%s differs", play.recording->name);
}

static void await_frame(conn_t *conn, unsigned burst)
{
    int64_t deadline_ms = now_ms() + AWAIT_MS;

    while (!client_is_readable(conn->client)) {
        if (now_ms() > deadline_ms)
            fail_burst(burst, "nothing more comes");
        poll(NULL, 0, 1);
    }
    (void)take_frame(conn, NULL);
}

/* Outcomes that are not this one are no longer possible. */
static void check_burst(unsigned burst, bool *possible)
{
    for (;;) {
        bool complete = false;
        conn_t *waits = NULL;

        ping_all();
        for (size_t i = 0; i < play.recording->take_count; i++) {
            verdict_t verdict = SOMETHING_ELSE;

            if (possible[i])
                verdict = compare_all(&play.recording->takes[i], burst, &waits);
            complete = complete || verdict == ALL_OF_IT;
            possible[i] = verdict != SOMETHING_ELSE;
        }
        if (complete)
            break;
        if (waits == NULL || !(possible[0] || possible[1]))
            fail_burst(burst, "what came is not what was recorded");
        await_frame(waits, burst);
    }
    for (size_t i = 0; i < play.conn_count; i++) {
        forget(play.conns[i].got, &play.conns[i].got_count);
        play.conns[i].said = false;
    }
}

/* ---- a conversation ---- */

static void wait_until(int64_t at_ms)
{
    int64_t left_ms = at_ms - now_ms();

    if (left_ms > 0)
        poll(NULL, 0, (int)left_ms);
}

static bool is_about_idling(const recording_take_t *take)
{
    return take->count > 0 &&
           strncmp(recording_string(take->lines[0].data, "path"), "/short/", 7) == 0;
}

/* What was said 200 ms before a time-out is said earlier, since a machine may pause for longer. */
static void play_conversation(const recording_t *recording)
{
    const recording_take_t *take = &recording->takes[0];
    bool possible[2] = {true, recording->take_count == 2}, in_time = is_about_idling(take);
    size_t at = 0;

    for (unsigned burst = 0; at < take->count; burst++) {
        for (; at < take->count && take->lines[at].burst == burst; at++) {
            if (take->lines[at].dir == RECORDING_TO_CLIENT)
                continue;
            if (in_time)
                wait_until(play.began_ms + take->lines[at].t_ms * 3 / 4);
            do_line(&take->lines[at]);
        }
        check_burst(burst, possible);
    }
}

static void conversation(void **state)
{
    play.recording = *state;
    start_app();
    play.began_ms = now_ms();
    play_conversation(play.recording);
    for (size_t i = 0; i < COUNT(differences); i++)
        if (fnmatch(differences[i].conversation, play.recording->name, 0) == 0 && !play.row_used[i])
            fail_msg("no difference here between %s and %s", differences[i].recorded,
                     differences[i].ours);
    expect_app_ends_well();
}

static bool is_any(const char *conversation_pattern)
{
    for (size_t i = 0; i < recording_count; i++)
        if (fnmatch(conversation_pattern, recordings[i].name, 0) == 0)
            return true;
    return false;
}

static void every_exception_is_about_a_conversation(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(differences); i++)
        assert_true(is_any(differences[i].conversation));
    print_message("%zu conversations\n", recording_count);
}

int main(void)
{
    struct CMUnitTest *cases;
    int failed;

    recording_load(PHOENIX_DIR, "v1", &recordings, &recording_count);
    recording_load(PHOENIX_DIR, "v2", &recordings, &recording_count);
    recording_load(PHOENIX_DIR, "more", &recordings, &recording_count);
    cases = calloc(recording_count + 1, sizeof(*cases));
    if (cases == NULL)
        abort();
    for (size_t i = 0; i < recording_count; i++)
        cases[i] = (struct CMUnitTest){.name = recordings[i].name,
                                       .test_func = conversation,
                                       .teardown_func = clean_up,
                                       .initial_state = &recordings[i]};
    cases[recording_count] =
        (struct CMUnitTest)cmocka_unit_test(every_exception_is_about_a_conversation);
    failed = _cmocka_run_group_tests("conversations", cases, recording_count + 1, NULL, NULL);
    free(cases);
    return failed;
}
