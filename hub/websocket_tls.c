/* SPDX-License-Identifier: MIT */
/* The websocket transport over TLS. After the 101 h2o only watches the descriptor, as it does
 * without TLS; its SSL object is driven from here, over a BIO in memory: one read of bounded size
 * feeds OpenSSL, and what OpenSSL makes of many frames leaves by one write. h2o's own way was
 * rejected: it reads without a bound, calls back after each write, takes a key update (RFC 8446
 * 4.6.3) for a renegotiation, and closes without waiting for the peer. */
#include "hub/internal.h"

#include <assert.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

#define IOVECS 256
#define RECORD 16384                /* of plain text: RFC 8446 5.1 */
#define RECORD_ROOM (RECORD + 4096) /* on the wire, also as many small ones (RFC 6066 4) */
#define WRITE_RECORDS 4
#define REST_MAX (128 * 1024)

/* What OpenSSL has for one, as measured; for a record that has begun to come, besides. */
#define TLS_STATE 14500
#define TLS_RECORD 16704

/* What OpenSSL's state takes out of one read, and what it was in the middle of, must fit into the
 * worker's buffer together: nothing would call for what stayed behind. */
#define WIRE_READ (HUB__READ_BUFFER - RECORD_ROOM)

/* Of a worker: nothing stays in it from one callback of the loop to the next. While a connection
 * seals what it sends, a hook of one of its frames may make another one write: that one's records
 * stand behind the first one's in `out`, and have left when the first one goes on. */
struct hub__tls_io {
    const char *in; /* was read, OpenSSL has not asked for it yet */
    size_t in_len;
    size_t out_len;
    char wire[WIRE_READ];
    char plain[RECORD]; /* small frames on their way into one record */
    char out[(WRITE_RECORDS + 1) * RECORD_ROOM];
};

struct hub__tls_conn {
    h2o_socket_t *socket;
    SSL *ssl; /* the socket's */
    hub__worker_t *worker;
    hub__tls_io_t *io;
    char *rest; /* records that the socket did not take; NULL: none */
    size_t rest_len;
    hub__tls_chatter_t chatter;
    bool chatters;     /* too much: nothing more is read */
    bool holds_record; /* a part of one */
    bool notified;     /* close_notify was made */
    bool leaving;      /* what OpenSSL still says goes out at once or not at all */
};

/* ---- h2o's part ---- */

/* The beginning of what h2o keeps for a socket, to which it gives no access: the same in all of
 * 2.2.x, which is what libh2o-evloop.so.0.13 is. */
struct st_h2o_socket_ssl_t {
    SSL_CTX *context;
    SSL *ssl;
};

_Static_assert(H2O_LIBRARY_VERSION_MAJOR == 0 && H2O_LIBRARY_VERSION_MINOR == 13,
               "struct st_h2o_socket_ssl_t has to be looked at again");

h2o_socket_t *hub__tls_socket_of(const SSL *ssl)
{
    BIO *bio = SSL_get_rbio(ssl);

    if (bio == NULL || strcmp(BIO_method_name(bio), "h2o_socket") != 0)
        return NULL;
    return BIO_get_data(bio);
}

bool hub__tls_can_take(const h2o_socket_t *socket)
{
    return socket->ssl == NULL ||
           (socket->ssl->ssl != NULL && hub__tls_socket_of(socket->ssl->ssl) == socket);
}

/* ---- the BIO ---- */

static int on_bio_read(BIO *bio, char *buffer, int size)
{
    hub__tls_io_t *io = ((hub__tls_conn_t *)BIO_get_data(bio))->io;
    size_t len = io->in_len < (size_t)size ? io->in_len : (size_t)size;

    BIO_clear_retry_flags(bio);
    if (((hub__tls_conn_t *)BIO_get_data(bio))->chatters)
        return -1;
    if (len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(buffer, io->in, len);
    io->in += len;
    io->in_len -= len;
    return (int)len;
}

static int on_bio_write(BIO *bio, const char *bytes, int len)
{
    hub__tls_conn_t *tls = BIO_get_data(bio);
    hub__tls_io_t *io = tls->io;

    if (tls->leaving) {
        if (tls->rest == NULL)
            (void)send(h2o_socket_get_fd(tls->socket), bytes, (size_t)len,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
        return len;
    }
    if ((size_t)len > sizeof(io->out) - io->out_len)
        return -1;
    memcpy(io->out + io->out_len, bytes, (size_t)len);
    io->out_len += (size_t)len;
    return len;
}

static long on_bio_control(BIO *bio, int command, long number, void *data)
{
    (void)bio;
    (void)number;
    (void)data;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

/* With the SSL object, which is h2o's. */
static int on_bio_destroy(BIO *bio)
{
    hub__tls_conn_t *tls = BIO_get_data(bio);

    hub__account.bytes -= TLS_STATE + (tls->holds_record ? TLS_RECORD : 0);
    hub__queue_free(tls->rest);
    hub__peer_free(tls);
    return 1;
}

static void on_message(int is_write, int version, int content_type, const void *bytes, size_t len,
                       SSL *ssl, void *user)
{
    hub__tls_conn_t *tls = user;

    (void)version;
    (void)ssl;
    if (!tls->leaving &&
        hub__tls_chatters(&tls->chatter, is_write, content_type, bytes, len, tls->worker->now_ms))
        tls->chatters = true;
}

static BIO_METHOD *method;

static void make_method(void)
{
    if ((method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sockethub")) == NULL)
        return;
    BIO_meth_set_read(method, on_bio_read);
    BIO_meth_set_write(method, on_bio_write);
    BIO_meth_set_ctrl(method, on_bio_control);
    BIO_meth_set_destroy(method, on_bio_destroy);
}

hub__tls_conn_t *hub__tls_take(hub__worker_t *worker, h2o_socket_t *socket)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    hub__tls_conn_t *tls = hub__peer_alloc_zeroed(sizeof(*tls));
    BIO *bio;

    pthread_once(&once, make_method);
    if (worker->tls_io == NULL)
        worker->tls_io = calloc(1, sizeof(*worker->tls_io));
    if (tls == NULL || worker->tls_io == NULL || method == NULL ||
        (bio = BIO_new(method)) == NULL) {
        hub__peer_free(tls);
        return NULL;
    }
    assert(worker->tls_io->out_len == 0); /* nobody seals now, and who did has left nothing */
    hub__account.bytes += TLS_STATE;
    tls->socket = socket;
    tls->ssl = socket->ssl->ssl;
    tls->worker = worker;
    tls->io = worker->tls_io;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_msg_callback(tls->ssl, on_message);
    SSL_set_msg_callback_arg(tls->ssl, tls);
    /* idle, it holds no buffers: the context of a program's own server may not say so */
    SSL_set_mode(tls->ssl, SSL_MODE_RELEASE_BUFFERS);
    return tls;
}

void hub__tls_leave(hub__tls_conn_t *tls)
{
    tls->leaving = true;
    tls->io->in_len = 0;
}

h2o_socket_t *hub__tls_socket(const hub__tls_conn_t *tls)
{
    return tls->socket;
}

/* ---- writing ---- */

static void on_writable(h2o_socket_t *socket, const char *err)
{
    hub_conn_t *conn = socket->data;
    hub__worker_t *worker = hub__conn_worker(conn);

    hub__worker_enter(worker);
    hub__conn_set_blocked(conn, false);
    if (err != NULL)
        hub__conn_lost(conn, HUB_DISCONNECT_LOST);
    else
        hub__conn_want_flush(conn);
    hub__worker_leave(worker);
}

/* Returns how much the socket took; -1: the connection is lost. */
static ssize_t send_bytes(hub_conn_t *conn, const char *bytes, size_t len)
{
    ssize_t wrote;

    do
        wrote = send(conn->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (wrote == -1 && errno == EINTR);
    HUB__STAT(&hub__conn_worker(conn)->stats, writes_total);
    if (wrote == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return wrote;
}

static void wait_writable(hub_conn_t *conn)
{
    if (conn->blocked)
        return;
    hub__conn_set_blocked(conn, true);
    hub__outbox_compact(&conn->outbox);
    hub__conn_rearm(conn); /* for the age of what waits */
    h2o_socket_notify_write(conn->tls->socket, on_writable);
}

/* It counts as a part of the outbox: its frames have left that, but not us. */
static bool keep_rest(hub_conn_t *conn, const char *bytes, size_t len)
{
    hub__tls_conn_t *tls = conn->tls;
    char *rest;

    /* what was sealed at once, and what OpenSSL may answer meanwhile */
    if (tls->rest_len + len > REST_MAX ||
        (rest = hub__queue_realloc(tls->rest, tls->rest_len + len)) == NULL)
        return false;
    memcpy(rest + tls->rest_len, bytes, len);
    tls->rest = rest;
    tls->rest_len += len;
    HUB__STAT_ADD(&hub__conn_worker(conn)->stats, outbox_bytes, len);
    wait_writable(conn);
    return true;
}

static void drop_rest(hub_conn_t *conn, size_t len)
{
    hub__tls_conn_t *tls = conn->tls;

    HUB__STAT_SUB(&hub__conn_worker(conn)->stats, outbox_bytes, len);
    if ((tls->rest_len -= len) != 0) {
        memmove(tls->rest, tls->rest + len, tls->rest_len);
        return;
    }
    hub__queue_free(tls->rest);
    tls->rest = NULL;
}

static bool send_rest(hub_conn_t *conn)
{
    hub__tls_conn_t *tls = conn->tls;
    ssize_t wrote;

    if (tls->rest == NULL || conn->blocked)
        return true;
    if ((wrote = send_bytes(conn, tls->rest, tls->rest_len)) == -1)
        return false;
    drop_rest(conn, (size_t)wrote);
    if (tls->rest != NULL)
        wait_writable(conn);
    return true;
}

/* What OpenSSL has made since `begin` leaves, or waits behind what waits already. False: the
 * connection is lost. */
static bool send_out(hub_conn_t *conn, size_t begin)
{
    hub__tls_io_t *io = conn->tls->io;
    const char *bytes = io->out + begin;
    size_t len = io->out_len - begin;
    ssize_t wrote = 0;

    io->out_len = begin;
    if (len != 0 && conn->tls->rest == NULL && (wrote = send_bytes(conn, bytes, len)) == -1)
        return false;
    return (size_t)wrote == len || keep_rest(conn, bytes + wrote, len - (size_t)wrote);
}

/* What the next record carries: a large frame as it lies there, small ones put together. */
static hub_str_t next_record(hub_conn_t *conn)
{
    hub__tls_io_t *io = conn->tls->io;
    struct iovec iovecs[IOVECS];
    size_t count = hub__outbox_iovecs(&conn->outbox, iovecs, IOVECS), len = 0;

    if (count == 1 || iovecs[0].iov_len >= RECORD)
        return hub_str_n(iovecs[0].iov_base,
                         iovecs[0].iov_len < RECORD ? iovecs[0].iov_len : RECORD);
    for (size_t i = 0; i != count && len != RECORD; ++i) {
        size_t part = iovecs[i].iov_len < RECORD - len ? iovecs[i].iov_len : RECORD - len;

        memcpy(io->plain + len, iovecs[i].iov_base, part);
        len += part;
    }
    return hub_str_n(io->plain, len);
}

/* As much of the outbox as one write may carry. False: OpenSSL has given up. */
static bool seal(hub_conn_t *conn)
{
    hub__tls_io_t *io = conn->tls->io;
    hub_stats_t *stats = &hub__conn_worker(conn)->stats;

    assert(sizeof(io->out) - io->out_len >= RECORD_ROOM); /* hooks of hooks are not called */
    for (unsigned i = 0; i != WRITE_RECORDS && !hub__outbox_is_empty(&conn->outbox) &&
                         sizeof(io->out) - io->out_len >= RECORD_ROOM;
         ++i) {
        hub_str_t record = next_record(conn);

        ERR_clear_error();
        if (SSL_write(conn->tls->ssl, record.base, (int)record.len) != (int)record.len)
            return false;
        HUB__STAT_ADD(stats, bytes_out_total, record.len);
        HUB__STAT_SUB(stats, outbox_bytes, record.len);
        hub__outbox_consume(&conn->outbox, record.len, hub__conn_on_sent, conn);
    }
    return true;
}

static bool write_some(hub_conn_t *conn)
{
    hub__tls_io_t *io = conn->tls->io;
    size_t begin = io->out_len;

    if (seal(conn))
        return send_out(conn, begin);
    io->out_len = begin;
    return false;
}

/* Writes until everything has left or the socket takes no more. False: the connection is lost. */
static bool write_all(hub_conn_t *conn)
{
    if (!send_rest(conn))
        return false;
    while (conn->tls->rest == NULL && !hub__outbox_is_empty(&conn->outbox))
        if (!write_some(conn))
            return false;
    return true;
}

/* close_notify (RFC 8446 6.1), then the end of our side. */
static void shut_write_side(hub_conn_t *conn)
{
    hub__tls_conn_t *tls = conn->tls;
    size_t begin = tls->io->out_len;

    if (!tls->notified) {
        tls->notified = true;
        tls->io->in_len = 0;
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl);
        if (!send_out(conn, begin)) {
            hub__conn_destroy(conn);
            return;
        }
    }
    if (tls->rest != NULL)
        return;
    conn->state = HUB__CONN_LINGERING;
    if (shutdown(conn->fd, SHUT_WR) != 0)
        hub__conn_destroy(conn);
}

static void flush(hub_conn_t *conn)
{
    if (conn->blocked) {
        hub__outbox_compact(&conn->outbox);
        return;
    }
    if (conn->state == HUB__CONN_LINGERING)
        return;
    do
        if (!write_all(conn)) {
            hub__conn_lost(conn, HUB_DISCONNECT_LOST);
            return;
        }
    while (!conn->blocked && hub__slow_refill(conn));
    if (conn->state == HUB__CONN_CLOSING && hub__outbox_is_empty(&conn->outbox) &&
        conn->tls->rest == NULL)
        shut_write_side(conn);
}

/* Ends nothing: a connection that turns out to be lost is only marked. */
static void relieve(hub_conn_t *conn)
{
    if (conn->blocked || write_all(conn))
        return;
    conn->lost = true;
    hub__conn_want_close(conn, HUB_DISCONNECT_LOST, 0, (hub_str_t){0});
}

/* ---- reading ---- */

static hub_str_t peer(const hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);

    if (conn->tls == NULL)
        return (hub_str_t){0};
    return hub__peer_text(conn->tls->socket, worker->text, sizeof(worker->text));
}

/* A record is kept by OpenSSL until all of it is there. */
static void account_for_record(hub__tls_conn_t *tls)
{
    bool holds = SSL_has_pending(tls->ssl) != 0;

    if (holds != tls->holds_record)
        hub__account.bytes += holds ? TLS_RECORD : -TLS_RECORD;
    tls->holds_record = holds;
}

/* Decrypts all of what was read. `ret_ended`: close_notify came, or what can't be decrypted. */
static size_t unseal(hub_conn_t *conn, size_t got, bool *ret_ended)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    hub__tls_conn_t *tls = conn->tls;
    size_t len = 0;
    int part;

    tls->io->in = tls->io->wire;
    tls->io->in_len = got;
    do {
        ERR_clear_error();
        part = SSL_read(tls->ssl, worker->read_buffer + len, (int)(HUB__READ_BUFFER - len));
        if (part > 0)
            len += (size_t)part;
    } while (part > 0 && len != HUB__READ_BUFFER);
    account_for_record(tls);
    *ret_ended = part <= 0 && SSL_get_error(tls->ssl, part) != SSL_ERROR_WANT_READ;
    return len;
}

static void end(hub_conn_t *conn)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    hub_str_t who;

    if (!conn->tls->chatters) {
        hub__conn_lost(conn, HUB_DISCONNECT_LOST);
        return;
    }
    HUB__STAT(&worker->stats, tls_chatter_total);
    who = peer(conn);
    hub__source_is_conn(conn);
    hub_log_peer(HUB_LOG_WARN, "tls.chatter", "why=\"key updates\" peer=%.*s", HUB_STR_ARG(who));
    hub__source_set(NULL, NULL);
    hub__conn_lost(conn, HUB_DISCONNECT_LIMIT);
}

/* What came before the end is heard. */
static void take_in(hub_conn_t *conn, size_t got)
{
    hub__worker_t *worker = hub__conn_worker(conn);
    uint64_t local = hub__worker_local(worker, conn->slot);
    bool ended;
    size_t begin = conn->tls->io->out_len, len = unseal(conn, got, &ended);

    if (!send_out(conn, begin)) /* OpenSSL may have had something to answer */
        ended = true;
    if (len != 0)
        hub__conn_read(conn, worker->read_buffer, len);
    if (ended && hub__worker_conn(worker, local) == conn)
        end(conn);
}

static void on_read(h2o_socket_t *socket, const char *err)
{
    hub_conn_t *conn = socket->data;
    hub__worker_t *worker = hub__conn_worker(conn);
    ssize_t got;

    hub__worker_enter(worker);
    do
        got = recv(conn->fd, conn->tls->io->wire, WIRE_READ, MSG_DONTWAIT);
    while (got == -1 && errno == EINTR);
    HUB__STAT(&worker->stats, reads_total);
    if (got > 0) {
        if (hub__conn_is_open(conn))
            take_in(conn, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || err != NULL) {
        hub__conn_lost(conn, HUB_DISCONNECT_LOST);
    }
    hub__worker_leave(worker);
}

/* ---- the transport ---- */

static void pause_reading(hub_conn_t *conn, bool paused)
{
    if (paused)
        h2o_socket_read_stop(conn->tls->socket);
    else
        h2o_socket_read_start(conn->tls->socket, on_read);
}

static void say_goodbye(hub_conn_t *conn, unsigned code, hub_str_t reason)
{
    hub__websocket.close(conn, code, reason);
}

static void ping(hub_conn_t *conn)
{
    hub__websocket.ping(conn);
}

/* Closing makes h2o ask OpenSSL for a close_notify, where there was none. */
static void dispose(hub_conn_t *conn)
{
    hub__tls_conn_t *tls = conn->tls;

    hub__frame_reader_dispose(&conn->reader);
    if (tls == NULL)
        return;
    HUB__STAT_SUB(&hub__conn_worker(conn)->stats, outbox_bytes, tls->rest_len);
    conn->tls = NULL;
    hub__tls_leave(tls);
    h2o_socket_close(tls->socket);
}

const hub__transport_t hub__websocket_tls = {
    .name = "websocket_tls",
    .flush = flush,
    .relieve = relieve,
    .pause = pause_reading,
    .close = say_goodbye,
    .ping = ping,
    .dispose = dispose,
    .peer = peer,
};
