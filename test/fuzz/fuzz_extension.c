/* SPDX-License-Identifier: MIT */
/* What a client offers in Sec-WebSocket-Extensions.
 *
 * Oracles: a list is well-formed exactly if a reader written plainly from RFC 6455 9.1 says so, and
 * the terms agreed on are those of the first offer that RFC 7692 7.1 lets be accepted, by that
 * reader's judgement (reference); the answer is well-formed by it, accepts no more than was
 * offered, and names each parameter once; nothing is allocated (memory); work is linear in the
 * bytes (steps).
 *
 * Input: a byte of options; then fields, each up to a newline. */
#include "test/fuzz/fuzz.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "hub/extension.h"

#define FIELDS 4
#define PARAMS 64
#define STEPS_PER_BYTE 50
#define STEPS_MORE 2500

/* ---- the reference: all of a list is read into text first, then judged ---- */

typedef struct param {
    char name[64], value[64]; /* cut; longer ones are like no name */
    bool has_value;
} param_t;

typedef struct plain_offer {
    char name[64];
    param_t params[PARAMS];
    size_t count;
} plain_offer_t;

static bool is_token_char(uint8_t c)
{
    return isalnum(c) != 0 ? c < 0x80
                           : c > ' ' && c < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL;
}

static void skip_blanks(fuzz_input_t *list)
{
    while (list->len != 0 && (*list->at == ' ' || *list->at == '\t'))
        (void)fuzz_byte(list);
}

static bool comes(fuzz_input_t *list, char c)
{
    skip_blanks(list);
    if (list->len == 0 || *list->at != (uint8_t)c)
        return false;
    (void)fuzz_byte(list);
    skip_blanks(list);
    return true;
}

/* False: none. */
static bool read_token(fuzz_input_t *list, char text[64])
{
    size_t len = 0;

    while (list->len != 0 && is_token_char(*list->at)) {
        if (len < 63)
            text[len] = (char)*list->at;
        ++len;
        (void)fuzz_byte(list);
    }
    text[len < 63 ? len : 63] = '\0';
    return len != 0;
}

static bool read_value(fuzz_input_t *list, char text[64])
{
    size_t len = 0;

    if (list->len == 0 || *list->at != '"')
        return read_token(list, text);
    (void)fuzz_byte(list);
    while (list->len != 0 && *list->at != '"') {
        if (*list->at == '\\')
            (void)fuzz_byte(list);
        if (list->len == 0 || !is_token_char(*list->at))
            return false;
        if (len < 63)
            text[len] = (char)*list->at;
        ++len;
        (void)fuzz_byte(list);
    }
    text[len < 63 ? len : 63] = '\0';
    return list->len != 0 && fuzz_byte(list) == '"' && len != 0;
}

/* False: malformed. */
static bool read_offer(fuzz_input_t *list, plain_offer_t *offer)
{
    offer->count = 0;
    if (!read_token(list, offer->name))
        return false;
    while (comes(list, ';')) {
        param_t unkept = {.has_value = false};
        param_t *param = offer->count < PARAMS ? &offer->params[offer->count++] : &unkept;

        *param = (param_t){.has_value = false};
        if (!read_token(list, param->name))
            return false;
        param->has_value = comes(list, '=');
        if (param->has_value && !read_value(list, param->value))
            return false;
    }
    skip_blanks(list);
    return list->len == 0 || *list->at == ',';
}

static unsigned bits_of(const char *text)
{
    char *end;
    unsigned long bits = strtoul(text, &end, 10);

    return *end == '\0' && isdigit((uint8_t)text[0]) && text[0] != '0' && bits >= 8 && bits <= 15
               ? (unsigned)bits
               : 0;
}

static const param_t *find(const plain_offer_t *offer, const char *name, size_t *ret_count)
{
    const param_t *found = NULL;

    *ret_count = 0;
    for (size_t i = 0; i != offer->count; ++i) {
        if (strcasecmp(offer->params[i].name, name) == 0) {
            found = &offer->params[i];
            ++*ret_count;
        }
    }
    return found;
}

/* RFC 7692 7.1.1 and 7.1.2. */
static bool is_acceptable(const plain_offer_t *offer)
{
    static const char *const names[] = {"server_no_context_takeover", "client_no_context_takeover",
                                        "server_max_window_bits", "client_max_window_bits"};
    size_t known = 0, count;

    if (strcasecmp(offer->name, "permessage-deflate") != 0)
        return false;
    for (size_t i = 0; i != 4; ++i) {
        const param_t *param = find(offer, names[i], &count);

        known += count;
        if (count > 1 || (param != NULL && i < 2 && param->has_value) ||
            (param != NULL && i == 2 && !param->has_value) ||
            (param != NULL && i >= 2 && param->has_value && bits_of(param->value) == 0))
            return false;
    }
    return known == offer->count;
}

/* ---- both ---- */

static void check_terms(const plain_offer_t *offer, const hub_deflate_options_t *options,
                        const hub__deflate_terms_t *terms)
{
    size_t count;
    const param_t *server = find(offer, "server_max_window_bits", &count);
    const param_t *client = find(offer, "client_max_window_bits", &count);
    const param_t *forget = find(offer, "client_no_context_takeover", &count);
    unsigned asked = client != NULL && client->has_value ? bits_of(client->value) : 15;

    FUZZ_CHECK(terms->server_bits >= 8 && terms->server_bits <= options->window_bits &&
                   (server == NULL || terms->server_bits <= bits_of(server->value)),
               "server's window of %u bits", terms->server_bits);
    /* a client that did not offer it can't be told (7.1.2.2) */
    FUZZ_CHECK(client != NULL ? terms->client_bits <= asked &&
                                    terms->client_bits <= options->client_window_bits
                              : terms->client_bits == 15 && !terms->name_client_bits,
               "client's window of %u bits", terms->client_bits);
    FUZZ_CHECK(!terms->client_context || (options->client_context && forget == NULL), "context");
    FUZZ_CHECK(server == NULL || terms->name_server_bits, "server_max_window_bits is not named");
}

static void check_answer(const plain_offer_t *offer, const hub__deflate_terms_t *terms)
{
    static plain_offer_t answer;
    char text[HUB__EXTENSION_ANSWER];
    size_t len = hub__deflate_answer(terms, text), count;
    fuzz_input_t list = {(const uint8_t *)text, len};
    const param_t *param;

    FUZZ_CHECK(len < sizeof(text) && len == strlen(text), "%zu bytes", len);
    FUZZ_CHECK(read_offer(&list, &answer) && list.len == 0 && is_acceptable(&answer), "%s", text);
    FUZZ_CHECK(find(&answer, "server_no_context_takeover", &count) != NULL, "%s", text);
    param = find(&answer, "client_max_window_bits", &count);
    FUZZ_CHECK(param == NULL || (param->has_value && bits_of(param->value) == terms->client_bits &&
                                 find(offer, "client_max_window_bits", &count) != NULL),
               "%s", text);
    param = find(&answer, "server_max_window_bits", &count);
    FUZZ_CHECK(param == NULL ? terms->server_bits == 15
                             : bits_of(param->value) == terms->server_bits,
               "%s", text);
    FUZZ_CHECK((find(&answer, "client_no_context_takeover", &count) == NULL) ==
                   terms->client_context,
               "%s", text);
}

/* Reads all fields plainly. False: malformed. The first offer to accept, or none. */
static bool read_plainly(const hub__request_head_t *head, plain_offer_t *ret_first, bool *ret_found)
{
    static plain_offer_t offer;
    size_t count = 0;

    *ret_found = false;
    for (size_t i = 0; i != head->field_count; ++i) {
        fuzz_input_t list = {(const uint8_t *)head->fields[i].value.base,
                             head->fields[i].value.len};

        for (;;) {
            while (comes(&list, ','))
                ;
            if (list.len == 0)
                break;
            if (!read_offer(&list, &offer))
                return false;
            ++count;
            if (!*ret_found && is_acceptable(&offer)) {
                *ret_found = true;
                *ret_first = offer;
            }
        }
    }
    return count != 0 || head->field_count == 0;
}

static void check_head(const hub__request_head_t *head, const hub_deflate_options_t *options,
                       size_t size)
{
    static plain_offer_t first;
    fuzz_meter_t meter;
    hub__deflate_terms_t terms = {0};
    bool valid, found;

    fuzz_meter_begin();
    valid = hub__extensions_valid(head);
    if (valid)
        terms = hub__deflate_negotiate(head, options);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.total == 0, "%zu bytes allocated", meter.total);
    FUZZ_CHECK(meter.steps <= STEPS_PER_BYTE * size + STEPS_MORE, "%llu steps for %zu bytes",
               (unsigned long long)meter.steps, size);
    FUZZ_CHECK(read_plainly(head, &first, &found) == valid, "ours says %d", valid);
    if (!valid)
        return;
    FUZZ_CHECK((terms.server_bits != 0) == found, "window of %u bits", terms.server_bits);
    if (!found)
        return;
    check_terms(&first, options, &terms);
    check_answer(&first, &terms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hub__request_head_t head;
    fuzz_input_t input = {data, size};
    uint8_t choice = fuzz_byte(&input);
    hub_deflate_options_t options = {.enabled = true,
                                     .window_bits = 9u + choice % 7u,
                                     .client_window_bits = 9u + (choice >> 3) % 7u,
                                     .client_context = (choice & 0x80) != 0};
    char *copies[FIELDS];

    head.field_count = 0;
    while (head.field_count != FIELDS && input.len != 0) {
        hub_str_t value = fuzz_until(&input, '\n');

        /* as the head's parser leaves it */
        while (value.len != 0 && strchr(" \t", value.base[value.len - 1]) != NULL)
            --value.len;
        copies[head.field_count] = fuzz_copy(value);
        head.fields[head.field_count] = (hub__header_t){HUB_STR("sec-websocket-EXTENSIONS"),
                                                        {copies[head.field_count], value.len}};
        ++head.field_count;
    }
    check_head(&head, &options, size);
    for (size_t i = 0; i != head.field_count; ++i)
        free(copies[i]);
    return 0;
}
