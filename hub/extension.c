/* SPDX-License-Identifier: MIT */
/* One pass over the offers, each of which is judged while it is read: a parameter's value is short
 * or wrong, so nothing has to be kept of it but two characters. */
#include "hub/extension.h"

#include <stdio.h>

#define LEVEL_DEFAULT 6
#define LEVEL_MAX 9
#define MIN_BYTES_DEFAULT 256
#define BITS_MIN_OURS 9 /* zlib compresses with no less, and so do most clients */
#define BITS_MAX 15

struct scanner {
    const char *at, *end;
};

/* A parameter's value with its quotes and escapes taken off. */
struct value {
    bool given;
    size_t len;
    char text[2]; /* its start */
};

/* One extension that is offered. */
struct offer {
    bool is_deflate;
    bool declined; /* some parameter is not as it must be */
    bool server_no_context, client_no_context;
    bool has_server_bits, has_client_bits;
    unsigned server_bits, client_bits; /* 0: without a value */
};

static void skip_blanks(struct scanner *scanner)
{
    while (scanner->at < scanner->end && (*scanner->at == ' ' || *scanner->at == '\t'))
        scanner->at++;
}

/* Whether the next thing is this character, which is taken then with the blanks around it. */
static bool take_char(struct scanner *scanner, char c)
{
    skip_blanks(scanner);
    if (scanner->at == scanner->end || *scanner->at != c)
        return false;
    scanner->at++;
    skip_blanks(scanner);
    return true;
}

static hub_str_t take_token(struct scanner *scanner)
{
    const char *begin = scanner->at;

    while (scanner->at < scanner->end && hub__is_token_char(*scanner->at))
        scanner->at++;
    return hub_str_n(begin, (size_t)(scanner->at - begin));
}

static void put(struct value *value, char c)
{
    if (value->len < sizeof(value->text))
        value->text[value->len] = c;
    value->len++;
}

/* What is quoted must be a token once its quotes and escapes are off (RFC 6455 9.1). False: it is
 * not. */
static bool take_quoted(struct scanner *scanner, struct value *value)
{
    for (scanner->at++; scanner->at < scanner->end && *scanner->at != '"'; scanner->at++) {
        if (*scanner->at == '\\' && ++scanner->at == scanner->end)
            return false;
        if (!hub__is_token_char(*scanner->at))
            return false;
        put(value, *scanner->at);
    }
    return scanner->at++ < scanner->end;
}

/* False: malformed. */
static bool take_value(struct scanner *scanner, struct value *value)
{
    hub_str_t token;

    value->given = true;
    if (scanner->at < scanner->end && *scanner->at == '"')
        return take_quoted(scanner, value) && value->len != 0;
    token = take_token(scanner);
    for (size_t i = 0; i != token.len; ++i)
        put(value, token.base[i]);
    return token.len != 0;
}

/* 8 to 15 in plain digits; else 0. */
static unsigned bits_of(const struct value *value)
{
    char first = value->text[0], second = value->text[1];

    if (value->len == 1 && (first == '8' || first == '9'))
        return (unsigned)(first - '0');
    if (value->len == 2 && first == '1' && second >= '0' && second <= '5')
        return (unsigned)(10 + second - '0');
    return 0;
}

/* Each parameter once, and with a value only where it has one. */
static void note_flag(struct offer *offer, bool *flag, const struct value *value)
{
    if (*flag || value->given)
        offer->declined = true;
    *flag = true;
}

static void note_bits(struct offer *offer, bool *has, unsigned *bits, bool optional,
                      const struct value *value)
{
    *bits = bits_of(value);
    if (*has || (*bits == 0 && (value->given || !optional)))
        offer->declined = true;
    *has = true;
}

static void note_param(struct offer *offer, hub_str_t name, const struct value *value)
{
    if (hub__str_equals_nocase(name, HUB_STR("server_no_context_takeover")))
        note_flag(offer, &offer->server_no_context, value);
    else if (hub__str_equals_nocase(name, HUB_STR("client_no_context_takeover")))
        note_flag(offer, &offer->client_no_context, value);
    else if (hub__str_equals_nocase(name, HUB_STR("server_max_window_bits")))
        note_bits(offer, &offer->has_server_bits, &offer->server_bits, false, value);
    else if (hub__str_equals_nocase(name, HUB_STR("client_max_window_bits")))
        note_bits(offer, &offer->has_client_bits, &offer->client_bits, true, value);
    else
        offer->declined = true;
}

/* token *( ";" token [ "=" value ] ). False: malformed. */
static bool take_offer(struct scanner *scanner, struct offer *offer)
{
    hub_str_t name = take_token(scanner);

    *offer = (struct offer){0};
    if (name.len == 0)
        return false;
    offer->is_deflate = hub__str_equals_nocase(name, HUB_STR("permessage-deflate"));
    while (take_char(scanner, ';')) {
        struct value value = {0};

        name = take_token(scanner);
        if (name.len == 0 || (take_char(scanner, '=') && !take_value(scanner, &value)))
            return false;
        note_param(offer, name, &value);
    }
    return scanner->at == scanner->end || *scanner->at == ',';
}

struct offers {
    const hub__request_head_t *head;
    size_t field; /* the next one to look at */
    struct scanner scanner;
};

/* Puts the scanner at the next such field. False: there is none. */
static bool next_field(struct offers *offers)
{
    while (offers->field != offers->head->field_count) {
        const hub__header_t *field = &offers->head->fields[offers->field++];

        if (!hub__str_equals_nocase(field->name, HUB_STR("Sec-WebSocket-Extensions")))
            continue;
        offers->scanner = (struct scanner){field->value.base, field->value.base + field->value.len};
        return true;
    }
    return false;
}

/* The next offer in any such field; elements of a list may be empty (RFC 9110 5.6.1). HUB_ENOTFOUND
 * at the end. HUB_ESYNTAX. */
static hub_status_t next_offer(struct offers *offers, struct offer *ret_offer)
{
    do {
        while (take_char(&offers->scanner, ','))
            ;
        if (offers->scanner.at < offers->scanner.end)
            return take_offer(&offers->scanner, ret_offer) ? HUB_OK : HUB_ESYNTAX;
    } while (next_field(offers));
    return HUB_ENOTFOUND;
}

bool hub__extensions_valid(const hub__request_head_t *head)
{
    struct offers offers = {.head = head};
    size_t fields, count = 0;
    struct offer offer;
    hub_status_t err;

    while ((err = next_offer(&offers, &offer)) == HUB_OK)
        ++count;
    (void)hub__request_head_field(head, "Sec-WebSocket-Extensions", &fields);
    return err == HUB_ENOTFOUND && (count != 0 || fields == 0);
}

static unsigned at_most(unsigned bits, unsigned max)
{
    return bits < max ? bits : max;
}

static hub__deflate_terms_t terms_of(const struct offer *offer,
                                     const hub_deflate_options_t *options)
{
    hub__deflate_terms_t terms = {
        .server_bits =
            at_most(offer->has_server_bits ? offer->server_bits : BITS_MAX, options->window_bits),
        .client_bits = BITS_MAX,
        .client_context = options->client_context && !offer->client_no_context,
    };

    terms.name_server_bits = offer->has_server_bits || terms.server_bits != BITS_MAX;
    if (offer->has_client_bits) /* else it may not be told */
        terms.client_bits = at_most(offer->client_bits != 0 ? offer->client_bits : BITS_MAX,
                                    options->client_window_bits);
    terms.name_client_bits = offer->client_bits != 0 || terms.client_bits != BITS_MAX;
    return terms;
}

hub__deflate_terms_t hub__deflate_negotiate(const hub__request_head_t *head,
                                            const hub_deflate_options_t *options)
{
    struct offers offers = {.head = head};
    struct offer offer;

    while (options->enabled && next_offer(&offers, &offer) == HUB_OK)
        if (offer.is_deflate && !offer.declined)
            return terms_of(&offer, options);
    return (hub__deflate_terms_t){0};
}

size_t hub__deflate_answer(const hub__deflate_terms_t *terms, char ret_text[HUB__EXTENSION_ANSWER])
{
    char server_bits[32] = "", client_bits[32] = "";

    if (terms->name_server_bits)
        snprintf(server_bits, sizeof(server_bits), "; server_max_window_bits=%u",
                 terms->server_bits);
    if (terms->name_client_bits)
        snprintf(client_bits, sizeof(client_bits), "; client_max_window_bits=%u",
                 terms->client_bits);
    return (size_t)snprintf(
        ret_text, HUB__EXTENSION_ANSWER, "permessage-deflate; server_no_context_takeover%s%s%s",
        terms->client_context ? "" : "; client_no_context_takeover", server_bits, client_bits);
}

/* ---- options ---- */

static hub_status_t resolve(unsigned *option, const char *name, unsigned value, unsigned min,
                            unsigned max, hub_error_t *error)
{
    if (*option == 0)
        *option = value;
    if (*option >= min && *option <= max)
        return HUB_OK;
    return hub_error_set(error, HUB_EINVAL, 0,
                         "endpoint: deflate.%s = %u: %u to %u are allowed, 0 means %u", name,
                         *option, min, max, value);
}

hub_status_t hub__deflate_options_resolve(hub_deflate_options_t *options, hub_error_t *error)
{
    hub_status_t err;

    if (options->min_bytes == 0)
        options->min_bytes = MIN_BYTES_DEFAULT;
    if ((err = resolve(&options->level, "level", LEVEL_DEFAULT, 1, LEVEL_MAX, error)) != HUB_OK ||
        (err = resolve(&options->window_bits, "window_bits", BITS_MAX, BITS_MIN_OURS, BITS_MAX,
                       error)) != HUB_OK)
        return err;
    return resolve(&options->client_window_bits, "client_window_bits", BITS_MAX, BITS_MIN_OURS,
                   BITS_MAX, error);
}
