/* test/client.h - a small websocket and HTTP client that may misbehave.
 *
 * It blocks, but never for longer than CLIENT_DEADLINE_MS: an expectation that is not met in that
 * time, or by something else, fails the case and names what came instead. JSON is written with '
 * for " and compared as a value. One thread at a time. */
#pragma once

#include <openssl/ssl.h>

#include "bus/base.h"

#define CLIENT_DEADLINE_MS 10000

#define CLIENT_FIN 0x80U
#define CLIENT_TEXT 0x81U /* opcodes of whole messages */
#define CLIENT_BINARY 0x82U
#define CLIENT_CLOSE 0x88U
#define CLIENT_PING 0x89U
#define CLIENT_PONG 0x8aU

typedef struct client client_t;

/* Stands in tokens and payloads, and in no line of the log: server_teardown() looks. */
#define SERVER_SECRET "secret"

/* ---- connecting ---- */

/* TCP or unix alone, in the form of hub_server_address(). NULL where the connection is refused. */
client_t *client_try_connect(const char *address);
/* The same, but it must stand; with a receive buffer of about this size unless that is 0. */
client_t *client_connect(const char *address, int receive_bytes);
/* The same from this IPv4 address, which must be the machine's: any of 127.0.0.0/8 is. */
client_t *client_connect_from(const char *address, const char *source);
/* With the handshake done; `fields` are further header lines, each with its CRLF. */
client_t *client_open(const char *address, const char *target, const char *fields);
/* Closes the socket without a word. NULL is allowed. */
void client_destroy(client_t *client);
/* Closes it with a reset, as a crashed peer does. */
void client_abort(client_t *client);

/* ---- TLS ---- */

/* Makes a handshake over a connection that stands; from then on everything goes through it. NULL,
 * or what OpenSSL says was wrong. `context` is retained. */
const char *client_try_tls(client_t *client, SSL_CTX *context);
/* The same, but it must succeed. Returns the client. */
client_t *client_tls(client_t *client, SSL_CTX *context);
/* The same, with a session of before (NULL: none). */
client_t *client_tls_resuming(client_t *client, SSL_CTX *context, SSL_SESSION *session);
/* NULL: it is plain. */
SSL *client_ssl(client_t *client);
/* Its descriptor, for what goes past TLS. */
int client_fd(const client_t *client);

/* ---- sending ---- */

/* Bytes as they are. What does not go out within the deadline fails the case; a connection that the
 * server has ended does not. */
void client_send(client_t *client, hub_str_t bytes);
void client_send_text(client_t *client, const char *text);
/* Each byte in a segment of its own. */
void client_send_bytewise(client_t *client, hub_str_t bytes);
/* One masked frame: its first byte (FIN, RSV, opcode) and payload. */
void client_frame(client_t *client, unsigned first, hub_str_t payload);
/* Writes the same frame to `bytes`, which has room for its payload and 14 more. */
size_t client_frame_write(char *bytes, unsigned first, hub_str_t payload);
/* A text message of JSON written with '. */
void client_json(client_t *client, const char *json);
/* {"topic","event","payload","ref"}; a NULL ref is left out. */
void client_say(client_t *client, const char *topic, const char *event, const char *payload,
                const char *ref);
/* A close frame with this code; 0: an empty one. */
void client_close_frame(client_t *client, unsigned code, const char *reason);
/* No more bytes from here: a FIN. */
void client_shutdown(client_t *client);

/* ---- what comes back ---- */

typedef struct client_frame {
    unsigned first;
    hub_str_t payload; /* a NUL follows; valid until the next call */
} client_frame_t;

/* The next frame, whatever it is. */
client_frame_t client_next(client_t *client);
/* The same; false: the connection has ended. */
bool client_try_next(client_t *client, client_frame_t *ret_frame);
/* The next frame is a whole one with this first byte. */
hub_str_t client_expect_frame(client_t *client, unsigned first);
void client_expect_message(client_t *client, unsigned first, hub_str_t payload);
void client_expect_text(client_t *client, const char *text);
void client_expect_json(client_t *client, const char *json);
/* A broadcast of exactly this. */
void client_expect_event(client_t *client, const char *topic, const char *event,
                         const char *payload);
/* The same for a push to one member, which carries the ref of its join. */
void client_expect_push(client_t *client, const char *topic, const char *event, const char *payload,
                        const char *join_ref);
/* An ok reply to this ref with this response, whatever its join_ref. */
void client_expect_ok(client_t *client, const char *topic, const char *ref, const char *response);
/* An error reply to this ref with this code, a message and a detail; topic NULL: JSON's null. */
void client_expect_error(client_t *client, const char *topic, const char *ref, const char *code);
/* The same with exactly this detail. */
void client_expect_error_detail(client_t *client, const char *topic, const char *ref,
                                const char *code, const char *detail);
/* Joins and expects the acknowledgement. */
void client_join(client_t *client, const char *topic, const char *ref);
/* Nothing waits before the answer to a heartbeat. */
void client_expect_quiet(client_t *client);
/* A close frame with this code; 0: without one. Returns its reason, valid until the next call. */
hub_str_t client_expect_close(client_t *client, unsigned code);
/* The same after any number of other frames. Returns their number. */
size_t client_drain_to_close(client_t *client, unsigned code);
/* The server's FIN, with nothing before it. */
void client_expect_eof(client_t *client);
/* The end of the connection, by FIN or reset, whatever comes before. */
void client_expect_gone(client_t *client);
/* Sends bytes until the server's side answers with a reset: it has closed its socket. */
void client_expect_reset(client_t *client);
/* Whether bytes wait or the connection has ended, now. */
bool client_is_readable(client_t *client);
/* The same within so many milliseconds. */
bool client_waits(client_t *client, int ms);
/* Reads slowly: after so many milliseconds, at most so many bytes, which are forgotten. False: the
 * connection has ended. */
bool client_sip(client_t *client, size_t bytes, int ms);

/* ---- HTTP ---- */

/* A whole request without a body; `fields` as above, a Host is added. */
void client_request(client_t *client, const char *method, const char *target, const char *fields);
/* The text of an upgrade request, valid until the next call. */
const char *client_upgrade_text(const char *target, const char *fields);

typedef struct client_response {
    int status;
    const char *head; /* status line and fields, valid as long as the client reads nothing else */
    hub_str_t body;
} client_response_t;

/* The next answer, whatever its status. */
client_response_t client_next_response(client_t *client);
/* The same; false: the connection has ended before a whole head. */
bool client_try_response(client_t *client, client_response_t *ret_response);
/* The next answer has this status. */
client_response_t client_expect_response(client_t *client, int status);
/* That of the 101; what follows are frames. */
void client_expect_upgraded(client_t *client);
/* The value of a field, absent where there is none. Valid until the next call. */
hub_str_t client_header(const client_response_t *response, const char *name);
/* Everything until the end of the connection; a NUL follows. Valid until the next call. */
hub_str_t client_read_all(client_t *client);

/* A copy with " for ', to be freed. */
char *client_quotes(const char *json);
