/* bench/client.h - native clients by hand on raw sockets, without code of the hub, for benchmarks
 * that need one connection to do one thing. What compares servers is bench/load.
 *
 * Frames are counted by their lengths alone, so that the client costs far less than the server:
 * what is inside is not looked at once a connection has joined. Frames go out under a masking key
 * of zero: RFC 6455 asks for one that cannot be guessed, but to undo it costs a server the same.
 * Everything here ends the program where it fails. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct client_conn {
    int fd;
    bool in_body;
    uint8_t header_len;
    uint8_t control_len;
    uint8_t header[10];
    uint8_t control[125]; /* body of a control frame */
    uint64_t left;        /* of the body at hand */
    uint64_t received;    /* messages */
} client_conn_t;

/* Joins, from now on each with a ref that no other has. */
void client_use_own_refs(void);

/* Connects and upgrades `count` connections to 127.0.0.1 and joins number i to topic i mod
 * `topics`. */
void client_enter(client_conn_t *conns, size_t count, uint16_t port, size_t topics);
void client_close(client_conn_t *conns, size_t count);

/* A frame with one message of an envelope; frames of one event and size are equally long for all
 * topics. `payload_bytes` is at least CLIENT_PAYLOAD_MIN. Returns its length; writes it unless
 * `frame` is NULL. */
#define CLIENT_PAYLOAD_MIN 11u
size_t client_frame(char *frame, size_t topic, const char *event, size_t payload_bytes);

/* Waits until the kernel has taken all of it. */
void client_send(const client_conn_t *conn, const char *bytes, size_t len);
/* Reads what is there, once; returns how many messages ended in it. Answers pings. */
size_t client_read(client_conn_t *conn);

/* An epoll that reports each connection's index as data.u32; the caller closes it. */
int client_watch(const client_conn_t *conns, size_t count);
