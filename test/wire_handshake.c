/* SPDX-License-Identifier: MIT */
/* Who gets in: the opening handshake, origins, subprotocols, wire formats and authorize, and what
 * everybody else is told. */
#define _GNU_SOURCE 1
#include "test/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define HOST "Host: localhost\r\n"
#define CONNECTION "Connection: keep-alive, Upgrade\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define END "\r\n"

/* What the connection knows of itself, as the answer to any event. */
static hub_status_t on_about(hub_member_t *me, const hub_message_t *msg)
{
    const hub_conn_t *conn = hub_member_conn(me);
    char json[600];
    int len = snprintf(
        json, sizeof(json),
        "{\"identity\":\"%.*s\",\"role\":\"%.*s\",\"query\":\"%.*s\",\"protocol\":\"%.*s\""
        ",\"format\":\"%.*s\",\"user\":\"%s\"}",
        HUB_STR_ARG(hub_conn_identity(conn)), HUB_STR_ARG(hub_conn_attribute(conn, "role")),
        HUB_STR_ARG(hub_conn_query(conn, "q")), HUB_STR_ARG(hub_conn_protocol(conn)),
        HUB_STR_ARG(hub_conn_format(conn)),
        hub_conn_user(conn) == NULL ? "" : (const char *)hub_conn_user(conn));

    return hub_member_reply(me, msg, hub_json(hub_str_n(json, (size_t)len)));
}

static server_t *gate_of(const hub_endpoint_options_t *endpoint)
{
    server_t *server = server_create();

    server_channel(server, &(hub_channel_options_t){.pattern = "about", .on_receive = on_about});
    server_mount(server, endpoint);
    server_start(server);
    return server;
}

/* Sends one request on a connection of its own. */
static client_t *ask(server_t *server, const char *request)
{
    client_t *client = server_connect(server);

    client_send_text(client, request);
    return client;
}

/* The status of the answer to an upgrade with these further fields. */
static void expect_status(server_t *server, const char *target, const char *fields, int status)
{
    client_t *client = ask(server, client_upgrade_text(target, fields));

    (void)client_expect_response(client, status);
    server_drop_client(server, client, client_destroy);
}

static void expect_about(client_t *client, const char *about)
{
    client_join(client, "about", "'1'");
    client_say(client, "about", "me", "{}", "'2'");
    client_expect_ok(client, "about", "'2'", about);
}

/* ---- the handshake itself ---- */

struct refusal {
    const char *request;
    int status;
};

static const struct refusal refusals[] = {
    {"GET /socket HTTP/1.0\r\n" HOST CONNECTION UPGRADE KEY VERSION END, 400},
    {"GET /socket HTTP/1.1\r\n" CONNECTION UPGRADE KEY VERSION END, 400},
    {"GET /socket HTTP/1.1\r\n" HOST HOST CONNECTION UPGRADE KEY VERSION END, 400},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE VERSION END, 400},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY KEY VERSION END, 400},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE "Sec-WebSocket-Key: short\r\n" VERSION END,
     400},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==\r\n" VERSION END,
     400},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n" VERSION END,
     400}, /* not canonical */
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY END, 426},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY "Sec-WebSocket-Version: 8\r\n" END,
     426},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY "Sec-WebSocket-Version: 013\r\n" END,
     426},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION VERSION END, 400},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION KEY VERSION END, 426},
    {"GET /socket HTTP/1.1\r\n" HOST "Connection: close\r\n" UPGRADE KEY VERSION END, 426},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION "Upgrade: h2c\r\n" KEY VERSION END, 426},
    {"GET /socket HTTP/1.1\r\n" HOST END, 426},
    {"POST /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION "Content-Length: 0\r\n" END,
     405},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION "Content-Length: 2\r\n" END
     "ab",
     400},
    {"GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION
     "Origin: http://localhost\r\nOrigin: http://localhost\r\n" END,
     403},
    {"GET /elsewhere HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION END, 404},
    {"GET /socket// HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION END, 404},
    {"GET /socketx HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION END, 404},
    {"GET /socket/websocket/x HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY VERSION END, 404},
};

static void a_handshake_that_is_not_right_is_refused(void **state)
{
    server_t *s = gate_of(NULL);

    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        client_t *c = ask(s, refusals[i].request);

        (void)client_expect_response(c, refusals[i].status);
        server_drop_client(s, c, client_destroy);
    }
    SERVER_EXPECT_STAT(s, conns_total, 0);
}

static void a_426_names_the_version_and_the_protocol(void **state)
{
    client_t *c = ask(gate_of(NULL), "GET /socket HTTP/1.1\r\n" HOST CONNECTION UPGRADE KEY
                                     "Sec-WebSocket-Version: 12\r\n" END);
    client_response_t response = client_expect_response(c, 426);

    (void)state;
    assert_true(hub_str_equals(client_header(&response, "Sec-WebSocket-Version"), HUB_STR("13")));
    assert_true(hub_str_equals(client_header(&response, "Upgrade"), HUB_STR("websocket")));
    assert_non_null(strcasestr(response.head, "\r\nConnection: Upgrade\r\n"));
}

static void a_405_names_what_is_allowed(void **state)
{
    client_t *c = ask(gate_of(NULL), "DELETE /socket HTTP/1.1\r\n" HOST END);
    client_response_t response = client_expect_response(c, 405);

    (void)state;
    assert_true(hub_str_equals(client_header(&response, "Allow"), HUB_STR("GET")));
}

static void names_and_tokens_match_in_any_case(void **state)
{
    client_t *c = ask(gate_of(NULL), "GET /socket HTTP/1.1\r\nhOST: localhost\r\n"
                                     "connection: foo , UPGRADE\r\nUPGRADE: WebSocket\r\n"
                                     "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                     "SEC-WEBSOCKET-VERSION:  13 \r\n" END);

    (void)state;
    client_expect_upgraded(c);
    client_expect_quiet(c);
}

static void a_handshake_in_single_bytes_is_a_handshake(void **state)
{
    server_t *s = gate_of(NULL);
    client_t *c = server_connect(s);

    (void)state;
    client_send_bytewise(c, hub_str(client_upgrade_text("/socket", "")));
    client_expect_upgraded(c);
    client_expect_quiet(c);
}

static void frames_right_behind_the_handshake_are_read(void **state)
{
    server_t *s = gate_of(NULL);
    client_t *c = server_connect(s);
    char bytes[2048];
    size_t len = (size_t)snprintf(bytes, 1024, "%s", client_upgrade_text("/socket", ""));

    (void)state;
    len += client_frame_write(
        bytes + len, CLIENT_TEXT,
        HUB_STR("{\"topic\":\"about\",\"event\":\"join\",\"payload\":{},\"ref\":1}"));
    len += client_frame_write(bytes + len, CLIENT_PING, HUB_STR("hi"));
    client_send(c, hub_str_n(bytes, len));
    client_expect_upgraded(c);
    client_expect_ok(c, "about", "1",
                     "{'topic':'about','already_joined':false,'replay_supported':false}");
    client_expect_message(c, CLIENT_PONG, HUB_STR("hi"));
}

static void extensions_are_not_answered(void **state)
{
    server_t *s = gate_of(NULL);
    client_t *c =
        ask(s, client_upgrade_text("/socket", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    client_response_t response = client_expect_response(c, 101);

    (void)state;
    assert_null(client_header(&response, "Sec-WebSocket-Extensions").base);
}

static void both_paths_answer_unless_the_endpoint_says_which(void **state)
{
    server_t *s = gate_of(NULL);

    (void)state;
    expect_status(s, "/socket", "", 101);
    expect_status(s, "/socket/websocket", "", 101);
    server_teardown(NULL);
    s = gate_of(&(hub_endpoint_options_t){.path = "/live", .path_form = HUB_ENDPOINT_SUFFIX});
    expect_status(s, "/live", "", 404);
    expect_status(s, "/live/websocket", "", 101);
    server_teardown(NULL);
    s = gate_of(&(hub_endpoint_options_t){.path = "/live", .path_form = HUB_ENDPOINT_PATH});
    expect_status(s, "/live", "", 101);
    expect_status(s, "/live/websocket", "", 404);
}

/* ---- wire formats ---- */

static void a_vsn_chooses_the_wire_format(void **state)
{
    server_t *s = gate_of(NULL);
    client_t *one = server_client(s, "/socket/websocket?vsn=1.0.0");
    client_t *two = server_client(s, "/socket/websocket?a=b&vsn=2.0.0");

    (void)state;
    client_json(one, "{'topic':'about','event':'phx_join','payload':{},'ref':'1'}");
    client_expect_json(one, "{'topic':'about','event':'phx_reply','ref':'1',"
                            "'payload':{'status':'ok','response':{}}}");
    client_json(two, "['1','1','about','phx_join',{}]");
    client_expect_json(two, "['1','1','about','phx_reply',{'status':'ok','response':{}}]");
    expect_about(server_client(s, "/socket"),
                 "{'identity':'','role':'','query':'','protocol':'','format':'native','user':''}");
}

static void a_vsn_that_is_not_known_is_403(void **state)
{
    static const char *const targets[] = {"/socket?vsn=",    "/socket?vsn=3.0.0",
                                          "/socket?vsn=abc", "/socket?vsn=2.0.x",
                                          "/socket?vsn=-1",  "/socket?vsn=2.0.0.0.0.0.0.0"};
    server_t *s = gate_of(NULL);

    (void)state;
    for (size_t i = 0; i < COUNT(targets); i++)
        expect_status(s, targets[i], "", 403);
}

static void an_endpoint_may_take_no_vsn_for_phoenix(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.format_without_vsn = HUB_FORMAT_PHOENIX1});
    client_t *c = server_client(s, "/socket/websocket");

    (void)state;
    client_json(c, "{'topic':'about','event':'phx_join','payload':{},'ref':'1'}");
    client_expect_json(c, "{'topic':'about','event':'phx_reply','ref':'1',"
                          "'payload':{'status':'ok','response':{}}}");
}

static void an_endpoint_may_insist_on_a_vsn(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.format_without_vsn = HUB_FORMAT_REFUSE});

    (void)state;
    expect_status(s, "/socket", "", 403);
    expect_status(s, "/socket?vsn=2.0.0", "", 101);
}

/* ---- origins and subprotocols ---- */

struct origin {
    const char *fields;
    int status;
};

static void expect_origins(server_t *server, const struct origin *origins, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect_status(server, "/socket", origins[i].fields, origins[i].status);
}

static void by_default_only_the_servers_own_origin_gets_in(void **state)
{
    static const struct origin origins[] = {
        {"", 101},
        {"Origin: http://localhost\r\n", 101},
        {"Origin: HTTP://LOCALHOST:80\r\n", 101},
        {"Origin: https://localhost:443\r\n", 101},
        {"Origin: http://localhost:4000\r\n", 403},
        {"Origin: ftp://localhost\r\n", 403},
        {"Origin: http://evil.localhost\r\n", 403},
        {"Origin: http://localhost.evil\r\n", 403},
        {"Origin: http://localhost@evil\r\n", 403},
        {"Origin: http://evil@localhost\r\n", 403},
        {"Origin: http://localhost/\r\n", 403},
        {"Origin: http://localhost.\r\n", 403},
        {"Origin: localhost\r\n", 403},
        {"Origin: null\r\n", 403},
        {"Origin: \r\n", 403},
    };

    (void)state;
    expect_origins(gate_of(NULL), origins, COUNT(origins));
}

static void a_list_of_origins_takes_the_place_of_the_default(void **state)
{
    static const char *const list[] = {"https://a.example", "//*.b.example", NULL};
    static const struct origin origins[] = {
        {"", 101},
        {"Origin: https://a.example\r\n", 101},
        {"Origin: http://a.example\r\n", 403},
        {"Origin: https://a.example:8443\r\n", 403},
        {"Origin: http://x.b.example:81\r\n", 101},
        {"Origin: http://b.example\r\n", 403},
        {"Origin: http://localhost\r\n", 403},
    };

    (void)state;
    expect_origins(
        gate_of(&(hub_endpoint_options_t){.origin_rule = HUB_ORIGIN_LIST, .origins = list}),
        origins, COUNT(origins));
}

static void expect_mount_refused(const hub_endpoint_options_t *options, const char *within)
{
    server_t *s = server_create();

    assert_int_equal(hub_server_mount(s->server, s->hub, options), HUB_EINVAL);
    server_expect_log("server.mount", within);
}

static void origins_that_would_let_nobody_in_are_refused(void **state)
{
    static const char *const url[] = {"https://a.example", NULL}, *const any[] = {"*.a", NULL};

    (void)state;
    expect_mount_refused(&(hub_endpoint_options_t){.origins = url}, "HUB_ORIGIN_LIST");
    expect_mount_refused(&(hub_endpoint_options_t){.origin_rule = HUB_ORIGIN_LIST},
                         "needs origins");
    expect_mount_refused(&(hub_endpoint_options_t){.origin_rule = HUB_ORIGIN_HOST, .origins = url},
                         "https://a.example");
    expect_mount_refused(&(hub_endpoint_options_t){.origin_rule = HUB_ORIGIN_HOST, .origins = any},
                         "*.a");
}

static void the_log_says_why_nobody_got_in(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.auth_token = true});

    (void)state;
    expect_status(s, "/socket", "Origin: http://evil.example\r\n", 403);
    server_expect_log("endpoint.refused", "why=origin origin=\"http://evil.example\"");
    expect_status(s, "/socket?vsn=9.9.9", "", 403);
    server_expect_log("endpoint.refused", "why=vsn");
    expect_status(s, "/socket", "Sec-WebSocket-Protocol: other\r\n", 403);
    server_expect_log("endpoint.refused", "why=auth_token_or_protocol");
}

static void hosts_may_be_compared_alone_as_phoenix_does(void **state)
{
    static const char *const hosts[] = {"a.example", NULL};
    static const struct origin origins[] = {
        {"", 101},
        {"Origin: http://a.example:81\r\n", 101},
        {"Origin: https://A.example\r\n", 101},
        {"Origin: http://x.a.example\r\n", 403},
        {"Origin: http://a.example.evil\r\n", 403},
    };

    (void)state;
    expect_origins(
        gate_of(&(hub_endpoint_options_t){.origin_rule = HUB_ORIGIN_HOST, .origins = hosts}),
        origins, COUNT(origins));
}

static hub_status_t on_origin(hub_str_t origin, hub_str_t host, void *user)
{
    (void)user;
    return hub_str_equals(host, HUB_STR("localhost")) &&
                   hub_str_equals(origin, HUB_STR("app://mine"))
               ? HUB_OK
               : HUB_EREJECTED;
}

static void the_program_may_be_asked_about_an_origin(void **state)
{
    static const struct origin origins[] = {
        {"", 101}, {"Origin: app://mine\r\n", 101}, {"Origin: http://localhost\r\n", 403}};

    (void)state;
    expect_origins(
        gate_of(&(hub_endpoint_options_t){.origin_rule = HUB_ORIGIN_ASK, .on_origin = on_origin}),
        origins, COUNT(origins));
}

static void the_origin_check_is_off_only_when_said(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.origin_rule = HUB_ORIGIN_ANY});

    (void)state;
    expect_status(s, "/socket", "Origin: http://evil.example\r\n", 101);
}

static void the_first_offered_subprotocol_that_is_listed_is_chosen(void **state)
{
    static const char *const protocols[] = {"one", "two", NULL};
    server_t *s = gate_of(&(hub_endpoint_options_t){.protocols = protocols});
    client_t *c = ask(s, client_upgrade_text("/socket", "Sec-WebSocket-Protocol: zero, two\r\n"
                                                        "Sec-WebSocket-Protocol: one\r\n"));
    client_response_t response = client_expect_response(c, 101);

    (void)state;
    assert_true(hub_str_equals(client_header(&response, "Sec-WebSocket-Protocol"), HUB_STR("two")));
    expect_about(
        c, "{'identity':'','role':'','query':'','protocol':'two','format':'native','user':''}");
    expect_status(s, "/socket", "Sec-WebSocket-Protocol: zero\r\n", 403);
    expect_status(s, "/socket", "Sec-WebSocket-Protocol: one,,two\r\n", 400);
    expect_status(s, "/socket", "", 101);
}

static void offers_are_ignored_where_there_is_no_list(void **state)
{
    client_t *c =
        ask(gate_of(NULL), client_upgrade_text("/socket", "Sec-WebSocket-Protocol: zero\r\n"));
    client_response_t response = client_expect_response(c, 101);

    (void)state;
    assert_null(client_header(&response, "Sec-WebSocket-Protocol").base);
}

/* ---- the token among the subprotocols ---- */

static hub_status_t note_token(hub_request_t *request, void *user)
{
    hub_str_t token = hub_request_auth_token(request);

    (void)user;
    if (token.base == NULL)
        server_note("no token");
    else
        server_note("token of %zu: %.*s", token.len, HUB_STR_ARG(token));
    return HUB_OK;
}

static void expect_token(server_t *server, const char *offers, const char *chosen, const char *note)
{
    char fields[8192];
    client_t *client;
    client_response_t response;

    snprintf(fields, sizeof(fields), "Sec-WebSocket-Protocol: %s\r\n", offers);
    client = ask(server, client_upgrade_text("/socket", offers[0] == '\0' ? "" : fields));
    response = client_expect_response(client, 101);
    assert_true(
        hub_str_equals(client_header(&response, "Sec-WebSocket-Protocol"), hub_str(chosen)));
    server_expect_note(note);
    server_drop_client(server, client, client_destroy);
}

#define TOKEN_OFFER "base64url.bearer.phx."

static void a_token_among_the_subprotocols_reaches_authorize(void **state)
{
    server_t *s =
        gate_of(&(hub_endpoint_options_t){.auth_token = true, .on_authorize = note_token});

    (void)state;
    expect_token(s, "phoenix, " TOKEN_OFFER "c2VjcmV0LXRva2Vu", "phoenix",
                 "token of 12: secret-token");
    expect_token(s, TOKEN_OFFER "c2VjcmV0LXRva2Vu, phoenix", "phoenix",
                 "token of 12: secret-token");
    expect_token(s, TOKEN_OFFER "c2VjcmV0LXRva2Vu", NULL, "token of 12: secret-token");
    expect_token(s, "phoenix", "phoenix", "no token");
    expect_token(s, "", NULL, "no token");
    expect_token(s, TOKEN_OFFER, NULL, "token of 0: ");
    expect_token(s, TOKEN_OFFER "Pj4-", NULL, "token of 3: >>>");
    expect_token(s, TOKEN_OFFER "Pj4+", NULL, "token of 3: >>>");
}

static void a_token_that_is_not_base64url_or_comes_twice_is_403(void **state)
{
    server_t *s =
        gate_of(&(hub_endpoint_options_t){.auth_token = true, .on_authorize = note_token});

    (void)state;
    expect_status(s, "/socket", "Sec-WebSocket-Protocol: phoenix, " TOKEN_OFFER "!!!\r\n", 403);
    expect_status(s, "/socket", "Sec-WebSocket-Protocol: phoenix, " TOKEN_OFFER "YQ==\r\n", 400);
    expect_status(s, "/socket", "Sec-WebSocket-Protocol: phoenix, " TOKEN_OFFER "YR\r\n", 403);
    expect_status(s, "/socket",
                  "Sec-WebSocket-Protocol: " TOKEN_OFFER "YQ\r\n"
                  "Sec-WebSocket-Protocol: " TOKEN_OFFER "YQ\r\n",
                  403);
    server_expect_no_note();
}

/* A client's offers with a token of so many bytes. */
static char *offer_of(size_t bytes)
{
    size_t len = (bytes * 4 + 2) / 3;
    char *text = malloc(len + 100);
    int head;

    assert_non_null(text);
    head = sprintf(text, "Sec-WebSocket-Protocol: phoenix, " TOKEN_OFFER);
    memset(text + head, 'A', len);
    strcpy(text + (size_t)head + len, "\r\n");
    return text;
}

static void a_token_of_the_limit_passes_and_one_byte_more_is_403(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.auth_token = true});
    char *less = offer_of(HUB_AUTH_TOKEN_MAX - 1), *most = offer_of(HUB_AUTH_TOKEN_MAX),
         *more = offer_of(HUB_AUTH_TOKEN_MAX + 1);

    (void)state;
    expect_status(s, "/socket", less, 101);
    expect_status(s, "/socket", most, 101);
    expect_status(s, "/socket", more, 403);
    free(less);
    free(most);
    free(more);
}

static void a_token_and_a_list_of_subprotocols_go_together(void **state)
{
    static const char *const protocols[] = {"one", NULL};
    server_t *s = gate_of(&(hub_endpoint_options_t){
        .auth_token = true, .protocols = protocols, .on_authorize = note_token});

    (void)state;
    expect_token(s, "one, " TOKEN_OFFER "YQ", "one", "token of 1: a");
    expect_token(s, "zero, phoenix, one", "phoenix", "no token");
    expect_status(s, "/socket", "Sec-WebSocket-Protocol: zero, " TOKEN_OFFER "YQ\r\n", 403);
}

static void without_the_option_a_token_is_an_offer_like_any_other(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.on_authorize = note_token});

    (void)state;
    expect_token(s, "phoenix, " TOKEN_OFFER "YQ", NULL, "no token");
    expect_token(s, "phoenix, " TOKEN_OFFER "!!!", NULL, "no token");
}

/* ---- authorize ---- */

static void on_free_note(void *user)
{
    server_note("freed %s", (const char *)user);
}

static char ann[] = "ann's";

static void grant_ann(hub_request_t *request)
{
    const hub_attribute_t attributes[] = {{"role", HUB_STR("admin")}};

    hub_request_grant(request, &(hub_grant_t){.identity = HUB_STR("ann"),
                                              .attributes = attributes,
                                              .attribute_count = COUNT(attributes),
                                              .user = ann,
                                              .on_free = on_free_note});
}

/* Notes what it sees and decides by the query's `as`, which lives until it returns. */
static hub_status_t on_authorize(hub_request_t *request, void *user)
{
    hub_str_t as = hub_request_query(request, "as"), q = hub_request_query(request, "q");

    (void)user;
    server_note("%.*s ? %.*s, as=%.*s, q=%.*s, %.*s", HUB_STR_ARG(hub_request_path(request)),
                HUB_STR_ARG(hub_request_query_string(request)), HUB_STR_ARG(as), HUB_STR_ARG(q),
                HUB_STR_ARG(hub_request_header(request, "x-token")));
    if (hub_str_equals(as, HUB_STR("ann"))) {
        grant_ann(request);
        return HUB_OK;
    }
    if (hub_str_equals(as, HUB_STR("bob")))
        return hub_request_refuse(request, 401, 4401, "text/plain", HUB_STR("no bob"));
    if (hub_str_equals(as, HUB_STR("bug")))
        return HUB_ESYSTEM;
    return HUB_EREJECTED;
}

static void authorize_sees_the_request_and_fills_the_grant(void **state)
{
    server_t *s =
        gate_of(&(hub_endpoint_options_t){.on_authorize = on_authorize, .keep_query = true});
    client_t *c = ask(s, client_upgrade_text("/socket?as=ann&q=a%20b", "X-Token: t\r\n"));

    (void)state;
    client_expect_upgraded(c);
    server_expect_note("/socket ? as=ann&q=a%20b, as=ann, q=a b, t");
    expect_about(c, "{'identity':'ann','role':'admin','query':'a b','protocol':'',"
                    "'format':'native','user':'ann\\u0027s'}");
    server_drop_client(s, c, client_abort);
    server_expect_note("freed ann's");
}

static void authorize_refuses_with_a_status_and_a_body(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.on_authorize = on_authorize});
    client_t *c = ask(s, client_upgrade_text("/socket?as=bob", ""));
    client_response_t response = client_expect_response(c, 401);

    (void)state;
    assert_string_equal(response.body.base, "no bob");
    assert_true(
        hub_str_starts_with(client_header(&response, "Content-Type"), HUB_STR("text/plain")));
    expect_status(s, "/socket?as=eve", "", 403);
    expect_status(s, "/socket?as=bug", "", 500);
}

static void authorize_is_not_asked_about_a_bad_handshake_or_origin(void **state)
{
    server_t *s = gate_of(&(hub_endpoint_options_t){.on_authorize = on_authorize});

    (void)state;
    expect_status(s, "/socket?as=ann", "Origin: http://evil.example\r\n", 403);
    expect_status(s, "/socket?as=ann", "Sec-WebSocket-Version: 13\r\n", 400);
    expect_status(s, "/socket?as=ann&vsn=9.0.0", "", 403);
    server_expect_no_note();
}

static void a_refusal_may_be_a_close_code_that_a_browser_sees(void **state)
{
    server_t *s =
        gate_of(&(hub_endpoint_options_t){.on_authorize = on_authorize, .refuse_by_close = true});
    client_t *bob = server_client(s, "/socket?as=bob"), *eve = server_client(s, "/socket?as=eve");

    (void)state;
    assert_string_equal(client_expect_close(bob, 4401).base, "no bob");
    client_expect_eof(bob);
    (void)client_expect_close(eve, 4403);
    client_expect_eof(eve);
}

/* ---- authorize, later ---- */

static hub_request_token_t request_token; /* written before the note that tells of it */

static hub_status_t on_authorize_later(hub_request_t *request, void *user)
{
    hub_status_t status = hub_request_defer(request, &request_token);

    (void)user;
    server_note("asked");
    return status;
}

static server_t *later_gate(bool by_close)
{
    return gate_of(
        &(hub_endpoint_options_t){.on_authorize = on_authorize_later, .refuse_by_close = by_close});
}

static void a_deferred_request_is_accepted_from_another_thread(void **state)
{
    server_t *s = later_gate(false);
    client_t *c = ask(s, client_upgrade_text("/socket", ""));

    (void)state;
    client_frame(c, CLIENT_PING, HUB_STR("early"));
    server_expect_note("asked");
    assert_false(client_is_readable(c));
    assert_int_equal(
        hub_authorize_accept(s->hub, request_token, &(hub_grant_t){.identity = HUB_STR("ann")}),
        HUB_OK);
    client_expect_upgraded(c);
    client_expect_message(c, CLIENT_PONG, HUB_STR("early"));
    expect_about(c, "{'identity':'ann','role':'','query':'','protocol':'','format':'native',"
                    "'user':''}");
}

static void a_deferred_request_is_refused_from_another_thread(void **state)
{
    server_t *s = later_gate(false);
    client_t *c = ask(s, client_upgrade_text("/socket", ""));

    (void)state;
    server_expect_note("asked");
    assert_int_equal(hub_authorize_refuse(s->hub, request_token, 418, 0, HUB_STR("tea")), HUB_OK);
    assert_string_equal(client_expect_response(c, 418).body.base, "tea");
}

static void a_deferred_refusal_may_be_a_close_code(void **state)
{
    server_t *s = later_gate(true);
    client_t *c = ask(s, client_upgrade_text("/socket", ""));

    (void)state;
    server_expect_note("asked");
    assert_int_equal(hub_authorize_refuse(s->hub, request_token, 403, 4444, HUB_STR("no")), HUB_OK);
    client_expect_upgraded(c);
    assert_string_equal(client_expect_close(c, 4444).base, "no");
}

/* h2o does not look at its socket meanwhile, and would keep it until the answer. */
static void who_makes_room_while_it_waits_is_answered_at_once(void **state)
{
    server_t *s = server_create_with(
        &(hub_server_options_t){.limits = {.pre_upgrade = 1, .request_ms = 60000}}, NULL);

    (void)state;
    server_mount(s, &(hub_endpoint_options_t){.on_authorize = on_authorize_later});
    server_start(s);
    (void)ask(s, client_upgrade_text("/socket", ""));
    server_expect_note("asked");
    SERVER_EXPECT_STAT(s, upgrades_refused_total, 0);
    (void)server_connect(s);
    SERVER_EXPECT_STAT(s, pre_upgrade_shed_total, 1);
    SERVER_EXPECT_STAT(s, upgrades_refused_total, 1);
    assert_int_equal(hub_authorize_accept(s->hub, request_token, NULL), HUB_OK); /* too late */
}

static void a_client_that_went_before_the_answer_harms_nobody(void **state)
{
    server_t *s = later_gate(false);
    client_t *c = ask(s, client_upgrade_text("/socket", ""));

    (void)state;
    server_expect_note("asked");
    server_drop_client(s, c, client_abort);
    assert_int_equal(hub_authorize_accept(s->hub, request_token, NULL), HUB_OK);
    SERVER_EXPECT_STAT(s, pre_upgrade, 0);
    c = ask(s, client_upgrade_text("/socket", ""));
    server_expect_note("asked");
    assert_int_equal(hub_authorize_accept(s->hub, request_token, NULL), HUB_OK);
    client_expect_upgraded(c);
    SERVER_EXPECT_STAT(s, conns, 1);
}

static void an_answer_that_comes_twice_counts_once(void **state)
{
    server_t *s = later_gate(false);
    client_t *c = ask(s, client_upgrade_text("/socket", ""));

    (void)state;
    server_expect_note("asked");
    assert_int_equal(hub_authorize_accept(s->hub, request_token, NULL), HUB_OK);
    (void)!hub_authorize_refuse(s->hub, request_token, 403, 0, HUB_STR("no"));
    client_expect_upgraded(c);
    client_expect_quiet(c);
}

/* ---- HTTP that is not wanted ---- */

static void http2_is_never_answered_with_http2(void **state)
{
    server_t *s = gate_of(NULL);
    client_t *c = server_connect(s);
    hub_str_t answer;

    (void)state;
    client_send(c, HUB_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"));
    client_shutdown(c);
    answer = client_read_all(c);
    assert_true(answer.len == 0 || hub_str_starts_with(answer, HUB_STR("HTTP/1.1 4")));
    c = ask(s, "GET /socket HTTP/1.1\r\n" HOST
               "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
               "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" END);
    (void)client_expect_response(c, 426);
}

static void on_post(hub_http_t *http, void *user)
{
    (void)user;
    server_note("body of %zu", hub_http_body(http).len);
    hub_http_respond(http, 200, "text/plain", HUB_STR("done"));
}

static server_t *small_gate(void)
{
    server_t *s = server_create_with(
        &(hub_server_options_t){
            .limits = {.head_bytes = 2000, .path_bytes = 100, .body_bytes = 100}},
        NULL);

    assert_int_equal(hub_server_route(s->server, "POST", "/api/*", on_post, NULL), HUB_OK);
    server_mount(s, NULL);
    server_start(s);
    return s;
}

/* An upgrade whose head has exactly this many bytes. */
static const char *upgrade_of(size_t bytes)
{
    static char field[4096];
    size_t rest = bytes - strlen(client_upgrade_text("/socket", "")) - strlen("X: \r\n");

    snprintf(field, sizeof(field), "X: %0*d\r\n", (int)rest, 0);
    return client_upgrade_text("/socket", field);
}

static void a_head_of_the_limit_passes_and_one_byte_more_is_431(void **state)
{
    server_t *s = small_gate();

    (void)state;
    (void)client_expect_response(ask(s, upgrade_of(1999)), 101);
    (void)client_expect_response(ask(s, upgrade_of(2000)), 101);
    (void)client_expect_response(ask(s, upgrade_of(2001)), 431);
}

static void sixty_four_fields_pass_and_one_more_is_431(void **state)
{
    char fields[65 * 6 + 1] = "";
    server_t *s = gate_of(NULL);

    (void)state;
    for (int i = 0; i < 64 - 5; i++)
        strcat(fields, "A: b\r\n");
    expect_status(s, "/socket", fields, 101);
    strcat(fields, "A: b\r\n");
    expect_status(s, "/socket", fields, 431);
}

static void a_path_of_the_limit_passes_and_one_byte_more_is_414(void **state)
{
    server_t *s = small_gate();
    char target[120];

    (void)state;
    snprintf(target, sizeof(target), "/%099d", 0);
    expect_status(s, target, "", 404);
    snprintf(target, sizeof(target), "/%0100d", 0);
    expect_status(s, target, "", 414);
}

static void a_body_of_the_limit_passes_and_one_byte_more_is_413(void **state)
{
    server_t *s = small_gate();
    char request[400];

    (void)state;
    snprintf(request, sizeof(request),
             "POST /api/x HTTP/1.1\r\n" HOST "Content-Length: 100\r\n" END "%0100d", 0);
    assert_string_equal(client_expect_response(ask(s, request), 200).body.base, "done");
    server_expect_note("body of 100");
    snprintf(request, sizeof(request),
             "POST /api/x HTTP/1.1\r\n" HOST "Content-Length: 101\r\n" END "%0101d", 0);
    (void)client_expect_response(ask(s, request), 413);
    snprintf(request, sizeof(request),
             "POST /api/x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n" END
             "65\r\n%0101d\r\n0\r\n\r\n",
             0);
    (void)client_expect_response(ask(s, request), 413);
    server_expect_no_note();
}

#define HIDDEN "POST /api/hidden HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"

static const char *const smuggling[] = {
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" HIDDEN,
    "Content-Length: 0\r\nContent-Length: 65\r\n\r\n" HIDDEN,
    "Content-Length: 65\r\nContent-Length: 0\r\n\r\n" HIDDEN,
    "Content-Length: 0, 65\r\n\r\n" HIDDEN,
    "Content-Length: +0\r\n\r\n" HIDDEN,
    "Content-Length: 0x0\r\n\r\n" HIDDEN,
    "Content-Length: -1\r\n\r\n" HIDDEN,
    "Content-Length : 0\r\n\r\n" HIDDEN,
    "Transfer-Encoding: xchunked\r\n\r\n" HIDDEN,
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" HIDDEN,
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" HIDDEN,
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "Transfer-Encoding: chunked\r\n\r\n0;a=\r\n\r\n" HIDDEN,
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "Content-Length: 2\r\n\r\nab" HIDDEN,
};

static size_t answers_in(const char *text)
{
    size_t count = 0;

    while ((text = strstr(text, "HTTP/1.1 ")) != NULL) {
        text++;
        count++;
    }
    return count;
}

static void a_request_with_a_body_gets_one_answer_whatever_hides_behind_it(void **state)
{
    server_t *s = small_gate();
    char request[500];

    (void)state;
    for (size_t i = 0; i < COUNT(smuggling); i++) {
        client_t *c;

        snprintf(request, sizeof(request), "POST /api/x HTTP/1.1\r\n" HOST "%s", smuggling[i]);
        c = ask(s, request);
        client_shutdown(c);
        if (answers_in(client_read_all(c).base) != 1)
            fail_msg("not exactly one answer to %s", request);
    }
}

/* ---- several who are asked ---- */

static hub_status_t check_by_name(hub_request_t *request, void *user)
{
    server_note("asked %s", (const char *)user);
    return hub_str_equals(hub_request_query(request, "no"), hub_str(user)) ? HUB_EREJECTED : HUB_OK;
}

static hub_status_t grant_or_ask_later(hub_request_t *request, void *user)
{
    if (hub_request_query(request, "later").base != NULL)
        return on_authorize_later(request, user);
    return check_by_name(request, user);
}

static server_t *three_checks(void)
{
    static char first[] = "first", second[] = "second", own[] = "own";
    server_t *s = server_create();

    assert_int_equal(hub_authorize_add(s->hub, check_by_name, first), HUB_OK);
    assert_int_equal(hub_authorize_add(s->hub, grant_or_ask_later, second), HUB_OK);
    server_mount(s, &(hub_endpoint_options_t){.on_authorize = check_by_name, .user = own});
    server_start(s);
    return s;
}

static void all_are_asked_in_order_the_endpoint_last(void **state)
{
    (void)state;
    expect_status(three_checks(), "/socket", "", 101);
    server_expect_note("asked first");
    server_expect_note("asked second");
    server_expect_note("asked own");
}

static void the_first_that_refuses_ends_it(void **state)
{
    (void)state;
    expect_status(three_checks(), "/socket?no=second", "", 403);
    server_expect_note("asked first");
    server_expect_note("asked second");
    server_expect_no_note();
}

static void after_one_that_answers_later_the_rest_are_asked(void **state)
{
    server_t *s = three_checks();
    client_t *c = ask(s, client_upgrade_text("/socket?later=1", ""));

    (void)state;
    server_expect_note("asked first");
    server_expect_note("asked");
    assert_int_equal(hub_authorize_accept(s->hub, request_token, NULL), HUB_OK);
    client_expect_upgraded(c);
    server_expect_note("asked own");
}

static void who_is_asked_is_settled_at_the_start(void **state)
{
    (void)state;
    assert_int_equal(hub_authorize_add(three_checks()->hub, check_by_name, NULL), HUB_EBUSY);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SERVER_CASE(all_are_asked_in_order_the_endpoint_last),
        SERVER_CASE(the_first_that_refuses_ends_it),
        SERVER_CASE(after_one_that_answers_later_the_rest_are_asked),
        SERVER_CASE(who_is_asked_is_settled_at_the_start),
        SERVER_CASE(a_handshake_that_is_not_right_is_refused),
        SERVER_CASE(a_426_names_the_version_and_the_protocol),
        SERVER_CASE(a_405_names_what_is_allowed),
        SERVER_CASE(names_and_tokens_match_in_any_case),
        SERVER_CASE(a_handshake_in_single_bytes_is_a_handshake),
        SERVER_CASE(frames_right_behind_the_handshake_are_read),
        SERVER_CASE(extensions_are_not_answered),
        SERVER_CASE(both_paths_answer_unless_the_endpoint_says_which),
        SERVER_CASE(a_vsn_chooses_the_wire_format),
        SERVER_CASE(a_vsn_that_is_not_known_is_403),
        SERVER_CASE(an_endpoint_may_take_no_vsn_for_phoenix),
        SERVER_CASE(an_endpoint_may_insist_on_a_vsn),
        SERVER_CASE(by_default_only_the_servers_own_origin_gets_in),
        SERVER_CASE(a_list_of_origins_takes_the_place_of_the_default),
        SERVER_CASE(origins_that_would_let_nobody_in_are_refused),
        SERVER_CASE(the_log_says_why_nobody_got_in),
        SERVER_CASE(hosts_may_be_compared_alone_as_phoenix_does),
        SERVER_CASE(the_program_may_be_asked_about_an_origin),
        SERVER_CASE(the_origin_check_is_off_only_when_said),
        SERVER_CASE(the_first_offered_subprotocol_that_is_listed_is_chosen),
        SERVER_CASE(offers_are_ignored_where_there_is_no_list),
        SERVER_CASE(a_token_among_the_subprotocols_reaches_authorize),
        SERVER_CASE(a_token_that_is_not_base64url_or_comes_twice_is_403),
        SERVER_CASE(a_token_of_the_limit_passes_and_one_byte_more_is_403),
        SERVER_CASE(a_token_and_a_list_of_subprotocols_go_together),
        SERVER_CASE(without_the_option_a_token_is_an_offer_like_any_other),
        SERVER_CASE(authorize_sees_the_request_and_fills_the_grant),
        SERVER_CASE(authorize_refuses_with_a_status_and_a_body),
        SERVER_CASE(authorize_is_not_asked_about_a_bad_handshake_or_origin),
        SERVER_CASE(a_refusal_may_be_a_close_code_that_a_browser_sees),
        SERVER_CASE(a_deferred_request_is_accepted_from_another_thread),
        SERVER_CASE(a_deferred_request_is_refused_from_another_thread),
        SERVER_CASE(a_deferred_refusal_may_be_a_close_code),
        SERVER_CASE(who_makes_room_while_it_waits_is_answered_at_once),
        SERVER_CASE(a_client_that_went_before_the_answer_harms_nobody),
        SERVER_CASE(an_answer_that_comes_twice_counts_once),
        SERVER_CASE(http2_is_never_answered_with_http2),
        SERVER_CASE(a_head_of_the_limit_passes_and_one_byte_more_is_431),
        SERVER_CASE(sixty_four_fields_pass_and_one_more_is_431),
        SERVER_CASE(a_path_of_the_limit_passes_and_one_byte_more_is_414),
        SERVER_CASE(a_body_of_the_limit_passes_and_one_byte_more_is_413),
        SERVER_CASE(a_request_with_a_body_gets_one_answer_whatever_hides_behind_it),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
