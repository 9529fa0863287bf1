/* SPDX-License-Identifier: MIT */
/* TLS before the first request: which handshakes succeed, how others end, what a certificate must
 * be, and how it is replaced while connections stand. */
#define _GNU_SOURCE 1
#include "test/secure.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#define HELLO_HEAD                                                                                 \
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" /* the begin of a client's hello */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- handshakes ---- */

static void expect_version(secure_t *s, int version, const char *name)
{
    client_t *c;

    SSL_CTX_set_min_proto_version(s->context, version);
    SSL_CTX_set_max_proto_version(s->context, version);
    c = secure_member(s);
    assert_string_equal(SSL_get_version(client_ssl(c)), name);
    client_say(c, "t1", "say", "1", NULL);
    client_expect_event(c, "t1", "say", "1");
}

static void tls_1_2_and_1_3_are_spoken(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);

    (void)state;
    expect_version(s, TLS1_2_VERSION, "TLSv1.2");
    expect_version(s, TLS1_3_VERSION, "TLSv1.3");
    SERVER_EXPECT_STAT(s->server, tls_handshakes_total, 2);
    SERVER_EXPECT_STAT(s->server, tls_handshakes_failed_total, 0);
}

static void tls_1_1_is_refused_and_the_client_learns_why(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);

    (void)state;
    SSL_CTX_set_security_level(s->context, 0);
    SSL_CTX_set_min_proto_version(s->context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(s->context, TLS1_1_VERSION);
    secure_expect_refused(s, s->context, "tlsv1 alert protocol version");
    SERVER_EXPECT_STAT(s->server, tls_handshakes_failed_total, 1);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
    server_expect_log("tls.handshake_failed", "why=\"unsupported protocol\" peer=127.0.0.1:");
}

static void the_least_version_is_an_option(void **state)
{
    secure_t *s = secure_create(NULL, &(hub_tls_options_t){.min_version = HUB_TLS_1_3});

    (void)state;
    secure_start(s, NULL);
    SSL_CTX_set_max_proto_version(s->context, TLS1_2_VERSION);
    secure_expect_refused(s, s->context, "tlsv1 alert protocol version");
    SSL_CTX_set_max_proto_version(s->context, 0);
    (void)secure_member(s);
}

static void ciphers_without_forward_secrecy_are_refused(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);

    (void)state;
    SSL_CTX_set_max_proto_version(s->context, TLS1_2_VERSION);
    assert_int_equal(SSL_CTX_set_cipher_list(s->context, "AES128-SHA:ECDHE-ECDSA-AES128-SHA"), 1);
    secure_expect_refused(s, s->context, "sslv3 alert handshake failure");
}

static void ciphers_are_options(void **state)
{
    secure_t *s =
        secure_create(NULL, &(hub_tls_options_t){.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384",
                                                 .ciphersuites = "TLS_CHACHA20_POLY1305_SHA256"});

    (void)state;
    secure_start(s, NULL);
    assert_string_equal(SSL_get_cipher(client_ssl(secure_member(s))),
                        "TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_max_proto_version(s->context, TLS1_2_VERSION);
    assert_string_equal(SSL_get_cipher(client_ssl(secure_member(s))),
                        "ECDHE-ECDSA-AES256-GCM-SHA384");
}

static void offer(secure_t *s, const char *protocols)
{
    assert_int_equal(SSL_CTX_set_alpn_protos(s->context, (const unsigned char *)protocols,
                                             (unsigned)strlen(protocols)),
                     0);
}

static void who_offers_h2_gets_http_1_1(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    const unsigned char *chosen;
    unsigned len;
    client_t *c;

    (void)state;
    offer(s, "\x02h2\x08http/1.1");
    c = secure_member(s);
    SSL_get0_alpn_selected(client_ssl(c), &chosen, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
}

static void who_offers_h2_alone_is_refused(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);

    (void)state;
    offer(s, "\x02h2");
    secure_expect_refused(s, s->context, "tlsv1 alert no application protocol");
    server_expect_log("tls.handshake_failed", "why=\"no application protocol\"");
}

static void an_http_2_preface_over_tls_gets_no_http_2(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_client(s);

    (void)state;
    client_send_text(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client_expect_response(c, 400);
}

/* ---- sessions ---- */

static SSL_SESSION *newest_session;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(newest_session);
    newest_session = session;
    return 1;
}

static void resume(secure_t *s, bool expected)
{
    client_t *c = secure_connect(s);
    SSL_CTX *context = s->context;

    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    client_tls_resuming(c, context, newest_session);
    client_send_text(c, client_upgrade_text("/socket", ""));
    client_expect_upgraded(c);
    client_join(c, "t1", "'j'"); /* the ticket has come with it */
    assert_int_equal(SSL_session_reused(client_ssl(c)), expected);
}

static void forget_session(void)
{
    SSL_SESSION_free(newest_session);
    newest_session = NULL;
}

static void sessions_are_resumed_without_early_data_until_a_reload(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);

    (void)state;
    resume(s, false);
    assert_non_null(newest_session);
    assert_int_equal(SSL_SESSION_get_max_early_data(newest_session), 0);
    resume(s, true);
    assert_int_equal(hub_server_tls_reload(s->server->server, NULL), HUB_OK);
    resume(s, false);
    forget_session();
}

static void tickets_can_be_switched_off(void **state)
{
    secure_t *s = secure_create(NULL, &(hub_tls_options_t){.no_session_tickets = true});

    (void)state;
    secure_start(s, NULL);
    resume(s, false);
    assert_null(newest_session);
    SSL_CTX_set_max_proto_version(s->context, TLS1_2_VERSION);
    resume(s, false);
    forget_session();
}

/* ---- handshakes that never are ---- */

static void plain_http_to_the_tls_port_is_closed(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_connect(s);

    (void)state;
    client_send_text(c, client_upgrade_text("/socket", ""));
    client_expect_gone(c);
    SERVER_EXPECT_STAT(s->server, tls_handshakes_failed_total, 1);
    server_expect_log("tls.handshake_failed", "why=\"http request\"");
}

static void tls_to_the_plain_port_is_a_bad_request(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = client_connect(hub_server_address(s->server->server, 1), 0);

    (void)state;
    server_keep_client(s->server, c);
    client_send(c, HUB_STR(HELLO_HEAD));
    client_expect_response(c, 400);
}

static void garbage_is_closed(void **state)
{
    static char garbage[65536];
    secure_t *s = secure_chat(NULL, NULL);
    client_t *c = secure_connect(s);

    (void)state;
    memset(garbage, 0xa5, sizeof(garbage));
    client_send(c, hub_str_n(garbage, sizeof(garbage)));
    client_expect_gone(c);
    SERVER_EXPECT_STAT(s->server, tls_handshakes_failed_total, 1);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
    (void)secure_member(s);
}

static void a_reset_within_the_handshake_harms_nobody(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        client_t *c = secure_connect(s);

        client_send(c, hub_str_n(HELLO_HEAD, i));
        server_drop_client(s->server, c, client_abort);
    }
    SERVER_EXPECT_STAT(s->server, tls_handshakes_failed_total, 8);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
    (void)secure_member(s);
}

static void a_handshake_that_drips_is_cut_at_the_deadline(void **state)
{
    secure_t *s = secure_chat(&(hub_server_options_t){.limits = {.request_ms = 60}}, NULL);
    client_t *c = secure_connect(s);

    (void)state;
    client_send(c, HUB_STR(HELLO_HEAD));
    for (unsigned i = 0; i < 400 && !client_is_readable(c); i++) { /* the last never comes */
        client_send(c, HUB_STR("x"));
        poll(NULL, 0, 5);
    }
    client_expect_gone(c);
    SERVER_EXPECT_STAT(s->server, tls_handshakes_failed_total, 1);
    server_expect_log("tls.handshake_failed", "why=\"deadline\" peer=127.0.0.1:");
}

static void an_address_past_its_limit_gets_no_handshake(void **state)
{
    secure_t *s = secure_chat(&(hub_server_options_t){.limits = {.conns_per_ip = 1}}, NULL);
    client_t *first = secure_member(s);

    (void)state;
    client_expect_gone(secure_connect(s));
    SERVER_EXPECT_STAT(s->server, conns_per_ip_refused_total, 1);
    server_drop_client(s->server, first, client_abort);
    SERVER_EXPECT_STAT(s->server, closed_lost_total, 1);
    (void)secure_member(s);
    assert_int_equal(SERVER_STAT(s->server, tls_handshakes_total), 2);
}

static void an_answer_over_tls_that_nobody_reads_is_cut(void **state)
{
    secure_t *s = secure_create(&(hub_server_options_t){.limits = {.write_stall_ms = 100}}, NULL);
    size_t size = 4 << 20;
    char *page = calloc(1, size);
    client_t *c;

    (void)state;
    assert_non_null(page);
    assert_int_equal(
        hub_server_file(s->server->server, "/big", "text/plain", hub_str_n(page, size)), HUB_OK);
    free(page);
    secure_start(s, NULL);
    c = secure_client(s);
    client_request(c, "GET", "/big", "");
    SERVER_EXPECT_STAT(s->server, write_stalls_total, 1);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 0);
}

static void half_done_handshakes_make_room_for_who_comes(void **state)
{
    secure_t *s = secure_chat(&(hub_server_options_t){.limits = {.pre_upgrade = 8}}, NULL);

    (void)state;
    for (unsigned i = 0; i < 40; i++)
        client_send(secure_connect(s), HUB_STR(HELLO_HEAD));
    SERVER_EXPECT_STAT(s->server, pre_upgrade_shed_total, 32);
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 8);
    (void)secure_member(s);
    SERVER_EXPECT_STAT(s->server, tls_handshakes_failed_total, 33);
    server_expect_log("tls.handshake_failed", "why=\"too many visitors\" peer=127.0.0.1:");
}

/* ---- what a certificate must be ---- */

static hub_error_t error;

static void expect_unusable(hub_tls_options_t options, hub_status_t status, const char *path,
                            const char *why)
{
    server_t *s = server_create_with(&(hub_server_options_t){.ret_error = &error}, NULL);

    assert_int_equal(hub_server_listen_tls(s->server, "127.0.0.1:0", &options), status);
    if (strstr(error.text, path) == NULL || strstr(error.text, why) == NULL)
        fail_msg("expected \"%s\" and \"%s\" in: %s", path, why, error.text);
    server_expect_log("server.listen", "tls: ");
    assert_null(hub_server_address(s->server, 0));
}

static void a_certificate_must_be_there(void **state)
{
    certificate_t good = certificate_make("first", 30, NULL);

    (void)state;
    expect_unusable((hub_tls_options_t){.key_file = good.key_file}, HUB_EINVAL, "",
                    "certificate_file is not set");
    expect_unusable(
        (hub_tls_options_t){.certificate_file = "/nowhere/c.pem", .key_file = good.key_file},
        HUB_ESYSTEM, "certificate_file \"/nowhere/c.pem\"", "No such file or directory");
    expect_unusable((hub_tls_options_t){.certificate_file = "/tmp", .key_file = good.key_file},
                    HUB_ESYSTEM, "certificate_file \"/tmp\"", "Is a directory");
}

static void a_certificate_must_be_one(void **state)
{
    certificate_t good = certificate_make("first", 30, NULL);
    const char *path = certificate_write("junk.pem", "junk");

    (void)state;
    expect_unusable((hub_tls_options_t){.certificate_file = path, .key_file = good.key_file},
                    HUB_ESYNTAX, path, "no certificate in PEM");
    expect_unusable(
        (hub_tls_options_t){.certificate_file = good.key_file, .key_file = good.key_file},
        HUB_ESYNTAX, good.key_file, "no certificate in PEM");
}

static void a_key_must_be_one(void **state)
{
    certificate_t good = certificate_make("first", 30, NULL);
    const char *path = certificate_write("junk.pem", "junk");

    (void)state;
    expect_unusable(
        (hub_tls_options_t){.certificate_file = good.certificate_file, .key_file = path},
        HUB_ESYNTAX, path, "no private key in PEM");
    expect_unusable((hub_tls_options_t){.certificate_file = good.certificate_file}, HUB_ESYNTAX,
                    good.certificate_file, "no private key in PEM");
    expect_unusable(
        (hub_tls_options_t){.certificate_file = good.certificate_file, .key_file = "/nowhere/k"},
        HUB_ESYSTEM, "key_file \"/nowhere/k\"", "No such file or directory");
}

static void a_key_must_belong_to_its_certificate(void **state)
{
    certificate_t good = certificate_make("first", 30, NULL);
    certificate_t other = certificate_make("second", 30, NULL);

    (void)state;
    expect_unusable(
        (hub_tls_options_t){.certificate_file = good.certificate_file, .key_file = other.key_file},
        HUB_EINVAL, other.key_file, "key values mismatch");
    assert_non_null(strstr(error.text, good.certificate_file));
}

static void an_expired_certificate_is_refused(void **state)
{
    certificate_t old = certificate_make("old", 0, NULL);

    (void)state;
    expect_unusable(
        (hub_tls_options_t){.certificate_file = old.certificate_file, .key_file = old.key_file},
        HUB_EINVAL, old.certificate_file, "has expired");
}

static void an_encrypted_key_needs_its_passphrase(void **state)
{
    certificate_t locked = certificate_make("locked", 30, "sesame");
    hub_tls_options_t options = {.certificate_file = locked.certificate_file,
                                 .key_file = locked.key_file};
    server_t *s;

    (void)state;
    expect_unusable(options, HUB_EINVAL, locked.key_file, "key_passphrase is not set");
    options.key_passphrase = "wrong";
    expect_unusable(options, HUB_EINVAL, locked.key_file, "key_passphrase does not open it");
    options.key_passphrase = "sesame";
    s = server_create();
    assert_int_equal(hub_server_listen_tls(s->server, "127.0.0.1:0", &options), HUB_OK);
}

static void ciphers_must_be_known(void **state)
{
    certificate_t good = certificate_make("first", 30, NULL);
    hub_tls_options_t options = {.certificate_file = good.certificate_file,
                                 .key_file = good.key_file};

    (void)state;
    options.ciphers = "NONSENSE";
    expect_unusable(options, HUB_EINVAL, "ciphers = \"NONSENSE\"", "no cipher match");
    options.ciphers = NULL;
    options.ciphersuites = "NONSENSE";
    expect_unusable(options, HUB_EINVAL, "ciphersuites = \"NONSENSE\"", "no cipher match");
    options.ciphersuites = NULL;
    options.min_version = (hub_tls_version_t)7;
    expect_unusable(options, HUB_EINVAL, "min_version = 7", "no such version");
}

static void the_chain_behind_the_certificate_is_sent(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    certificate_t above = certificate_make("above", 30, NULL);

    (void)state;
    certificate_append(s->files.certificate_file, above.certificate_file);
    assert_int_equal(hub_server_tls_reload(s->server->server, NULL), HUB_OK);
    secure_start(s, NULL);
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(client_ssl(secure_client(s)))), 2);
    certificate_append(s->files.certificate_file,
                       certificate_write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"));
    assert_int_equal(hub_server_tls_reload(s->server->server, &error), HUB_ESYNTAX);
    assert_non_null(strstr(error.text, s->files.certificate_file));
}

static void certificate_and_key_may_be_one_file(void **state)
{
    certificate_t good = certificate_make("first", 30, NULL);
    server_t *s = server_create();

    (void)state;
    certificate_append(good.certificate_file, good.key_file);
    assert_int_equal(
        hub_server_listen_tls(s->server, "127.0.0.1:0",
                              &(hub_tls_options_t){.certificate_file = good.certificate_file}),
        HUB_OK);
}

static void an_address_that_is_taken_is_an_error_with_tls_too(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    server_t *other = server_create_with(&(hub_server_options_t){.ret_error = &error}, NULL);
    hub_tls_options_t options = {.certificate_file = s->files.certificate_file,
                                 .key_file = s->files.key_file};

    (void)state;
    assert_int_equal(
        hub_server_listen_tls(other->server, hub_server_address(s->server->server, 0), &options),
        HUB_ESYSTEM);
    assert_non_null(strstr(error.text, "Address already in use"));
}

static void a_path_may_speak_tls(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    hub_tls_options_t options = {.certificate_file = s->files.certificate_file,
                                 .key_file = s->files.key_file};
    char address[280];

    (void)state;
    snprintf(address, sizeof(address), "unix:%s.socket", s->files.key_file);
    assert_int_equal(hub_server_listen_tls(s->server->server, address, &options), HUB_OK);
    secure_start(s, NULL);
    s->server->address = address;
    (void)secure_member(s);
}

static void a_listener_with_tls_comes_before_the_start(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    hub_tls_options_t options = {.certificate_file = s->files.certificate_file,
                                 .key_file = s->files.key_file};

    (void)state;
    assert_int_equal(hub_server_listen_tls(s->server->server, "127.0.0.1:0", &options), HUB_EBUSY);
}

static void a_certificate_that_ends_soon_is_told_of(void **state)
{
    certificate_t brief = certificate_make("brief", 5, NULL);
    server_t *s = server_create();

    (void)state;
    assert_int_equal(
        hub_server_listen_tls(s->server, "127.0.0.1:0",
                              &(hub_tls_options_t){.certificate_file = brief.certificate_file,
                                                   .key_file = brief.key_file}),
        HUB_OK);
    server_expect_log("tls.expires_soon", brief.certificate_file);
}

/* ---- reload ---- */

static void expect_name(secure_t *s, const char *name)
{
    assert_string_equal(certificate_name(client_ssl(secure_member(s))), name);
}

static void a_reload_is_for_new_connections_and_the_old_ones_stay(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    client_t *old = secure_member(s), *waiting = secure_connect(s);
    certificate_t second = certificate_make("second", 30, NULL);

    (void)state;
    SERVER_EXPECT_STAT(s->server, pre_upgrade, 1);
    certificate_replace(&s->files, &second);
    assert_int_equal(hub_server_tls_reload(s->server->server, NULL), HUB_OK);
    expect_name(s, "second");
    client_say(old, "t1", "ask", "'still here'", "'a'");
    client_expect_ok(old, "t1", "'a'", "'still here'");
    client_tls(waiting, s->context); /* it had come before the reload */
    assert_string_equal(certificate_name(client_ssl(waiting)), "first");
}

static void a_bad_file_keeps_the_old_certificate_and_is_named(void **state)
{
    secure_t *s = secure_chat(NULL, NULL);
    certificate_t second = certificate_make("second", 30, NULL);

    (void)state;
    assert_int_equal(rename(second.certificate_file, s->files.certificate_file), 0);
    assert_int_equal(hub_server_tls_reload(s->server->server, &error), HUB_EINVAL);
    assert_non_null(strstr(error.text, s->files.key_file));
    server_expect_log("tls.reload", s->files.key_file);
    expect_name(s, "first");
}

static void a_reload_is_for_all_listeners_or_for_none(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    certificate_t other = certificate_make("other", 30, NULL);
    certificate_t second = certificate_make("second", 30, NULL);
    hub_tls_options_t options = {.certificate_file = other.certificate_file,
                                 .key_file = other.key_file};

    (void)state;
    assert_int_equal(hub_server_listen_tls(s->server->server, "127.0.0.1:0", &options), HUB_OK);
    secure_start(s, NULL);
    certificate_replace(&s->files, &second);
    assert_int_equal(unlink(other.key_file), 0);
    assert_int_equal(hub_server_tls_reload(s->server->server, &error), HUB_ESYSTEM);
    assert_non_null(strstr(error.text, other.key_file));
    expect_name(s, "first");
    s->server->address = hub_server_address(s->server->server, 1);
    expect_name(s, "other");
}

static void a_reload_without_a_tls_listener_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(hub_server_tls_reload(server_create()->server, &error), HUB_EINVAL);
    assert_non_null(strstr(error.text, "no TLS listener"));
}

static void *run_server(void *server)
{
    server_note("run %s", hub_status_name(hub_server_run(server)));
    return NULL;
}

static void sighup_reloads(void **state)
{
    secure_t *s = secure_create(NULL, NULL);
    certificate_t second = certificate_make("second", 30, NULL);
    sigset_t signals, before;
    pthread_t thread;
    client_t *c;

    (void)state;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    server_mount(s->server, NULL);
    s->server->address = hub_server_address(s->server->server, 0);
    assert_int_equal(pthread_create(&thread, NULL, run_server, s->server->server), 0);
    c = secure_websocket(s);
    assert_string_equal(certificate_name(client_ssl(c)), "first");
    certificate_replace(&s->files, &second);
    kill(getpid(), SIGHUP);
    client_expect_quiet(c); /* a turn of the loop: the signal was there before it */
    assert_string_equal(certificate_name(client_ssl(secure_client(s))), "second");
    hub_server_stop(s->server->server);
    client_drain_to_close(c, 1012);
    server_drop_client(s->server, c, client_destroy);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    server_expect_note("run OK");
}

struct reloads {
    hub_server_t *server;
    atomic_bool over;
};

static void *reload_again_and_again(void *arg)
{
    struct reloads *reloads = arg;
    unsigned failed = 0, count = 0;

    for (; !atomic_load(&reloads->over) || count < 20; count++)
        failed += hub_server_tls_reload(reloads->server, NULL) != HUB_OK;
    server_note("failed %u", failed);
    return NULL;
}

static void reloads_on_other_threads_cost_no_connection(void **state)
{
    secure_t *s = secure_chat(&(hub_server_options_t){.threads = 3}, NULL);
    struct reloads reloads = {.server = s->server->server};
    pthread_t threads[2];
    client_t *old = secure_member(s);

    (void)state;
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reload_again_and_again, &reloads), 0);
    for (unsigned i = 0; i < 50; i++) {
        client_t *c = secure_member(s);

        client_say(c, "t1", "ask", "1", "'a'");
        client_expect_ok(c, "t1", "'a'", "1");
        server_drop_client(s->server, c, client_destroy);
    }
    atomic_store(&reloads.over, true);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    client_expect_quiet(old);
    SERVER_EXPECT_STAT(s->server, tls_handshakes_total, 51);
    server_skip_to_note("failed 0");
    server_skip_to_note("failed 0");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        SECURE_CASE(tls_1_2_and_1_3_are_spoken),
        SECURE_CASE(tls_1_1_is_refused_and_the_client_learns_why),
        SECURE_CASE(the_least_version_is_an_option),
        SECURE_CASE(ciphers_without_forward_secrecy_are_refused),
        SECURE_CASE(ciphers_are_options),
        SECURE_CASE(who_offers_h2_gets_http_1_1),
        SECURE_CASE(who_offers_h2_alone_is_refused),
        SECURE_CASE(an_http_2_preface_over_tls_gets_no_http_2),
        SECURE_CASE(sessions_are_resumed_without_early_data_until_a_reload),
        SECURE_CASE(tickets_can_be_switched_off),
        SECURE_CASE(plain_http_to_the_tls_port_is_closed),
        SECURE_CASE(tls_to_the_plain_port_is_a_bad_request),
        SECURE_CASE(garbage_is_closed),
        SECURE_CASE(a_reset_within_the_handshake_harms_nobody),
        SECURE_CASE(a_handshake_that_drips_is_cut_at_the_deadline),
        SECURE_CASE(an_address_past_its_limit_gets_no_handshake),
        SECURE_CASE(an_answer_over_tls_that_nobody_reads_is_cut),
        SECURE_CASE(half_done_handshakes_make_room_for_who_comes),
        SECURE_CASE(a_certificate_must_be_there),
        SECURE_CASE(a_certificate_must_be_one),
        SECURE_CASE(a_key_must_be_one),
        SECURE_CASE(a_key_must_belong_to_its_certificate),
        SECURE_CASE(an_expired_certificate_is_refused),
        SECURE_CASE(an_encrypted_key_needs_its_passphrase),
        SECURE_CASE(ciphers_must_be_known),
        SECURE_CASE(the_chain_behind_the_certificate_is_sent),
        SECURE_CASE(certificate_and_key_may_be_one_file),
        SECURE_CASE(an_address_that_is_taken_is_an_error_with_tls_too),
        SECURE_CASE(a_path_may_speak_tls),
        SECURE_CASE(a_listener_with_tls_comes_before_the_start),
        SECURE_CASE(a_certificate_that_ends_soon_is_told_of),
        SECURE_CASE(a_reload_is_for_new_connections_and_the_old_ones_stay),
        SECURE_CASE(a_bad_file_keeps_the_old_certificate_and_is_named),
        SECURE_CASE(a_reload_is_for_all_listeners_or_for_none),
        SECURE_CASE(a_reload_without_a_tls_listener_is_an_error),
        SECURE_CASE(sighup_reloads),
        SECURE_CASE(reloads_on_other_threads_cost_no_connection),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
