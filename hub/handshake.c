/* SPDX-License-Identifier: MIT */

/* h2o lets through what RFC 6455 4.2.1 refuses and hides half of the headers that tell, so the raw
 * head is judged here before any upgrade. Each byte is looked at a fixed number of times. */

#include "hub/handshake.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <sodium.h>

#include "bus/json.h"
#include "hub/extension.h"

#define KEY_LEN 24 /* base64 of 16 bytes: 22 digits and == */
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* The cursor over subprotocols: field in the upper bits, offset in its value in the lower ones. */
#define CURSOR_OFFSET_BITS 16
_Static_assert(HUB__HANDSHAKE_HEAD_MAX < 1 << CURSOR_OFFSET_BITS, "an offset fits");

/* Where the parser stands. Past `end` the head goes on or is too large. */
struct scanner {
    const char *begin, *at, *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool hub__is_token_char(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Any visible ASCII but '#': a fragment never goes over the wire (RFC 6455 3). */
static bool is_target_char(char c)
{
    return c > ' ' && c < 0x7F && c != '#';
}

/* RFC 9110 5.5, obs-text included */
static bool is_value_char(char c)
{
    return c == '\t' || ((unsigned char)c >= ' ' && c != 0x7F);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_token(hub_str_t text)
{
    size_t i = 0;

    while (i < text.len && hub__is_token_char(text.base[i]))
        i++;
    return i > 0 && i == text.len;
}

static hub_str_t trim(hub_str_t text)
{
    while (text.len > 0 && is_blank(text.base[0])) {
        text.base++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.base[text.len - 1]))
        text.len--;
    return text;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool hub__str_equals_nocase(hub_str_t left, hub_str_t right)
{
    if (left.len != right.len)
        return false;
    for (size_t i = 0; i < left.len; i++) {
        if (lower(left.base[i]) != lower(right.base[i]))
            return false;
    }
    return true;
}

bool hub__str_is_ascii(hub_str_t text)
{
    size_t i = 0;

    while (i < text.len && (uint8_t)text.base[i] < 0x80)
        i++;
    return i == text.len;
}

static hub_str_t take_while(struct scanner *scanner, bool (*belongs)(char c))
{
    const char *begin = scanner->at;

    while (scanner->at < scanner->end && belongs(*scanner->at))
        scanner->at++;
    return hub_str_n(begin, (size_t)(scanner->at - begin));
}

/* HUB_PENDING where the bytes end within the literal. */
static hub_status_t expect(struct scanner *scanner, const char *literal)
{
    for (; *literal != '\0'; literal++, scanner->at++) {
        if (scanner->at == scanner->end)
            return HUB_PENDING;
        if (*scanner->at != *literal)
            return HUB_ESYNTAX;
    }
    return HUB_OK;
}

/* Of "http://" or "https://" at the start of an absolute target (RFC 9112 3.2.2); else 0. */
static size_t absolute_start_len(hub_str_t target)
{
    static const hub_str_t starts[] = {{"http://", 7}, {"https://", 8}};

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        if (target.len >= starts[i].len &&
            hub__str_equals_nocase(hub_str_n(target.base, starts[i].len), starts[i]))
            return starts[i].len;
    }
    return 0;
}

/* A target that is neither a path nor absolute is left as the path, for the check to refuse. */
static void split_target(hub__request_head_t *head)
{
    size_t start_len = absolute_start_len(head->target);
    const char *at = head->target.base + start_len;
    const char *end = head->target.base + head->target.len, *mark;

    if (start_len > 0) {
        for (mark = at; mark < end && *mark != '/' && *mark != '?'; mark++)
            ;
        head->authority = hub_str_n(at, (size_t)(mark - at));
        at = mark;
    }
    mark = memchr(at, '?', (size_t)(end - at));
    head->path = hub_str_n(at, (size_t)((mark == NULL ? end : mark) - at));
    if (mark != NULL)
        head->query = hub_str_n(mark + 1, (size_t)(end - mark - 1));
    if (head->path.len == 0 && start_len > 0)
        head->path = HUB_STR("/");
}

static hub_status_t parse_request_line(struct scanner *scanner, hub__request_head_t *head)
{
    hub_status_t err;

    if (scanner->at < scanner->end && *scanner->at == '\r' &&
        (err = expect(scanner, "\r\n")) != HUB_OK)
        return err;
    head->method = take_while(scanner, hub__is_token_char);
    if (head->method.len == 0)
        return scanner->at == scanner->end ? HUB_PENDING : HUB_ESYNTAX;
    if ((err = expect(scanner, " ")) != HUB_OK)
        return err;
    head->target = take_while(scanner, is_target_char);
    if (head->target.len == 0)
        return scanner->at == scanner->end ? HUB_PENDING : HUB_ESYNTAX;
    if ((err = expect(scanner, " HTTP/1.")) != HUB_OK)
        return err;
    if (scanner->at == scanner->end)
        return HUB_PENDING;
    if (!is_digit(*scanner->at))
        return HUB_ESYNTAX;
    head->minor_version = *scanner->at++ - '0';
    split_target(head);
    return expect(scanner, "\r\n");
}

/* A folded line begins with a blank and so has no name. */
static hub_status_t parse_field(struct scanner *scanner, hub__header_t *field)
{
    hub_status_t err;

    field->name = take_while(scanner, hub__is_token_char);
    if (field->name.len == 0)
        return HUB_ESYNTAX;
    if ((err = expect(scanner, ":")) != HUB_OK)
        return err;
    field->value = trim(take_while(scanner, is_value_char));
    return expect(scanner, "\r\n");
}

static hub_status_t parse_head(struct scanner *scanner, hub__request_head_t *head)
{
    hub_status_t err = parse_request_line(scanner, head);

    while (err == HUB_OK) {
        if (scanner->at == scanner->end)
            return HUB_PENDING;
        if (*scanner->at == '\r')
            return expect(scanner, "\r\n");
        if (head->field_count == HUB__HANDSHAKE_FIELDS_MAX)
            return HUB_ETOOLARGE;
        err = parse_field(scanner, &head->fields[head->field_count++]);
    }
    return err;
}

hub_status_t hub__request_head_parse(hub_str_t bytes, hub__request_head_t *ret_head,
                                     size_t *ret_len, hub_error_t *error)
{
    bool capped = bytes.len >= HUB__HANDSHAKE_HEAD_MAX;
    struct scanner scanner = {.begin = bytes.base, .at = bytes.base};
    hub__request_head_t head = {0};
    hub_status_t err;
    size_t offset;

    if (bytes.len == 0)
        return HUB_PENDING;
    scanner.end = bytes.base + (capped ? HUB__HANDSHAKE_HEAD_MAX : bytes.len);
    err = parse_head(&scanner, &head);
    offset = (size_t)(scanner.at - scanner.begin);
    if (err == HUB_PENDING && capped)
        err = HUB_ETOOLARGE;
    if (err == HUB_ESYNTAX)
        return hub_error_set(error, err, offset, "malformed request head at byte %zu", offset);
    if (err == HUB_ETOOLARGE)
        return hub_error_set(error, err, offset, "request head over %d bytes or %d fields",
                             HUB__HANDSHAKE_HEAD_MAX, HUB__HANDSHAKE_FIELDS_MAX);
    if (err != HUB_OK)
        return err;
    *ret_head = head;
    *ret_len = offset;
    return HUB_OK;
}

/* The first field of this name and how many there are. */
static hub_str_t first_field(const hub__request_head_t *head, const char *name, size_t *ret_count)
{
    hub_str_t first = {0};

    *ret_count = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        if (!hub__str_equals_nocase(head->fields[i].name, hub_str(name)))
            continue;
        if ((*ret_count)++ == 0)
            first = head->fields[i].value;
    }
    return first;
}

hub_str_t hub__request_head_field(const hub__request_head_t *head, const char *name,
                                  size_t *ret_count)
{
    size_t count;
    hub_str_t first = first_field(head, name, &count);

    if (ret_count != NULL)
        *ret_count = count;
    return count == 1 ? first : (hub_str_t){0};
}

/* The element of a comma-separated list that begins at `*offset`, which moves behind its comma; it
 * is past the end of the list after the last one. */
static hub_str_t next_element(hub_str_t list, size_t *offset)
{
    const char *begin = list.base + *offset;
    size_t left = list.len - *offset;
    const char *comma = memchr(begin, ',', left);
    size_t len = comma == NULL ? left : (size_t)(comma - begin);

    *offset += len + 1;
    return trim(hub_str_n(begin, len));
}

bool hub__request_head_has_token(const hub__request_head_t *head, const char *name,
                                 const char *token)
{
    for (size_t i = 0; i < head->field_count; i++) {
        hub_str_t list = head->fields[i].value;

        if (!hub__str_equals_nocase(head->fields[i].name, hub_str(name)))
            continue;
        for (size_t offset = 0; offset < list.len;) {
            if (hub__str_equals_nocase(next_element(list, &offset), hub_str(token)))
                return true;
        }
    }
    return false;
}

bool hub__handshake_protocol_next(const hub__request_head_t *head, size_t *cursor,
                                  hub_str_t *ret_protocol, bool *ret_bad)
{
    size_t field = *cursor >> CURSOR_OFFSET_BITS;
    size_t offset = *cursor & ((1 << CURSOR_OFFSET_BITS) - 1);
    hub_str_t protocol;

    for (; field < head->field_count; field++, offset = 0) {
        const hub__header_t *header = &head->fields[field];

        if (offset > header->value.len ||
            !hub__str_equals_nocase(header->name, HUB_STR("Sec-WebSocket-Protocol")))
            continue;
        protocol = next_element(header->value, &offset);
        *cursor = field << CURSOR_OFFSET_BITS | offset;
        if (is_token(protocol)) {
            *ret_protocol = protocol;
            return true;
        }
        *ret_bad = true;
        break;
    }
    *cursor = head->field_count << CURSOR_OFFSET_BITS;
    return false;
}

static bool is_token_offer(hub_str_t offer)
{
    return hub_str_starts_with(offer, HUB_STR(HUB__AUTH_TOKEN_OFFER));
}

static hub_status_t decode_token(hub_str_t encoded, char *buffer, size_t size, hub_str_t *ret_token)
{
    char text[HUB__HANDSHAKE_HEAD_MAX];
    size_t len;

    if (encoded.len / 4 * 3 > size || encoded.len > sizeof(text))
        return HUB_ETOOLARGE;
    for (size_t i = 0; i < encoded.len; i++)
        text[i] = encoded.base[i] == '+' ? '-' : encoded.base[i];
    errno = 0;
    if (sodium_base642bin((unsigned char *)buffer, size, text, encoded.len, NULL, &len, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return errno == ERANGE ? HUB_ETOOLARGE : HUB_ESYNTAX;
    *ret_token = hub_str_n(buffer, len);
    return HUB_OK;
}

hub_status_t hub__handshake_auth_token(const hub__request_head_t *head, char *buffer, size_t size,
                                       hub_str_t *ret_token)
{
    hub_str_t offer, encoded = {0};
    size_t cursor = 0;
    bool bad = false;

    while (hub__handshake_protocol_next(head, &cursor, &offer, &bad)) {
        if (!is_token_offer(offer))
            continue;
        if (encoded.base != NULL)
            return HUB_ESYNTAX;
        encoded = offer;
        encoded.base += strlen(HUB__AUTH_TOKEN_OFFER);
        encoded.len -= strlen(HUB__AUTH_TOKEN_OFFER);
    }
    return encoded.base == NULL ? HUB_ENOTFOUND : decode_token(encoded, buffer, size, ret_token);
}

static bool protocols_valid(const hub__request_head_t *head)
{
    hub_str_t protocol;
    size_t cursor = 0;
    bool bad = false;

    while (hub__handshake_protocol_next(head, &cursor, &protocol, &bad))
        ;
    return !bad;
}

/* 22 base64 digits, the last of which carries only two bits, so that there is one spelling. */
static bool is_key(hub_str_t key)
{
    if (key.len != KEY_LEN || memcmp(key.base + KEY_LEN - 2, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < KEY_LEN - 2; i++) {
        if (!is_alnum(key.base[i]) && key.base[i] != '+' && key.base[i] != '/')
            return false;
    }
    return memchr("AQgw", key.base[KEY_LEN - 3], 4) != NULL;
}

static size_t field_count(const hub__request_head_t *head, const char *name)
{
    size_t count;

    (void)first_field(head, name, &count);
    return count;
}

/* What makes it a request that HTTP/1.1 itself allows and that has no body. NULL: nothing wrong. */
static const char *fault_of_http(const hub__request_head_t *head, hub_str_t host)
{
    if (head->minor_version < 1)
        return "The request is not HTTP/1.1.";
    if (!hub_str_starts_with(head->path, HUB_STR("/")))
        return "The request target is not a path.";
    if (!hub__host_valid(host))
        return "The Host header is missing, doubled or malformed.";
    if (head->authority.base != NULL && !hub__str_equals_nocase(head->authority, host))
        return "The Host header differs from the request target.";
    if (field_count(head, "Content-Length") > 0 || field_count(head, "Transfer-Encoding") > 0)
        return "A websocket request has no body: Content-Length and Transfer-Encoding are refused.";
    return NULL;
}

static const char *fault_of_websocket(const hub__request_head_t *head, hub_str_t key)
{
    if (!is_key(key))
        return "The Sec-WebSocket-Key header is missing, doubled or not base64 of 16 bytes.";
    if (field_count(head, "Origin") > 1)
        return "The Origin header is doubled.";
    if (!protocols_valid(head))
        return "The Sec-WebSocket-Protocol header is not a list of tokens.";
    if (!hub__extensions_valid(head))
        return "The Sec-WebSocket-Extensions header is not a list of extensions.";
    return NULL;
}

/* Whether a websocket of our version is asked for: 0, or the status with its reason. */
static int check_upgrade(const hub__request_head_t *head, const char **reason)
{
    size_t versions;
    hub_str_t version = hub__request_head_field(head, "Sec-WebSocket-Version", &versions);

    if (!hub__request_head_has_token(head, "Upgrade", "websocket")) {
        *reason = "The Upgrade header does not ask for websocket.";
        return 426;
    }
    if (!hub__request_head_has_token(head, "Connection", "upgrade")) {
        *reason = "The Connection header does not ask for upgrade.";
        return 426;
    }
    if (versions > 1) {
        *reason = "The Sec-WebSocket-Version header is doubled.";
        return 400;
    }
    if (!hub_str_equals(version, HUB_STR("13"))) {
        *reason = "The Sec-WebSocket-Version header is not 13.";
        return 426;
    }
    return 0;
}

int hub__handshake_check(const hub__request_head_t *head, hub__handshake_t *ret_handshake,
                         const char **ret_reason)
{
    hub_str_t host = hub__request_head_field(head, "Host", NULL);
    hub_str_t key = hub__request_head_field(head, "Sec-WebSocket-Key", NULL);
    const char *fault;
    size_t count;
    int status;

    if (!hub_str_equals(head->method, HUB_STR("GET"))) {
        *ret_reason = "The request method is not GET.";
        return 405;
    }
    if ((fault = fault_of_http(head, host)) != NULL) {
        *ret_reason = fault;
        return 400;
    }
    if ((status = check_upgrade(head, &fault)) != 0) {
        *ret_reason = fault;
        return status;
    }
    if ((fault = fault_of_websocket(head, key)) != NULL) {
        *ret_reason = fault;
        return 400;
    }
    *ret_handshake = (hub__handshake_t){
        .host = host,
        .key = key,
        .origin = hub__request_head_field(head, "Origin", NULL),
        .protocols = first_field(head, "Sec-WebSocket-Protocol", &count),
    };
    return 0;
}

void hub__handshake_accept(hub_str_t key, char ret_accept[29])
{
    char text[KEY_LEN + sizeof(ACCEPT_GUID)];
    unsigned char digest[EVP_MAX_MD_SIZE];
    size_t key_len = key.len < KEY_LEN ? key.len : KEY_LEN;
    unsigned digest_len = 0;

    memcpy(text, key.base, key_len);
    memcpy(text + key_len, ACCEPT_GUID, sizeof(ACCEPT_GUID) - 1);
    /* fails only without memory or where SHA-1 was switched off, and then there is no websocket */
    if (EVP_Digest(text, key_len + sizeof(ACCEPT_GUID) - 1, digest, &digest_len, EVP_sha1(),
                   NULL) != 1)
        abort();
    EVP_EncodeBlock((unsigned char *)ret_accept, digest, (int)digest_len);
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes the character at `*offset` and moves behind it; -1 for a bad escape. */
static int next_decoded(hub_str_t text, size_t *offset)
{
    size_t at = *offset;
    int high, low;

    *offset = at + 1;
    if (text.base[at] == '+')
        return ' ';
    if (text.base[at] != '%')
        return (unsigned char)text.base[at];
    if (text.len - at < 3)
        return -1;
    high = hex_value(text.base[at + 1]);
    low = hex_value(text.base[at + 2]);
    *offset = at + 3;
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool decodes_to(hub_str_t text, hub_str_t name)
{
    size_t offset = 0, matched = 0;

    while (offset < text.len) {
        if (matched == name.len ||
            next_decoded(text, &offset) != (unsigned char)name.base[matched++])
            return false;
    }
    return matched == name.len;
}

static hub_status_t decode(hub_str_t text, char *buffer, size_t size, hub_str_t *ret_value)
{
    size_t offset = 0, len = 0;
    hub_str_t value;

    while (offset < text.len) {
        int c = next_decoded(text, &offset);

        if (c < 0)
            return HUB_ESYNTAX;
        if (len == size)
            return HUB_ETOOLARGE;
        buffer[len++] = (char)c;
    }
    value = hub_str_n(buffer, len);
    if (!hub_utf8_valid(value))
        return HUB_EUTF8;
    *ret_value = value;
    return HUB_OK;
}

hub_status_t hub__query_param(hub_str_t query, hub_str_t name, char *buffer, size_t size,
                              hub_str_t *ret_value)
{
    const char *at = query.base, *end;
    hub_str_t last = {0};

    if (query.len == 0)
        return HUB_ENOTFOUND;
    end = at + query.len;
    while (at < end) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        const char *pair_end = next == NULL ? end : next;
        const char *equals = memchr(at, '=', (size_t)(pair_end - at));
        const char *name_end = equals == NULL ? pair_end : equals;
        const char *value = equals == NULL ? pair_end : equals + 1;

        if (pair_end > at && decodes_to(hub_str_n(at, (size_t)(name_end - at)), name))
            last = hub_str_n(value, (size_t)(pair_end - value));
        at = pair_end + 1;
    }
    return last.base == NULL ? HUB_ENOTFOUND : decode(last, buffer, size, ret_value);
}
