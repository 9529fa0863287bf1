/* SPDX-License-Identifier: MIT */
/* Tickets: what was sealed opens, nothing else does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hub/ticket.h"

static const unsigned char key[HUB__TICKET_KEY] = "a key of thirty-two bytes, so so";
static const hub_conn_id_t id = {.node = 0x0123456789abcdef, .local = 0xfedcba9876543210};

static void a_ticket_names_the_connection_it_was_made_for(void **state)
{
    char text[HUB__TICKET_TEXT + 1];
    hub_conn_id_t opened;

    (void)state;
    hub__ticket_seal(key, id, text);
    assert_int_equal(strlen(text), HUB__TICKET_TEXT);
    assert_int_equal(
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
        HUB__TICKET_TEXT);
    assert_true(hub__ticket_open(key, hub_str(text), &opened));
    assert_true(hub_conn_id_equals(opened, id));
}

static void a_ticket_with_one_character_changed_opens_nothing(void **state)
{
    char text[HUB__TICKET_TEXT + 1];
    hub_conn_id_t opened;

    (void)state;
    hub__ticket_seal(key, id, text);
    for (size_t i = 0; i != HUB__TICKET_TEXT; ++i) {
        char kept = text[i];

        text[i] = kept == 'A' ? 'B' : 'A';
        assert_false(hub__ticket_open(key, hub_str(text), &opened));
        text[i] = kept;
    }
    assert_true(hub__ticket_open(key, hub_str(text), &opened));
}

static void a_ticket_of_another_length_or_alphabet_opens_nothing(void **state)
{
    char text[HUB__TICKET_TEXT + 2];
    hub_conn_id_t opened;

    (void)state;
    hub__ticket_seal(key, id, text);
    for (size_t len = 0; len != HUB__TICKET_TEXT; ++len)
        assert_false(hub__ticket_open(key, hub_str_n(text, len), &opened));
    strcpy(text + HUB__TICKET_TEXT, "A");
    assert_false(hub__ticket_open(key, hub_str(text), &opened));
    assert_false(hub__ticket_open(key, hub_str(NULL), &opened));
    text[HUB__TICKET_TEXT] = '\0';
    text[7] = '+';
    assert_false(hub__ticket_open(key, hub_str(text), &opened));
    text[7] = '\0';
    assert_false(hub__ticket_open(key, hub_str_n(text, HUB__TICKET_TEXT), &opened));
}

/* libsodium reads bytes past ASCII as '_', so that one ticket would have many spellings. */
static void a_ticket_has_one_spelling(void **state)
{
    char text[HUB__TICKET_TEXT + 1];
    hub_conn_id_t opened;

    (void)state;
    hub__ticket_seal(key, (hub_conn_id_t){.node = UINT64_MAX, .local = 1}, text);
    assert_int_equal(text[0], '_');
    for (int byte = 0x80; byte <= 0xff; ++byte) {
        text[0] = (char)byte;
        assert_false(hub__ticket_open(key, hub_str(text), &opened));
    }
}

static void another_key_opens_nothing(void **state)
{
    static const unsigned char other[HUB__TICKET_KEY] = "a key of thirty-two bytes, so sO";
    char text[HUB__TICKET_TEXT + 1];
    hub_conn_id_t opened;

    (void)state;
    hub__ticket_seal(other, id, text);
    assert_false(hub__ticket_open(key, hub_str(text), &opened));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_ticket_names_the_connection_it_was_made_for),
        cmocka_unit_test(a_ticket_with_one_character_changed_opens_nothing),
        cmocka_unit_test(a_ticket_of_another_length_or_alphabet_opens_nothing),
        cmocka_unit_test(a_ticket_has_one_spelling),
        cmocka_unit_test(another_key_opens_nothing),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
