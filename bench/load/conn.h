/* bench/load/conn.h - websocket connections on one epoll loop.
 *
 * A turn of the loop reads what has come, hands over each message where it lies, and writes what
 * was said meanwhile: everything for one connection in one write at the end of the turn. Bytes are
 * copied only where a frame is not whole yet. One thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "bench/load/buffer.h"

typedef enum conn_state {
    CONN_NONE,
    CONN_CONNECTING,
    CONN_UPGRADING,
    CONN_OPEN,
    CONN_CLOSING /* we have asked for it */
} conn_state_t;

/* Embedded in what the handlers know. All zero: not connected. */
typedef struct conn {
    int fd;
    conn_state_t state;
    bool blocked; /* the kernel takes no more */
    bool dirty;   /* on the list of those to write to */
    bool paused;  /* is not read */
    uint32_t number;
    buffer_t in, out, message;
    struct conn *next_dirty;
} conn_t;

typedef struct loop loop_t;

/* Handlers may say something to any connection, and close any but within on_closed. */
typedef struct handlers {
    void (*on_open)(loop_t *loop, conn_t *conn);
    void (*on_message)(loop_t *loop, conn_t *conn, const char *bytes, size_t len, uint64_t now_ns);
    /* Called once for each connection that was begun, with its descriptor gone. `why` is NULL where
     * we had asked for it. */
    void (*on_closed)(loop_t *loop, conn_t *conn, const char *why);
    /* The length of the first message in a stream; NULL: frames have messages. As in speaker.h. */
    size_t (*split)(const char *bytes, size_t len);
    const char *subprotocol; /* or NULL */
} handlers_t;

struct loop {
    int epoll;
    handlers_t handlers;
    void *user;
    struct target {
        struct sockaddr_storage address;
        socklen_t address_len;
        char host[300];     /* as the request has it */
    } target, other_target; /* the second is where conn_open() is told so */
    conn_t *dirty;
    char *read_buffer;
    uint64_t reads, turns;
};

#define LOOP_FOREVER UINT64_MAX

uint64_t loop_now_ns(void); /* monotonic */
/* `handlers` is copied; `user` is for them. Ends the program where the host is not known. Owned by
 * the caller (loop_close). */
void loop_open(loop_t *ret_loop, const char *host, const char *port, const handlers_t *handlers,
               void *user);
void loop_close(loop_t *loop);
/* The other address, which is the first one until then. */
void loop_set_other(loop_t *loop, const char *host, const char *port);
/* One turn, which waits for `wait_ns` at most. */
void loop_turn(loop_t *loop, uint64_t wait_ns);

/* Begins to connect and to upgrade, at the other address where `other` says so. To an address in
 * 127.0.0.0/8 it leaves from 127.0.0.2 onward, by its number, since the ports of one address are
 * not enough for all. `receive_buffer` is the kernel's, 0: as it is. Ends the program where that
 * cannot even begin. */
#define CONNS_PER_ADDRESS 20000u
void conn_open(loop_t *loop, conn_t *conn, uint32_t number, bool other, const char *path,
               int receive_buffer);
/* Where to write whole frames; they leave at the end of the turn. */
buffer_t *conn_say(loop_t *loop, conn_t *conn);
/* While paused nothing is read, and the server's end is not noticed. */
void conn_pause(loop_t *loop, conn_t *conn, bool paused);
/* The closing handshake; on_closed follows. */
void conn_close(loop_t *loop, conn_t *conn);
/* At once, and without a trace in the kernel. */
void conn_drop(loop_t *loop, conn_t *conn);
