/* SPDX-License-Identifier: MIT */
/* The client of the wire tests. It is our own, because a test must be able to send what no library
 * lets through, and because a server that is tested with its own framing code proves nothing: not a
 * line is shared with hub/frame.c. */
#define _GNU_SOURCE 1
#include "test/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/err.h>

#define FRAME_HEADER_MAX 14
#define READ_CHUNK 65536

struct client {
    int fd;
    SSL *ssl;   /* NULL: plain */
    bool ended; /* by FIN or reset */
    bool reset;
    bool head_request; /* its answer has no body */
    char *in;          /* received: `taken` bytes were handed out, `len` is the end */
    size_t taken, len, capacity;
    char *last; /* what the last call handed out */
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool wait_for(client_t *client, short events, int64_t deadline_ms)
{
    struct pollfd poll_fd = {.fd = client->fd, .events = events};
    int64_t left_ms = deadline_ms - now_ms();

    return poll(&poll_fd, 1, left_ms < 0 ? 0 : (int)left_ms) > 0;
}

char *client_quotes(const char *json)
{
    char *copy = strdup(json);

    assert_non_null(copy);
    for (char *at = copy; *at != '\0'; at++)
        *at = *at == '\'' ? '"' : *at;
    return copy;
}

/* ---- connecting ---- */

static int socket_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* `source` NULL: whatever the kernel picks. */
static int socket_tcp(const char *address, int receive_bytes, const char *source)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    char host[128];
    const char *port = strrchr(address, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    size_t skip = address[0] == '[';
    int one = 1, fd;

    assert_non_null(port);
    snprintf(host, sizeof(host), "%.*s", (int)((size_t)(port - address) - 2 * skip),
             address + skip);
    assert_int_equal(getaddrinfo(host, port + 1, &hints, &found), 0);
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (receive_bytes > 0) /* before connecting, so that the window never grows past it */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    if (source != NULL) {
        assert_int_equal(inet_pton(AF_INET, source, &from.sin_addr), 1);
        assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    }
    if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static client_t *connect_to(const char *address, int receive_bytes, const char *source)
{
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    int fd = is_unix ? socket_unix(address + 5) : socket_tcp(address, receive_bytes, source);
    client_t *client;

    if (fd < 0)
        return NULL;
    client = calloc(1, sizeof(*client));
    assert_non_null(client);
    client->fd = fd;
    return client;
}

client_t *client_try_connect(const char *address)
{
    return connect_to(address, 0, NULL);
}

client_t *client_connect(const char *address, int receive_bytes)
{
    client_t *client = connect_to(address, receive_bytes, NULL);

    if (client == NULL)
        fail_msg("cannot connect to %s: %s", address, strerror(errno));
    return client;
}

client_t *client_connect_from(const char *address, const char *source)
{
    client_t *client = connect_to(address, 0, source);

    if (client == NULL)
        fail_msg("cannot connect to %s from %s: %s", address, source, strerror(errno));
    return client;
}

client_t *client_open(const char *address, const char *target, const char *fields)
{
    client_t *client = client_connect(address, 0);
    char more[8192];

    /* no line of the log may have it: see server_teardown() */
    snprintf(more, sizeof(more), "Authorization: Bearer " SERVER_SECRET "\r\n%s",
             fields != NULL ? fields : "");
    client_send_text(client, client_upgrade_text(target, more));
    client_expect_upgraded(client);
    return client;
}

void client_destroy(client_t *client)
{
    if (client == NULL)
        return;
    SSL_free(client->ssl);
    close(client->fd);
    free(client->in);
    free(client->last);
    free(client);
}

void client_abort(client_t *client)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    client_destroy(client);
}

/* ---- TLS ---- */

/* Fails with EAGAIN where OpenSSL wants more, and with EPROTO where it wants no more. */
static ssize_t tls_result(client_t *client, int result)
{
    int error = SSL_get_error(client->ssl, result);

    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN
            : error == SSL_ERROR_SYSCALL && errno != 0                    ? errno
                                                                          : EPROTO;
    return result > 0 ? result : error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static const char *try_tls(client_t *client, SSL_CTX *context, SSL_SESSION *session)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;
    int result, error;

    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
    client->ssl = SSL_new(context);
    assert_non_null(client->ssl);
    SSL_set_fd(client->ssl, client->fd);
    if (session != NULL)
        SSL_set_session(client->ssl, session);
    ERR_clear_error();
    while ((result = SSL_connect(client->ssl)) != 1) {
        error = SSL_get_error(client->ssl, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return ERR_reason_error_string(ERR_peek_error()) ?: "the end";
        if (!wait_for(client, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ms))
            return "nothing in time";
    }
    return NULL;
}

const char *client_try_tls(client_t *client, SSL_CTX *context)
{
    return try_tls(client, context, NULL);
}

client_t *client_tls_resuming(client_t *client, SSL_CTX *context, SSL_SESSION *session)
{
    const char *why = try_tls(client, context, session);

    if (why != NULL)
        fail_msg("no TLS handshake: %s", why);
    return client;
}

client_t *client_tls(client_t *client, SSL_CTX *context)
{
    return client_tls_resuming(client, context, NULL);
}

SSL *client_ssl(client_t *client)
{
    return client->ssl;
}

int client_fd(const client_t *client)
{
    return client->fd;
}

/* ---- sending ---- */

static ssize_t send_some(client_t *client, hub_str_t bytes)
{
    if (client->ssl == NULL)
        return send(client->fd, bytes.base, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    ERR_clear_error();
    errno = 0;
    return tls_result(client, SSL_write(client->ssl, bytes.base, (int)bytes.len));
}

void client_send(client_t *client, hub_str_t bytes)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;

    while (bytes.len > 0) {
        ssize_t sent = send_some(client, bytes);

        if (sent >= 0) {
            bytes.base += sent;
            bytes.len -= (size_t)sent;
        } else if (errno != EAGAIN && errno != EINTR) {
            return; /* the server has ended it: what it said before is still to be read */
        } else if (!wait_for(client, POLLOUT | POLLRDHUP, deadline_ms)) {
            fail_msg("%zu bytes did not go out within %d ms", bytes.len, CLIENT_DEADLINE_MS);
        } else if (wait_for(client, POLLRDHUP, 0) && !wait_for(client, POLLOUT, 0)) {
            return; /* by a FIN, and it takes no more: the kernel may keep that up for a minute */
        }
    }
}

void client_send_text(client_t *client, const char *text)
{
    client_send(client, hub_str(text));
}

void client_send_bytewise(client_t *client, hub_str_t bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        client_send(client, hub_str_n(bytes.base + i, 1));
}

size_t client_frame_write(char *bytes, unsigned first, hub_str_t payload)
{
    static const unsigned char key[4] = {0x37, 0xfa, 0x21, 0x3d}; /* RFC 6455 5.7 */
    size_t len = 0, length_bytes = payload.len < 126 ? 0 : payload.len < 65536 ? 2 : 8;

    bytes[len++] = (char)first;
    bytes[len++] = (char)(0x80 | (length_bytes == 0 ? payload.len : length_bytes == 2 ? 126 : 127));
    for (size_t i = length_bytes; i > 0; i--)
        bytes[len++] = (char)(payload.len >> (8 * (i - 1)));
    memcpy(bytes + len, key, sizeof(key));
    len += sizeof(key);
    for (size_t i = 0; i < payload.len; i++)
        bytes[len++] = (char)((unsigned char)payload.base[i] ^ key[i % 4]);
    return len;
}

void client_frame(client_t *client, unsigned first, hub_str_t payload)
{
    char *bytes = malloc(payload.len + FRAME_HEADER_MAX);

    assert_non_null(bytes);
    client_send(client, hub_str_n(bytes, client_frame_write(bytes, first, payload)));
    free(bytes);
}

void client_json(client_t *client, const char *json)
{
    char *text = client_quotes(json);

    client_frame(client, CLIENT_TEXT, hub_str(text));
    free(text);
}

void client_say(client_t *client, const char *topic, const char *event, const char *payload,
                const char *ref)
{
    char *json = NULL;
    int len = asprintf(&json, "{'topic':'%s','event':'%s','payload':%s%s%s}", topic, event, payload,
                       ref == NULL ? "" : ",'ref':", ref == NULL ? "" : ref);

    assert_true(len > 0);
    client_json(client, json);
    free(json);
}

void client_close_frame(client_t *client, unsigned code, const char *reason)
{
    char payload[125];
    int len =
        snprintf(payload, sizeof(payload), "%c%c%s", (int)(code >> 8), (int)(code & 0xff), reason);

    client_frame(client, CLIENT_CLOSE, hub_str_n(payload, code == 0 ? 0 : (size_t)len));
}

void client_shutdown(client_t *client)
{
    shutdown(client->fd, SHUT_WR);
}

/* ---- receiving ---- */

static ssize_t receive_some(client_t *client, char *bytes, size_t size)
{
    if (client->ssl == NULL)
        return recv(client->fd, bytes, size, 0);
    ERR_clear_error();
    errno = 0;
    return tls_result(client, SSL_read(client->ssl, bytes, (int)size));
}

/* False at the end of the connection, or when nothing comes in time. */
static bool read_more(client_t *client, int64_t deadline_ms)
{
    ssize_t got;

    if (client->ended)
        return false;
    if ((client->ssl == NULL || SSL_pending(client->ssl) == 0) &&
        !wait_for(client, POLLIN, deadline_ms))
        return false;
    if (client->capacity - client->len < READ_CHUNK) {
        client->capacity = 2 * client->capacity + READ_CHUNK;
        client->in = realloc(client->in, client->capacity);
        assert_non_null(client->in);
    }
    got = receive_some(client, client->in + client->len, READ_CHUNK);
    if (client->ssl != NULL && got < 0 && errno == EAGAIN)
        return true; /* a part of a record, or a ticket */
    client->reset = got < 0;
    client->ended = got <= 0;
    client->len += got > 0 ? (size_t)got : 0;
    return got > 0;
}

static size_t available(const client_t *client)
{
    return client->len - client->taken;
}

static bool have(client_t *client, size_t bytes, int64_t deadline_ms)
{
    while (available(client) < bytes)
        if (!read_more(client, deadline_ms))
            return false;
    return true;
}

/* Hands out the next bytes, with a NUL behind them. */
static hub_str_t take(client_t *client, size_t bytes)
{
    free(client->last);
    client->last = malloc(bytes + 1);
    assert_non_null(client->last);
    if (bytes > 0)
        memcpy(client->last, client->in + client->taken, bytes);
    client->last[bytes] = '\0';
    client->taken += bytes;
    if (client->taken == client->len)
        client->taken = client->len = 0;
    return hub_str_n(client->last, bytes);
}

static void fail_nothing(const client_t *client, const char *wanted)
{
    fail_msg("expected %s, got %s after %zu bytes", wanted,
             client->reset   ? "a reset"
             : client->ended ? "the end"
                             : "nothing in time",
             available(client));
}

/* The length of a frame's header, which is complete; server's frames carry no mask. */
static size_t parse_header(const char *bytes, size_t *ret_payload_len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    size_t length_bytes = (at[1] & 0x7f) == 127 ? 8 : (at[1] & 0x7f) == 126 ? 2 : 0;
    uint64_t len = length_bytes == 0 ? at[1] & 0x7f : 0;

    for (size_t i = 0; i < length_bytes; i++)
        len = len << 8 | at[2 + i];
    if (at[1] & 0x80)
        fail_msg("a frame of the server is masked");
    if (length_bytes > 0 && len < (length_bytes == 2 ? 126 : 65536))
        fail_msg("a length is not in its shortest form");
    *ret_payload_len = (size_t)len;
    return 2 + length_bytes;
}

static bool try_next(client_t *client, client_frame_t *ret_frame)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;
    size_t header_len, payload_len;

    if (!have(client, 2, deadline_ms))
        return false;
    header_len = (client->in[client->taken + 1] & 0x7f) == 127   ? 10
                 : (client->in[client->taken + 1] & 0x7f) == 126 ? 4
                                                                 : 2;
    if (!have(client, header_len, deadline_ms))
        return false;
    header_len = parse_header(client->in + client->taken, &payload_len);
    if (!have(client, header_len + payload_len, deadline_ms))
        return false;
    ret_frame->first = (unsigned char)client->in[client->taken];
    client->taken += header_len;
    ret_frame->payload = take(client, payload_len);
    return true;
}

client_frame_t client_next(client_t *client)
{
    client_frame_t frame = {0};

    if (!try_next(client, &frame))
        fail_nothing(client, "a frame");
    return frame;
}

bool client_try_next(client_t *client, client_frame_t *ret_frame)
{
    if (try_next(client, ret_frame))
        return true;
    if (!client->ended)
        fail_nothing(client, "a frame or the end");
    return false;
}

static void fail_frame(const char *wanted, client_frame_t got)
{
    const unsigned char *code = (const unsigned char *)got.payload.base;

    if (got.first == CLIENT_CLOSE && got.payload.len >= 2)
        fail_msg("expected %s, got close %u \"%s\"", wanted, code[0] * 256U + code[1],
                 got.payload.base + 2);
    fail_msg("expected %s, got frame %02x of %zu bytes: %.300s", wanted, got.first, got.payload.len,
             got.payload.base);
}

hub_str_t client_expect_frame(client_t *client, unsigned first)
{
    client_frame_t frame = {0};
    char wanted[32];

    snprintf(wanted, sizeof(wanted), "frame %02x", first);
    if (!try_next(client, &frame))
        fail_nothing(client, wanted);
    if (frame.first != first)
        fail_frame(wanted, frame);
    return frame.payload;
}

void client_expect_message(client_t *client, unsigned first, hub_str_t payload)
{
    hub_str_t got = client_expect_frame(client, first);

    assert_int_equal(got.len, payload.len);
    assert_memory_equal(got.base, payload.base, payload.len);
}

void client_expect_text(client_t *client, const char *text)
{
    assert_string_equal(client_expect_frame(client, CLIENT_TEXT).base, text);
}

static json_t *parse(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);

    if (value == NULL)
        fail_msg("not JSON at %d: %s in %s", error.position, error.text, text);
    return value;
}

static json_t *parse_quotes(const char *json)
{
    char *text = client_quotes(json);
    json_t *value = parse(text);

    free(text);
    return value;
}

/* The next text message as a value, `*ret_text` as it came. */
static json_t *next_json(client_t *client, const char *wanted, const char **ret_text)
{
    client_frame_t frame = {0};

    if (!try_next(client, &frame))
        fail_nothing(client, wanted);
    if (frame.first != CLIENT_TEXT)
        fail_frame(wanted, frame);
    *ret_text = frame.payload.base;
    return parse(frame.payload.base);
}

void client_expect_json(client_t *client, const char *json)
{
    const char *text;
    json_t *got = next_json(client, json, &text);
    json_t *wanted = parse_quotes(json);

    if (!json_equal(got, wanted))
        fail_msg("expected %s, got %s", json, text);
    json_decref(wanted);
    json_decref(got);
}

void client_expect_event(client_t *client, const char *topic, const char *event,
                         const char *payload)
{
    char *json = NULL;

    assert_true(asprintf(&json, "{'topic':'%s','event':'%s','payload':%s}", topic, event, payload) >
                0);
    client_expect_json(client, json);
    free(json);
}

void client_expect_push(client_t *client, const char *topic, const char *event, const char *payload,
                        const char *join_ref)
{
    char *json = NULL;

    assert_true(asprintf(&json, "{'topic':'%s','event':'%s','payload':%s,'join_ref':%s}", topic,
                         event, payload, join_ref) > 0);
    client_expect_json(client, json);
    free(json);
}

/* A reply's fields but its join_ref, which the caller does not care about. */
static json_t *next_reply(client_t *client, const char *topic, const char *ref, const char *status,
                          const char **ret_text)
{
    char wanted[300];
    json_t *got, *payload, *want_ref = parse_quotes(ref == NULL ? "null" : ref);
    const json_t *got_ref, *got_topic;

    snprintf(wanted, sizeof(wanted), "an %s reply to %s on %s", status, ref, topic);
    got = next_json(client, wanted, ret_text);
    got_ref = json_object_get(got, "ref");
    got_topic = json_object_get(got, "topic");
    payload = json_object_get(got, "payload");
    if (strcmp(json_string_value(json_object_get(got, "event")) ?: "", "reply") != 0 ||
        strcmp(json_string_value(json_object_get(payload, "status")) ?: "", status) != 0 ||
        (topic == NULL ? !json_is_null(got_topic)
                       : strcmp(json_string_value(got_topic) ?: "", topic) != 0) ||
        !(got_ref == NULL ? json_is_null(want_ref) : json_equal(got_ref, want_ref)))
        fail_msg("expected %s, got %s", wanted, *ret_text);
    json_decref(want_ref);
    return got;
}

static json_t *response_of(const json_t *reply)
{
    return json_object_get(json_object_get(reply, "payload"), "response");
}

static void check_value(const json_t *got, const char *wanted_json, const char *text)
{
    json_t *wanted = parse_quotes(wanted_json);

    if (!json_equal(got, wanted))
        fail_msg("expected %s in %s", wanted_json, text);
    json_decref(wanted);
}

void client_expect_ok(client_t *client, const char *topic, const char *ref, const char *response)
{
    const char *text;
    json_t *reply = next_reply(client, topic, ref, "ok", &text);

    check_value(response_of(reply), response, text);
    json_decref(reply);
}

/* `detail` NULL: any, but there must be one. */
void client_expect_error_detail(client_t *client, const char *topic, const char *ref,
                                const char *code, const char *detail)
{
    const char *text;
    json_t *reply = next_reply(client, topic, ref, "error", &text);
    const json_t *response = response_of(reply);

    if (strcmp(json_string_value(json_object_get(response, "code")) ?: "", code) != 0 ||
        !json_is_string(json_object_get(response, "message")) ||
        json_object_get(response, "detail") == NULL)
        fail_msg("expected code %s with message and detail, got %s", code, text);
    if (detail != NULL)
        check_value(json_object_get(response, "detail"), detail, text);
    json_decref(reply);
}

void client_expect_error(client_t *client, const char *topic, const char *ref, const char *code)
{
    client_expect_error_detail(client, topic, ref, code, NULL);
}

void client_join(client_t *client, const char *topic, const char *ref)
{
    char response[1200];

    client_say(client, topic, "join", "{}", ref);
    snprintf(response, sizeof(response),
             "{'topic':'%s','already_joined':false,'replay_supported':false}", topic);
    client_expect_ok(client, topic, ref, response);
}

void client_expect_quiet(client_t *client)
{
    client_say(client, "hub", "heartbeat", "{}", "'quiet'");
    client_expect_ok(client, "hub", "'quiet'", "{}");
}

static void check_close(client_frame_t frame, unsigned code)
{
    const unsigned char *at = (const unsigned char *)frame.payload.base;
    char wanted[32];

    snprintf(wanted, sizeof(wanted), "close %u", code);
    if (frame.first != CLIENT_CLOSE || frame.payload.len == 1 ||
        (frame.payload.len == 0 ? 0U : at[0] * 256U + at[1]) != code)
        fail_frame(wanted, frame);
}

hub_str_t client_expect_close(client_t *client, unsigned code)
{
    client_frame_t frame = {0};

    if (!try_next(client, &frame))
        fail_nothing(client, "a close frame");
    check_close(frame, code);
    return code == 0 ? hub_str("") : hub_str_n(frame.payload.base + 2, frame.payload.len - 2);
}

size_t client_drain_to_close(client_t *client, unsigned code)
{
    client_frame_t frame = client_next(client);
    size_t others = 0;

    for (; frame.first != CLIENT_CLOSE; frame = client_next(client))
        others++;
    check_close(frame, code);
    return others;
}

void client_expect_eof(client_t *client)
{
    bool more = have(client, 1, now_ms() + CLIENT_DEADLINE_MS);

    if (more || !client->ended || client->reset)
        fail_msg("expected the server's FIN, got %s (%zu bytes)",
                 more            ? "more"
                 : client->reset ? "a reset"
                                 : "nothing in time",
                 available(client));
}

void client_expect_gone(client_t *client)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;

    while (read_more(client, deadline_ms))
        ;
    if (!client->ended)
        fail_msg("the connection did not end in time");
}

void client_expect_reset(client_t *client)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;

    while (send(client->fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1) {
        if (now_ms() > deadline_ms)
            fail_msg("the connection was not closed in time");
        poll(NULL, 0, 1);
    }
    assert_true(errno == EPIPE || errno == ECONNRESET);
}

bool client_is_readable(client_t *client)
{
    return available(client) > 0 || client->ended || wait_for(client, POLLIN, 0);
}

bool client_waits(client_t *client, int ms)
{
    return available(client) > 0 || client->ended || wait_for(client, POLLIN, now_ms() + ms);
}

bool client_sip(client_t *client, size_t bytes, int ms)
{
    char sip[256];
    ssize_t got;

    poll(NULL, 0, ms);
    got = recv(client->fd, sip, bytes < sizeof(sip) ? bytes : sizeof(sip), MSG_DONTWAIT);
    return got > 0 || (got == -1 && (errno == EAGAIN || errno == EINTR));
}

/* ---- HTTP ---- */

void client_request(client_t *client, const char *method, const char *target, const char *fields)
{
    char *text = NULL;

    assert_true(asprintf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, target,
                         fields == NULL ? "" : fields) > 0);
    client->head_request = strcmp(method, "HEAD") == 0;
    client_send_text(client, text);
    free(text);
}

const char *client_upgrade_text(const char *target, const char *fields)
{
    static char text[32768];

    snprintf(text, sizeof(text),
             "GET %s HTTP/1.1\r\n"
             "Host: localhost\r\n"
             "Connection: Upgrade\r\n"
             "Upgrade: websocket\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" /* RFC 6455 1.3 */
             "Sec-WebSocket-Version: 13\r\n"
             "%s\r\n",
             target, fields == NULL ? "" : fields);
    return text;
}

/* The number of bytes up to and with the empty line; 0 while it is not there. */
static size_t head_len(const client_t *client)
{
    const char *from, *end;

    if (available(client) == 0)
        return 0;
    from = client->in + client->taken;
    end = memmem(from, available(client), "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - from) + 4;
}

hub_str_t client_header(const client_response_t *response, const char *name)
{
    size_t name_len = strlen(name);

    for (const char *line = strstr(response->head, "\r\n"); line != NULL;
         line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_len) == 0 && line[name_len] == ':') {
            const char *value = line + name_len + 1 + strspn(line + name_len + 1, " ");

            return hub_str_n(value, strcspn(value, "\r"));
        }
    }
    return hub_str(NULL);
}

/* Reads the body behind the head that lies in client->last. */
static hub_str_t read_body(client_t *client, client_response_t *response, int64_t deadline_ms)
{
    hub_str_t length = client_header(response, "Content-Length");
    size_t bytes = length.base == NULL ? 0 : strtoul(length.base, NULL, 10),
           head = strlen(response->head);

    if (client->head_request || response->status == 304 || response->status == 101)
        return hub_str("");
    if (length.base == NULL)
        while (read_more(client, deadline_ms))
            ;
    else if (!have(client, bytes, deadline_ms))
        fail_nothing(client, "a body");
    bytes = length.base == NULL ? available(client) : bytes;
    client->last = realloc(client->last, head + bytes + 2);
    assert_non_null(client->last);
    if (bytes > 0)
        memcpy(client->last + head + 1, client->in + client->taken, bytes);
    client->last[head + 1 + bytes] = '\0';
    client->taken += bytes;
    response->head = client->last;
    return hub_str_n(client->last + head + 1, bytes);
}

bool client_try_response(client_t *client, client_response_t *ret_response)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;
    client_response_t response = {0};

    while (head_len(client) == 0)
        if (!read_more(client, deadline_ms)) {
            if (!client->ended)
                fail_nothing(client, "a response");
            return false;
        }
    response.head = take(client, head_len(client)).base;
    if (sscanf(response.head, "HTTP/1.1 %d ", &response.status) != 1)
        fail_msg("expected a response, got %s", response.head);
    response.body = read_body(client, &response, deadline_ms);
    *ret_response = response;
    return true;
}

client_response_t client_next_response(client_t *client)
{
    client_response_t response;

    if (!client_try_response(client, &response))
        fail_nothing(client, "a response");
    return response;
}

client_response_t client_expect_response(client_t *client, int status)
{
    client_response_t response = client_next_response(client);

    if (response.status != status)
        fail_msg("expected status %d, got %s", status, response.head);
    return response;
}

static void check_header(const client_response_t *response, const char *name, const char *value)
{
    hub_str_t got = client_header(response, name);

    if (!hub_str_equals(got, hub_str(value)))
        fail_msg("expected %s: %s, got %.*s", name, value, HUB_STR_ARG(got));
}

void client_expect_upgraded(client_t *client)
{
    client_response_t response = client_expect_response(client, 101);

    check_header(&response, "Upgrade", "websocket");
    check_header(&response, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_int_equal(strncasecmp(client_header(&response, "Connection").base, "upgrade", 7), 0);
}

hub_str_t client_read_all(client_t *client)
{
    int64_t deadline_ms = now_ms() + CLIENT_DEADLINE_MS;

    while (read_more(client, deadline_ms))
        ;
    if (!client->ended)
        fail_nothing(client, "the end");
    return take(client, available(client));
}
