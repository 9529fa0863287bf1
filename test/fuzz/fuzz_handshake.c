/* SPDX-License-Identifier: MIT */
/* The head of a request, as it may arrive on an open port.
 *
 * Oracles: whatever a longer head is judged, no shorter part of it is judged otherwise: it ends too
 * early, or it is wrong already (split); a head that was read and is written again reads the same
 * (round trip); nothing in it holds a line break, a NUL or leading white space; what is accepted as
 * an upgrade has one Host, one key of 16 bytes by OpenSSL's reading and version 13, and its answer
 * is OpenSSL's (reference); offered subprotocols are tokens; a query parameter is what a plain
 * decoder makes of it; nothing is allocated (memory); work is linear in the bytes (steps).
 *
 * Input: the bytes; h2o's limit is set to theirs. */
#include "test/fuzz/fuzz.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "hub/handshake.h"

#define STEPS_PER_BYTE 80
#define STEPS_MORE 2000

static bool is_within(hub_str_t part, hub_str_t whole)
{
    return part.base == NULL || part.len == 0 ||
           (part.base >= whole.base && part.base + part.len <= whole.base + whole.len);
}

static bool is_token(hub_str_t text)
{
    for (size_t i = 0; i != text.len; ++i)
        if (!isalnum((unsigned char)text.base[i]) &&
            (text.base[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text.base[i]) == NULL))
            return false;
    return text.len != 0;
}

/* ---- the head ---- */

static void check_text(hub_str_t text, hub_str_t head)
{
    FUZZ_CHECK(is_within(text, head), "points elsewhere");
    for (size_t i = 0; i != text.len; ++i)
        FUZZ_CHECK(text.base[i] != '\r' && text.base[i] != '\n' && text.base[i] != '\0',
                   "byte %02x in a value", (unsigned)(uint8_t)text.base[i]);
}

static void check_head(const hub__request_head_t *head, hub_str_t bytes)
{
    const hub_str_t parts[] = {head->method, head->target, head->authority, head->path,
                               head->query};

    for (size_t i = 0; i != 5; ++i)
        if (i != 3 || !hub_str_equals(parts[i], HUB_STR("/")))
            check_text(parts[i], bytes);
    FUZZ_CHECK(is_token(head->method), "method %.*s", HUB_STR_ARG(head->method));
    FUZZ_CHECK(head->minor_version >= 0 && head->minor_version <= 9, "HTTP/1.%d",
               head->minor_version);
    FUZZ_CHECK(head->field_count <= HUB__HANDSHAKE_FIELDS_MAX, "%zu fields", head->field_count);
    for (size_t i = 0; i != head->field_count; ++i) {
        hub_str_t value = head->fields[i].value;

        FUZZ_CHECK(is_token(head->fields[i].name), "name %.*s", HUB_STR_ARG(head->fields[i].name));
        check_text(head->fields[i].name, bytes);
        check_text(value, bytes);
        FUZZ_CHECK(value.len == 0 || (strchr(" \t", value.base[0]) == NULL &&
                                      strchr(" \t", value.base[value.len - 1]) == NULL),
                   "white space around \"%.*s\"", HUB_STR_ARG(value));
    }
}

static void check_round_trip(const hub__request_head_t *head)
{
    static hub__request_head_t again;
    hub__buffer_t text = {0};
    size_t len = 0;

    hub__buffer_append(&text, head->method);
    HUB__APPEND_LITERAL(&text, " ");
    hub__buffer_append(&text, head->target);
    hub__buffer_printf(&text, " HTTP/1.%d\r\n", head->minor_version);
    for (size_t i = 0; i != head->field_count; ++i) {
        hub__buffer_append(&text, head->fields[i].name);
        HUB__APPEND_LITERAL(&text, ": ");
        hub__buffer_append(&text, head->fields[i].value);
        HUB__APPEND_LITERAL(&text, "\r\n");
    }
    HUB__APPEND_LITERAL(&text, "\r\n");
    FUZZ_CHECK(hub__request_head_parse(hub__buffer_str(&text), &again, &len, NULL) == HUB_OK &&
                   len == text.len,
               "%.*s", HUB_STR_ARG(hub__buffer_str(&text)));
    FUZZ_CHECK(hub_str_equals(head->path, again.path) && hub_str_equals(head->query, again.query) &&
                   hub_str_equals(head->authority, again.authority) &&
                   head->field_count == again.field_count,
               "%.*s", HUB_STR_ARG(hub__buffer_str(&text)));
    for (size_t i = 0; i != head->field_count; ++i)
        FUZZ_CHECK(hub_str_equals(head->fields[i].name, again.fields[i].name) &&
                       hub_str_equals(head->fields[i].value, again.fields[i].value),
                   "field %zu", i);
    hub__buffer_dispose(&text);
}

/* ---- the upgrade ---- */

static size_t count_fields(const hub__request_head_t *head, const char *name, hub_str_t *ret_value)
{
    size_t count = 0;

    for (size_t i = 0; i != head->field_count; ++i)
        if (head->fields[i].name.len == strlen(name) &&
            strncasecmp(head->fields[i].name.base, name, strlen(name)) == 0) {
            *ret_value = head->fields[i].value;
            ++count;
        }
    return count;
}

static void check_upgrade(const hub__request_head_t *head, const hub__handshake_t *handshake)
{
    hub_str_t value = {0};
    uint8_t raw[24], digest[20], again[29], accept[29];
    char key[25] = "", text[25 + 36], ours[29];
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    FUZZ_CHECK(hub_str_equals(head->method, HUB_STR("GET")) && head->minor_version >= 1, "method");
    FUZZ_CHECK(head->path.len != 0 && head->path.base[0] == '/', "path %.*s",
               HUB_STR_ARG(head->path));
    FUZZ_CHECK(count_fields(head, "host", &value) == 1, "hosts");
    FUZZ_CHECK(count_fields(head, "origin", &value) <= 1, "origins");
    FUZZ_CHECK(count_fields(head, "sec-websocket-version", &value) == 1 &&
                   hub_str_equals(value, HUB_STR("13")),
               "version %.*s", HUB_STR_ARG(value));
    FUZZ_CHECK(count_fields(head, "sec-websocket-key", &value) == 1 && value.len == 24, "key %.*s",
               HUB_STR_ARG(value));
    FUZZ_CHECK(hub_str_equals(value, handshake->key), "another key");
    memcpy(key, value.base, 24);
    FUZZ_CHECK(EVP_DecodeBlock(raw, (const uint8_t *)key, 24) == 18, "key %s", key);
    EVP_EncodeBlock(again, raw, 16);
    FUZZ_CHECK(memcmp(again, key, 24) == 0, "key %s is not canonical", key);

    snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    EVP_DigestInit_ex(context, EVP_sha1(), NULL);
    EVP_DigestUpdate(context, text, 60);
    EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    EVP_EncodeBlock(accept, digest, 20);
    hub__handshake_accept(handshake->key, ours);
    FUZZ_CHECK(strcmp((const char *)accept, ours) == 0, "%s", ours);
}

static void check_protocols(const hub__request_head_t *head, hub_str_t bytes)
{
    size_t cursor = 0, count = 0;
    hub_str_t protocol;
    bool bad = false;
    char token[64];

    while (hub__handshake_protocol_next(head, &cursor, &protocol, &bad)) {
        FUZZ_CHECK(is_token(protocol) && is_within(protocol, bytes), "%.*s", HUB_STR_ARG(protocol));
        FUZZ_CHECK(++count <= bytes.len, "without end");
    }
    (void)!hub__handshake_auth_token(head, token, sizeof(token), &protocol);
}

/* ---- the query ---- */

/* The last parameter of this name, decoded without care for errors. False: not there. */
static bool query_plainly(hub_str_t query, const char *name, hub__buffer_t *value)
{
    fuzz_input_t rest = {(const uint8_t *)query.base, query.len};
    bool found = false;

    while (rest.len != 0) {
        hub_str_t pair = fuzz_until(&rest, '&');
        fuzz_input_t at = {(const uint8_t *)pair.base, pair.len};
        hub_str_t parts[2] = {fuzz_until(&at, '='), fuzz_rest(&at)};
        hub__buffer_t decoded[2] = {{0}, {0}};

        for (size_t part = 0; part != 2; ++part)
            for (size_t i = 0; i < parts[part].len; ++i) {
                char c = parts[part].base[i] == '+' ? ' ' : parts[part].base[i], digits[3] = "";

                if (c == '%' && i + 2 < parts[part].len) {
                    memcpy(digits, parts[part].base + i + 1, 2);
                    c = (char)strtoul(digits, NULL, 16);
                    i += 2;
                }
                hub__buffer_append(&decoded[part], hub_str_n(&c, 1));
            }
        if (hub_str_equals(hub__buffer_str(&decoded[0]), hub_str(name))) {
            hub__buffer_dispose(value);
            *value = decoded[1];
            decoded[1] = (hub__buffer_t){0};
            found = true;
        }
        hub__buffer_dispose(&decoded[0]);
        hub__buffer_dispose(&decoded[1]);
    }
    return found;
}

static void check_query(hub_str_t query, const char *name)
{
    hub__buffer_t plainly = {0};
    hub_str_t value = {0};
    char *buffer = malloc(100);
    hub_status_t status = hub__query_param(query, hub_str(name), buffer, 100, &value);
    bool found = query_plainly(query, name, &plainly);

    if (status == HUB_OK)
        FUZZ_CHECK(found && hub_str_equals(value, hub__buffer_str(&plainly)) && fuzz_is_utf8(value),
                   "%s is \"%.*s\" in %.*s", name, HUB_STR_ARG(value), HUB_STR_ARG(query));
    FUZZ_CHECK(status != HUB_ENOTFOUND || !found, "%s in %.*s", name, HUB_STR_ARG(query));
    hub__buffer_dispose(&plainly);
    free(buffer);
}

static void check_origin(hub_str_t host, hub_str_t origin)
{
    static const char *const entries[] = {"https://a.example", "//a.example:8443",
                                          "https://*.b.example", "capacitor://localhost"};
    bool same = hub__origin_is_same(origin, host);

    for (size_t i = 0; i != 4; ++i)
        if (hub__origin_matches(origin, hub_str(entries[i])))
            FUZZ_CHECK(!hub_str_equals(origin, HUB_STR("null")) &&
                           memchr(origin.base, '@', origin.len) == NULL &&
                           memchr(origin.base, ' ', origin.len) == NULL,
                       "%.*s", HUB_STR_ARG(origin));
    if (!same)
        return;
    FUZZ_CHECK(hub__host_valid(host) && origin.len >= 8 &&
                   strncasecmp(origin.base, "http", 4) == 0 &&
                   memchr(origin.base, '@', origin.len) == NULL,
               "%.*s of %.*s", HUB_STR_ARG(origin), HUB_STR_ARG(host));
}

/* ---- all of it ---- */

static void check_accepted(const hub__request_head_t *head, hub_str_t bytes)
{
    hub__handshake_t handshake = {0};
    const char *reason = NULL;
    int status;

    check_head(head, bytes);
    check_round_trip(head);
    check_protocols(head, bytes);
    check_query(head->query, "vsn");
    check_query(head->query, "a b");
    status = hub__handshake_check(head, &handshake, &reason);
    FUZZ_CHECK(status == 0 || status == 400 || status == 405 || status == 426, "%d", status);
    FUZZ_CHECK((status == 0) == (reason == NULL), "status %d", status);
    if (status != 0)
        return;
    check_upgrade(head, &handshake);
    if (handshake.origin.base != NULL)
        check_origin(handshake.host, handshake.origin);
}

static hub_status_t parse(hub_str_t bytes, hub__request_head_t *head, size_t *ret_len,
                          size_t *ret_wrong)
{
    char *copy = fuzz_copy(bytes);
    hub_error_t error = {0};
    hub_status_t status;

    status = hub__request_head_parse(hub_str_n(copy, bytes.len), head, ret_len, &error);
    *ret_wrong = error.offset;
    free(copy);
    return status;
}

/* The head is judged the same as soon as it can be, and never before. */
static void check_prefixes(hub_str_t bytes, hub_status_t status, size_t len)
{
    static hub__request_head_t head;
    size_t step = 1 + bytes.len / 40, unused, wrong;

    for (size_t cut = bytes.len % step; cut < bytes.len; cut += step) {
        hub_status_t shorter = parse(hub_str_n(bytes.base, cut), &head, &unused, &wrong);

        if (shorter == HUB_PENDING)
            FUZZ_CHECK(status != HUB_OK || cut < len, "pending at %zu of %zu", cut, len);
        else
            FUZZ_CHECK(shorter == status && (status != HUB_OK || unused == len),
                       "%s at %zu, all is %s", hub_status_name(shorter), cut,
                       hub_status_name(status));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hub__request_head_t head;
    hub_str_t bytes = {fuzz_copy(hub_str_n((const char *)data, size)), size};
    hub__handshake_t handshake;
    hub_error_t error = {0};
    hub_status_t status;
    fuzz_meter_t meter;
    const char *reason;
    size_t len = 0;

    fuzz_meter_begin();
    status = hub__request_head_parse(bytes, &head, &len, &error);
    if (status == HUB_OK)
        (void)hub__handshake_check(&head, &handshake, &reason);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.total == 0, "%zu bytes allocated", meter.total);
    FUZZ_CHECK(meter.steps <= STEPS_PER_BYTE * size + STEPS_MORE, "%llu steps for %zu bytes",
               (unsigned long long)meter.steps, size);
    FUZZ_CHECK(status == HUB_OK || status == HUB_PENDING || status == HUB_ESYNTAX ||
                   status == HUB_ETOOLARGE,
               "%s", hub_status_name(status));
    FUZZ_CHECK(error.offset <= size && len <= size, "offset %zu", error.offset);
    check_prefixes(bytes, status, len);
    if (status == HUB_OK)
        check_accepted(&head, hub_str_n(bytes.base, len));
    free((char *)(uintptr_t)bytes.base);
    return 0;
}
