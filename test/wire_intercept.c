/* SPDX-License-Identifier: MIT */
/* A filter for some events of a channel: those that it does not intercept cost what they cost
 * without one, and still nothing of a topic overtakes anything. Scripts of publishes of both kinds,
 * each within one turn of the loop, are heard by members of every wire format. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TOPIC "x:1"
#define SCRIPTS 150
#define SCRIPT_MAX 12

/* ---- the channels of these cases ---- */

static int number_of(hub_str_t json)
{
    int number = 0;

    for (size_t i = 0; i != json.len && json.base[i] != '}'; ++i)
        if (json.base[i] >= '0' && json.base[i] <= '9')
            number = number * 10 + (json.base[i] - '0');
    return number;
}

/* Of the number that a message carries: every third goes out as it is, every third to nobody, every
 * third as another. */
static hub_update_t on_update(hub_member_t *me, const hub_message_t *msg,
                              hub_payload_t *ret_payload)
{
    static _Thread_local char other[32];
    int number = number_of(msg->payload.bytes);

    (void)me;
    snprintf(other, sizeof(other), "{\"r\":%d}", number);
    *ret_payload = hub_json(hub_str(other));
    return number % 3 == 0   ? HUB_UPDATE_KEEP
           : number % 3 == 1 ? HUB_UPDATE_SKIP
                             : HUB_UPDATE_REPLACE;
}

static void on_published(const hub_publish_result_t *result, void *user)
{
    server_note("%s: %llu members, %llu queued, %llu skipped", (const char *)user,
                (unsigned long long)result->counts.members,
                (unsigned long long)result->counts.queued,
                (unsigned long long)result->counts.skipped);
}

/* One letter: p plain, s veiled, P and S the same to others, c and C counted, w to itself, r a
 * reply. */
static hub_status_t act(hub_member_t *me, const hub_message_t *msg, char letter,
                        hub_payload_t payload)
{
    static char plain[] = "plain", veiled[] = "veiled";
    hub_t *hub = hub_member_hub(me);

    switch (letter) {
    case 'p':
        return hub_publish(hub, HUB_STR(TOPIC), HUB_STR("plain"), payload);
    case 's':
        return hub_publish(hub, HUB_STR(TOPIC), HUB_STR("veiled"), payload);
    case 'P':
        return hub_member_broadcast_from(me, HUB_STR("plain"), payload);
    case 'S':
        return hub_member_broadcast_from(me, HUB_STR("veiled"), payload);
    case 'c':
        return hub_publish_counted(hub, HUB_STR(TOPIC), HUB_STR("plain"), payload, on_published,
                                   plain);
    case 'C':
        return hub_publish_counted(hub, HUB_STR(TOPIC), HUB_STR("veiled"), payload, on_published,
                                   veiled);
    case 'w':
        return hub_member_push(me, HUB_STR("own"), payload);
    default:
        return hub_member_reply(me, msg, payload);
    }
}

/* The payload is a string of letters. Whoever writes many sends much. */
static hub_status_t on_run(hub_member_t *me, const hub_message_t *msg)
{
    hub_status_t err = HUB_OK;

    for (size_t i = 1; err == HUB_OK && i + 1 < msg->payload.bytes.len; ++i) {
        char json[300];

        snprintf(json, sizeof(json), "{\"n\":%zu}%*s", i - 1, i > 100 ? 250 : 0, "");
        err = act(me, msg, msg->payload.bytes.base[i], hub_json(hub_str(json)));
    }
    return err;
}

static server_t *veiled(void)
{
    static const char *const intercept[] = {"veiled", NULL};
    static const hub_event_handler_t events[] = {{"run", on_run}, {NULL, NULL}};
    const hub_channel_options_t channels[] = {
        {.pattern = "x:{id}", .events = events, .on_update = on_update, .intercept = intercept},
        {.pattern = "control", .events = events},
    };
    server_t *server = server_create();

    for (size_t i = 0; i != COUNT(channels); ++i)
        server_channel(server, &channels[i]);
    server_mount(server, &(hub_endpoint_options_t){.limits = {SERVER_UNHURRIED}});
    server_start(server);
    return server;
}

/* ---- members of every wire format ---- */

enum { NATIVE, ONE, TWO };

typedef struct member {
    client_t *client;
    int format;
} member_t;

static void write_frame(char *json, size_t size, int format, const char *topic, const char *event,
                        const char *payload)
{
    if (format == TWO)
        snprintf(json, size, "['1','1','%s','%s',%s]", topic, event, payload);
    else
        snprintf(json, size, "{'topic':'%s','event':'%s','payload':%s,'ref':'1'}", topic, event,
                 payload);
}

static void say(const member_t *member, const char *event, const char *payload)
{
    char json[2200];

    write_frame(json, sizeof(json), member->format, TOPIC, event, payload);
    client_json(member->client, json);
}

static member_t enter(server_t *server, int format)
{
    static const char *const targets[] = {"/socket", "/socket?vsn=1.0.0", "/socket?vsn=2.0.0"};
    member_t member = {server_client(server, targets[format]), format};

    say(&member, format == NATIVE ? "join" : "phx_join", "{}");
    (void)client_expect_frame(member.client, CLIENT_TEXT);
    return member;
}

/* ---- what each must hear ---- */

/* NULL: nothing of this letter. */
static const char *part_of_frame(char letter, size_t number, bool is_sender, char part[24])
{
    bool is_veiled = letter == 's' || letter == 'S' || letter == 'C';

    if (is_sender ? letter == 'P' || letter == 'S' : letter == 'w' || letter == 'r')
        return NULL;
    if (is_veiled && number % 3 == 1)
        return NULL;
    snprintf(part, 24, is_veiled && number % 3 == 2 ? "{\"r\":%zu}" : "{\"n\":%zu}", number);
    return part;
}

static void expect_script(client_t *client, const char *script, bool is_sender)
{
    char part[24];

    for (size_t i = 0; script[i] != '\0'; ++i) {
        hub_str_t frame;

        if (part_of_frame(script[i], i, is_sender, part) == NULL)
            continue;
        frame = client_expect_frame(client, CLIENT_TEXT);
        if (strstr(frame.base, part) == NULL)
            fail_msg("script %s, %s wants %s, not %s", script, is_sender ? "sender" : "another",
                     part, frame.base);
    }
}

static unsigned draw(uint32_t *random, unsigned bound)
{
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    return *random % bound;
}

static void draw_script(uint32_t *random, const char *letters, char script[SCRIPT_MAX + 1])
{
    size_t len = 1 + draw(random, SCRIPT_MAX);

    for (size_t i = 0; i != len; ++i)
        script[i] = letters[draw(random, (unsigned)strlen(letters))];
    script[len] = '\0';
}

/* ---- cases ---- */

static void plain_and_intercepted_events_keep_their_order(void **state)
{
    server_t *s = veiled();
    member_t members[6];
    uint32_t random = 1;

    (void)state;
    for (size_t i = 0; i != COUNT(members); ++i)
        members[i] = enter(s, (int)(i % 3));
    for (size_t i = 0; i != SCRIPTS; ++i) {
        char script[SCRIPT_MAX + 1], payload[SCRIPT_MAX + 3];

        draw_script(&random, "ppppssPSwr", script);
        snprintf(payload, sizeof(payload), "'%s'", script);
        say(&members[i % COUNT(members)], "run", payload);
        for (size_t j = 0; j != COUNT(members); ++j)
            expect_script(members[j].client, script, j == i % COUNT(members));
    }
    client_expect_quiet(members[0].client);
}

/* What a client says at once, mostly met in one turn. */
static void say_all(client_t *client, const char *const *frames, size_t count)
{
    static char bytes[2048];
    size_t len = 0;

    for (size_t i = 0; i != count; ++i) {
        char *json = client_quotes(frames[i]);

        len += client_frame_write(bytes + len, CLIENT_TEXT, hub_str(json));
        free(json);
    }
    client_send(client, hub_str_n(bytes, len));
}

static void visit(client_t *visitor, const member_t *resident, char scripts[3][SCRIPT_MAX + 1])
{
    char runs[3][128], payload[64];
    const char *const frames[] = {
        runs[0], "{'topic':'" TOPIC "','event':'join','payload':{},'ref':'j'}", runs[1],
        "{'topic':'" TOPIC "','event':'leave','payload':{},'ref':'l'}", runs[2]};

    for (size_t i = 0; i != 3; ++i) {
        snprintf(payload, sizeof(payload), "'%s'", scripts[i]);
        write_frame(runs[i], sizeof(runs[i]), NATIVE, "control", "run", payload);
    }
    say_all(visitor, frames, COUNT(frames));
    assert_non_null(
        strstr(client_expect_frame(visitor, CLIENT_TEXT).base, "\"already_joined\":false"));
    expect_script(visitor, scripts[1], false);
    client_expect_ok(visitor, TOPIC, "'l'", "{'topic':'" TOPIC "'}");
    for (size_t i = 0; i != 3; ++i)
        expect_script(resident->client, scripts[i], false);
}

static void who_joins_and_leaves_within_a_turn_hears_what_lies_between(void **state)
{
    server_t *s = veiled();
    member_t residents[3];
    client_t *visitor = server_client(s, "/socket");
    uint32_t random = 2;

    (void)state;
    client_join(visitor, "control", "'1'");
    residents[0] = enter(s, TWO);
    for (size_t i = 0; i != SCRIPTS; ++i) {
        char scripts[3][SCRIPT_MAX + 1];

        for (size_t j = 0; j != COUNT(scripts); ++j)
            draw_script(&random, "pps", scripts[j]);
        visit(visitor, &residents[0], scripts);
    }
    client_expect_quiet(visitor);
}

static void counts_of_both_kinds_are_told_apart(void **state)
{
    server_t *s = veiled();
    member_t one = enter(s, NATIVE), two = enter(s, TWO);

    (void)state;
    say(&one, "run", "'cCc'");
    server_expect_note("plain: 2 members, 2 queued, 0 skipped");
    server_expect_note("veiled: 2 members, 0 queued, 2 skipped");
    server_expect_note("plain: 2 members, 2 queued, 0 skipped");
    say(&two, "run", "'CcccC'");
    server_expect_note("veiled: 2 members, 2 queued, 0 skipped");
    for (int i = 0; i != 3; ++i)
        server_expect_note("plain: 2 members, 2 queued, 0 skipped");
    server_expect_note("veiled: 2 members, 0 queued, 2 skipped");
    expect_script(two.client, "cCc", false);
    expect_script(two.client, "CcccC", true);
    server_expect_no_note();
}

/* More than a topic keeps open within one turn. */
static void a_long_turn_is_settled_in_between_also_with_a_filter(void **state)
{
    static char script[2001], payload[2003];
    server_t *s = veiled();
    member_t one = enter(s, NATIVE), two = enter(s, TWO);

    (void)state;
    memset(script, 'p', sizeof(script) - 1);
    for (size_t i = 1500; i < sizeof(script) - 1; i += 97)
        script[i] = 's';
    snprintf(payload, sizeof(payload), "'%s'", script);
    say(&one, "run", payload);
    expect_script(one.client, script, true);
    expect_script(two.client, script, false);
    client_expect_quiet(one.client);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(plain_and_intercepted_events_keep_their_order),
        SERVER_CASE(who_joins_and_leaves_within_a_turn_hears_what_lies_between),
        SERVER_CASE(counts_of_both_kinds_are_told_apart),
        SERVER_CASE(a_long_turn_is_settled_in_between_also_with_a_filter),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
