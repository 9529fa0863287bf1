/* SPDX-License-Identifier: MIT */
/* The token of a long-poll client, which comes back from who knows where; and an id, likewise.
 *
 * Oracles: what was sealed opens as the id it was sealed for, under its key alone (round trip); one
 * with any character changed, or a text that nobody sealed, opens never (forgery); an id that
 * parses is written the same, and anything else is refused (round trip); nothing is allocated
 * (memory).
 *
 * Input: a place, a byte to put there, then a text or the bytes of an id and a key. */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "hub/ticket.h"

static hub_conn_id_t take_id(fuzz_input_t *input)
{
    hub_conn_id_t id = {0};
    hub_str_t bytes = fuzz_take(input, sizeof(id));

    memcpy(&id, bytes.base, bytes.len);
    return id;
}

static void check_sealed(size_t place, uint8_t byte, fuzz_input_t input)
{
    unsigned char key[HUB__TICKET_KEY] = {0}, other[HUB__TICKET_KEY];
    hub_conn_id_t id = take_id(&input), opened = {0};
    hub_str_t given = fuzz_take(&input, sizeof(key));
    char text[HUB__TICKET_TEXT + 1];
    bool changed;

    memcpy(key, given.base, given.len);
    hub__ticket_seal(key, id, text);
    FUZZ_CHECK(strlen(text) == HUB__TICKET_TEXT, "%s", text);
    FUZZ_CHECK(hub__ticket_open(key, hub_str(text), &opened) && hub_conn_id_equals(id, opened),
               "%s", text);
    memcpy(other, key, sizeof(key));
    other[place % sizeof(key)] ^= (unsigned char)(1u << byte % 8);
    FUZZ_CHECK(!hub__ticket_open(other, hub_str(text), &opened), "%s under another key", text);
    FUZZ_CHECK(!hub__ticket_open(key, hub_str_n(text, HUB__TICKET_TEXT - 1), &opened), "%s", text);
    changed = text[place % HUB__TICKET_TEXT] != (char)byte;
    text[place % HUB__TICKET_TEXT] = (char)byte;
    FUZZ_CHECK(!changed || !hub__ticket_open(key, hub_str_n(text, HUB__TICKET_TEXT), &opened),
               "%s is forged", text);
}

static void check_text(hub_str_t text)
{
    static const unsigned char key[HUB__TICKET_KEY] = "nobody has sealed with this one";
    char *copy = fuzz_copy(text), again[HUB_CONN_ID_TEXT];
    hub_conn_id_t id;

    text.base = copy;
    FUZZ_CHECK(!hub__ticket_open(key, text, &id), "%.*s is forged", HUB_STR_ARG(text));
    if (hub_conn_id_parse(text, &id) == HUB_OK)
        FUZZ_CHECK(hub_str_equals(hub_str(hub_conn_id_format(id, again)), text), "%.*s, written %s",
                   HUB_STR_ARG(text), again);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    size_t place = fuzz_byte(&input);
    uint8_t byte = fuzz_byte(&input);
    fuzz_meter_t meter;

    fuzz_meter_begin();
    check_sealed(place, byte, input);
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.total == 0, "%zu bytes allocated", meter.total);
    check_text(fuzz_rest(&input));
    return 0;
}
