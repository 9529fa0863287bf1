/* SPDX-License-Identifier: MIT */
/* What a listener speaks TLS with: files become an SSL_CTX, whole or not at all, and are read again
 * while the server runs. Handshakes are h2o's; what came of one is told to the door, which knows
 * who it was with. */
#include "hub/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/internal.h"
#include "hub/reception.h"

#define FILE_MAX (1024 * 1024)
#define CHATTER_MAX 32 /* in CHATTER_MS */
#define CHATTER_MS 10000
#define RENEW_SOON_S (14 * 24 * 3600)
#define CIPHERS                                                                                    \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

struct hub__tls {
    char *certificate_file, *key_file; /* the same one where the key is in it */
    char *passphrase;                  /* NULL: none */
    char *ciphers, *ciphersuites;      /* NULL: the defaults */
    hub_tls_version_t min_version;
    bool tickets;
    pthread_mutex_t lock;
    SSL_CTX *context; /* of new connections */
};

/* A file on its way to becoming a part of a context. */
struct loading {
    const char *option, *path; /* what errors name */
    const char *passphrase;
    bool asked; /* for the passphrase */
    hub_error_t *error;
};

/* ---- errors ---- */

static hub_status_t fail(const struct loading *loading, hub_status_t status, const char *why)
{
    return hub_error_set(loading->error, status, 0, "tls: %s \"%s\": %s", loading->option,
                         loading->path, why);
}

/* What OpenSSL says was wrong. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());

    return text != NULL ? text : "OpenSSL gives no reason";
}

static hub_status_t fail_option(const char *option, const char *value, hub_error_t *error)
{
    return hub_error_set(error, HUB_EINVAL, 0, "tls: %s = \"%s\": %s", option, value, reason());
}

/* ---- files ---- */

/* To be cleansed and freed; NULL: `error` says why. */
static char *read_file(const struct loading *loading, size_t *ret_len)
{
    int fd = open(loading->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *bytes;
    size_t len = 0;
    ssize_t got = 1;

    if (fd == -1) {
        (void)fail(loading, HUB_ESYSTEM, strerror(errno));
        return NULL;
    }
    bytes = hub__alloc(FILE_MAX);
    while (len != FILE_MAX && got > 0) {
        got = read(fd, bytes + len, FILE_MAX - len);
        if (got > 0)
            len += (size_t)got;
        else if (got == -1 && errno == EINTR)
            got = 1;
    }
    if (got == -1 || len == FILE_MAX) {
        (void)fail(loading, HUB_ESYSTEM, got == -1 ? strerror(errno) : "larger than 1 MiB");
        OPENSSL_cleanse(bytes, len);
        free(bytes);
        bytes = NULL;
    }
    close(fd);
    *ret_len = len;
    return bytes;
}

/* OpenSSL's own would ask at the terminal. */
static int give_passphrase(char *buffer, int size, int writing, void *user)
{
    struct loading *loading = user;
    size_t len = loading->passphrase != NULL ? strlen(loading->passphrase) : 0;

    (void)writing;
    loading->asked = true;
    if (loading->passphrase == NULL || len > (size_t)size)
        return -1;
    memcpy(buffer, loading->passphrase, len);
    return (int)len;
}

static hub_status_t check_time(const struct loading *loading, const X509 *certificate)
{
    int days, seconds;

    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        return fail(loading, HUB_EINVAL, "the certificate has expired");
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
        hub_log(HUB_LOG_WARN, "tls.not_yet_valid", "certificate_file=\"%s\"", loading->path);
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) == 1 &&
        (int64_t)days * 86400 + seconds < RENEW_SOON_S)
        hub_log(HUB_LOG_WARN, "tls.expires_soon", "certificate_file=\"%s\" days=%d", loading->path,
                days);
    return HUB_OK;
}

/* As SSL_CTX_use_certificate_chain_file(), which cannot say what of a file was wrong. */
static hub_status_t use_chain(SSL_CTX *context, const struct loading *loading, BIO *pem)
{
    X509 *certificate = PEM_read_bio_X509_AUX(pem, NULL, NULL, NULL);
    hub_status_t err = HUB_OK;

    if (certificate == NULL)
        return fail(loading, HUB_ESYNTAX, "no certificate in PEM is there");
    if ((err = check_time(loading, certificate)) == HUB_OK &&
        SSL_CTX_use_certificate(context, certificate) != 1)
        err = fail(loading, HUB_EINVAL, reason());
    X509_free(certificate);
    while (err == HUB_OK && (certificate = PEM_read_bio_X509(pem, NULL, NULL, NULL)) != NULL)
        if (SSL_CTX_add0_chain_cert(context, certificate) != 1) {
            X509_free(certificate);
            err = fail(loading, HUB_EINVAL, reason());
        }
    if (err == HUB_OK && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        err = fail(loading, HUB_ESYNTAX, reason());
    ERR_clear_error();
    return err;
}

static hub_status_t load_chain(SSL_CTX *context, const hub__tls_t *tls, hub_error_t *error)
{
    struct loading loading = {
        .option = "certificate_file", .path = tls->certificate_file, .error = error};
    size_t len;
    char *bytes = read_file(&loading, &len);
    hub_status_t err;
    BIO *pem;

    if (bytes == NULL)
        return HUB_ESYSTEM;
    pem = BIO_new_mem_buf(bytes, (int)len);
    err = pem != NULL ? use_chain(context, &loading, pem) : fail(&loading, HUB_ENOMEM, reason());
    BIO_free(pem);
    OPENSSL_cleanse(bytes, len); /* the key may be in it */
    free(bytes);
    return err;
}

static hub_status_t use_key(SSL_CTX *context, const hub__tls_t *tls, struct loading *loading,
                            BIO *pem)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, give_passphrase, loading);
    hub_status_t err = HUB_OK;

    if (key == NULL && loading->asked)
        return fail(loading, HUB_EINVAL,
                    loading->passphrase != NULL ? "key_passphrase does not open it"
                                                : "it is encrypted and key_passphrase is not set");
    if (key == NULL)
        return fail(loading, HUB_ESYNTAX, "no private key in PEM is there");
    if (SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1)
        err = hub_error_set(loading->error, HUB_EINVAL, 0,
                            "tls: %s \"%s\" does not belong to certificate_file \"%s\": %s",
                            loading->option, loading->path, tls->certificate_file, reason());
    EVP_PKEY_free(key);
    return err;
}

static hub_status_t load_key(SSL_CTX *context, const hub__tls_t *tls, hub_error_t *error)
{
    struct loading loading = {
        .option = "key_file", .path = tls->key_file, .passphrase = tls->passphrase, .error = error};
    size_t len;
    char *bytes = read_file(&loading, &len);
    hub_status_t err;
    BIO *pem;

    if (bytes == NULL)
        return HUB_ESYSTEM;
    pem = BIO_new_mem_buf(bytes, (int)len);
    err = pem != NULL ? use_key(context, tls, &loading, pem) : fail(&loading, HUB_ENOMEM, reason());
    BIO_free(pem);
    OPENSSL_cleanse(bytes, len);
    free(bytes);
    return err;
}

/* ---- handshakes ---- */

/* RFC 7301 3.2: who offers protocols, and ours is not among them, is refused. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *offer, unsigned offer_len, void *user)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)user;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, offer, offer_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = ours + 1;
    return SSL_TLSEXT_ERR_OK;
}

bool hub__tls_chatters(hub__tls_chatter_t *chatter, int is_write, int content_type,
                       const void *bytes, size_t len, uint64_t now_ms)
{
    uint32_t now = (uint32_t)now_ms;
    bool updates = !is_write && content_type == SSL3_RT_HANDSHAKE && len != 0 &&
                   *(const unsigned char *)bytes == SSL3_MT_KEY_UPDATE;

    if (!updates && !(is_write && content_type == SSL3_RT_ALERT))
        return false;
    if (chatter->count == 0 || now - chatter->since >= CHATTER_MS)
        *chatter = (hub__tls_chatter_t){.since = now};
    return ++chatter->count > CHATTER_MAX;
}

/* Called by OpenSSL for each of its own messages. h2o reads on as long as it has bytes, unless
 * OpenSSL thinks that the peer has said its last. */
static void on_message(int is_write, int version, int content_type, const void *bytes, size_t len,
                       SSL *ssl, void *user)
{
    h2o_socket_t *socket = hub__tls_socket_of(ssl);

    (void)version;
    (void)user;
    if (socket != NULL && hub__reception_chatters(socket, is_write, content_type, bytes, len))
        SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN);
}

/* Called by OpenSSL for each step of a handshake, and for alerts. */
static void on_step(const SSL *ssl, int where, int result)
{
    h2o_socket_t *socket = hub__tls_socket_of(ssl);

    if (socket == NULL)
        return; /* it is a websocket by now */
    if (where & SSL_CB_HANDSHAKE_DONE)
        hub__reception_greeted(socket);
    else if ((where & SSL_CB_LOOP) && SSL_get_state(ssl) == TLS_ST_SW_SRVR_HELLO)
        hub__reception_answered(socket);
    else if (where == SSL_CB_WRITE_ALERT && result >> 8 == SSL3_AL_FATAL)
        hub__reception_alerted(socket, (unsigned char)(result & 0xff));
    else if (where == SSL_CB_READ_ALERT && (result & 0xff) == SSL_AD_CLOSE_NOTIFY)
        hub__reception_ended(socket);
    else if (where == SSL_CB_ACCEPT_EXIT && result <= 0 && ERR_peek_error() != 0)
        hub__reception_rejected(socket, reason());
}

/* ---- contexts ---- */

static hub_status_t set_ciphers(SSL_CTX *context, const hub__tls_t *tls, hub_error_t *error)
{
    if (SSL_CTX_set_cipher_list(context, tls->ciphers != NULL ? tls->ciphers : CIPHERS) != 1)
        return fail_option("ciphers", tls->ciphers, error);
    if (tls->ciphersuites != NULL && SSL_CTX_set_ciphersuites(context, tls->ciphersuites) != 1)
        return fail_option("ciphersuites", tls->ciphersuites, error);
    return HUB_OK;
}

static void set_rules(SSL_CTX *context, const hub__tls_t *tls)
{
    SSL_CTX_set_min_proto_version(context, tls->min_version == HUB_TLS_1_3 ? TLS1_3_VERSION
                                                                           : TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (!tls->tickets)
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, tls->tickets ? 1 : 0);
    /* tickets do what it would, without memory and a lock between workers */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_early_data(context, 0);
    /* an idle connection holds no buffers */
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    SSL_CTX_set_info_callback(context, on_step);
    SSL_CTX_set_msg_callback(context, on_message);
}

hub_status_t hub__tls_load(const hub__tls_t *tls, SSL_CTX **ret_context, hub_error_t *error)
{
    SSL_CTX *context;
    hub_status_t err;

    ERR_clear_error();
    if ((context = SSL_CTX_new(TLS_server_method())) == NULL)
        return hub_error_set(error, HUB_ENOMEM, 0, "tls: %s", reason());
    set_rules(context, tls);
    err = set_ciphers(context, tls, error);
    if (err == HUB_OK)
        err = load_chain(context, tls, error);
    if (err == HUB_OK)
        err = load_key(context, tls, error);
    ERR_clear_error();
    if (err != HUB_OK) {
        SSL_CTX_free(context);
        return err;
    }
    *ret_context = context;
    return HUB_OK;
}

void hub__tls_set(hub__tls_t *tls, SSL_CTX *context)
{
    SSL_CTX *before;

    pthread_mutex_lock(&tls->lock);
    before = tls->context;
    tls->context = context;
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(before);
}

SSL_CTX *hub__tls_context(hub__tls_t *tls)
{
    SSL_CTX *context;

    pthread_mutex_lock(&tls->lock);
    context = tls->context;
    SSL_CTX_up_ref(context);
    pthread_mutex_unlock(&tls->lock);
    return context;
}

const char *hub__tls_certificate_file(const hub__tls_t *tls)
{
    return tls->certificate_file;
}

static char *copy_text(const char *text)
{
    return text != NULL ? hub__str_copy(hub_str(text)) : NULL;
}

hub_status_t hub__tls_create(const hub_tls_options_t *options, hub__tls_t **ret_tls,
                             hub_error_t *error)
{
    hub__tls_t *tls;
    hub_status_t err;

    if (options == NULL || options->certificate_file == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "tls: certificate_file is not set");
    if (options->min_version != HUB_TLS_1_2 && options->min_version != HUB_TLS_1_3)
        return hub_error_set(error, HUB_EINVAL, 0, "tls: min_version = %d: no such version",
                             (int)options->min_version);
    tls = hub__alloc_zeroed(sizeof(*tls));
    tls->certificate_file = copy_text(options->certificate_file);
    tls->key_file =
        copy_text(options->key_file != NULL ? options->key_file : options->certificate_file);
    tls->passphrase = copy_text(options->key_passphrase);
    tls->ciphers = copy_text(options->ciphers);
    tls->ciphersuites = copy_text(options->ciphersuites);
    tls->min_version = options->min_version;
    tls->tickets = !options->no_session_tickets;
    pthread_mutex_init(&tls->lock, NULL);
    if ((err = hub__tls_load(tls, &tls->context, error)) != HUB_OK) {
        hub__tls_destroy(tls);
        return err;
    }
    *ret_tls = tls;
    return HUB_OK;
}

void hub__tls_destroy(hub__tls_t *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    if (tls->passphrase != NULL)
        OPENSSL_cleanse(tls->passphrase, strlen(tls->passphrase));
    pthread_mutex_destroy(&tls->lock);
    free(tls->passphrase);
    free(tls->certificate_file);
    free(tls->key_file);
    free(tls->ciphers);
    free(tls->ciphersuites);
    free(tls);
}
