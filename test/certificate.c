/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1
#include "test/certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define DAY_S (24 * 3600L)

static char folder[64];
static unsigned made;

static const char *in_folder(const char *name)
{
    static char path[256];

    if (folder[0] == '\0') {
        strcpy(folder, "/tmp/sockethub-tls-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static FILE *open_new(char path[256], const char *what)
{
    char name[64];
    FILE *file;

    snprintf(name, sizeof(name), "%s%u.pem", what, made);
    snprintf(path, 256, "%s", in_folder(name));
    file = fopen(path, "w");
    assert_non_null(file);
    return file;
}

static X509 *sign(EVP_PKEY *key, const char *name, int days)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);

    assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), (long)made + 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(certificate), (days - 1) * DAY_S);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

certificate_t certificate_make(const char *name, int days, const char *passphrase)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = sign(key, name, days);
    certificate_t files;
    FILE *file = open_new(files.certificate_file, "certificate");

    assert_int_equal(PEM_write_X509(file, certificate), 1);
    fclose(file);
    file = open_new(files.key_file, "key");
    assert_int_equal(PEM_write_PKCS8PrivateKey(
                         file, key, passphrase != NULL ? EVP_aes_128_cbc() : NULL, passphrase,
                         passphrase != NULL ? (int)strlen(passphrase) : 0, NULL, NULL),
                     1);
    fclose(file);
    made++;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return files;
}

void certificate_replace(const certificate_t *to, const certificate_t *from)
{
    assert_int_equal(rename(from->certificate_file, to->certificate_file), 0);
    assert_int_equal(rename(from->key_file, to->key_file), 0);
}

void certificate_append(const char *to, const char *from)
{
    char text[8192];
    FILE *file = fopen(from, "r");
    size_t len;

    assert_non_null(file);
    len = fread(text, 1, sizeof(text), file);
    fclose(file);
    file = fopen(to, "a");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    fclose(file);
}

const char *certificate_write(const char *name, const char *text)
{
    const char *path = in_folder(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

SSL_CTX *certificate_client(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    assert_non_null(context);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

const char *certificate_name(SSL *ssl)
{
    static char name[64];
    X509 *certificate = SSL_get1_peer_certificate(ssl);

    assert_non_null(certificate);
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                              sizeof(name));
    X509_free(certificate);
    return name;
}

void certificate_forget(void)
{
    DIR *entries = folder[0] != '\0' ? opendir(folder) : NULL;
    const struct dirent *entry;

    while (entries != NULL && (entry = readdir(entries)) != NULL)
        if (entry->d_name[0] != '.')
            unlink(in_folder(entry->d_name));
    if (entries != NULL)
        closedir(entries);
    if (folder[0] != '\0')
        rmdir(folder);
    folder[0] = '\0';
}
