/* SPDX-License-Identifier: MIT */
/* The URL of a broker: its parts, what is wrong with it, and which backend it opens. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "bus/url.h"

static hub__url_t url;

static const hub_bus_url_t *parse(const char *text)
{
    hub_error_t error;

    if (hub__url_parse(text, &url, &error) != HUB_OK)
        fail_msg("%s: %s", text, error.text);
    return &url.parts;
}

static void all_parts_are_found_and_decoded(void **state)
{
    const hub_bus_url_t *parts =
        parse("redis://al%69ce:p%40ss%3Aword@broker.local:6380/2?a=1&b=%3D%26");

    (void)state;
    assert_string_equal(parts->scheme, "redis");
    assert_string_equal(parts->user, "alice");
    assert_string_equal(parts->password, "p@ss:word");
    assert_string_equal(parts->host, "broker.local");
    assert_int_equal(parts->port, 6380);
    assert_string_equal(parts->path, "2");
    assert_int_equal(parts->param_count, 2);
    assert_string_equal(parts->params[1].name, "b");
    assert_string_equal(parts->params[1].value, "=&");
}

static void absent_parts_are_null(void **state)
{
    const hub_bus_url_t *parts = parse("nats://127.0.0.1");

    (void)state;
    assert_null(parts->user);
    assert_null(parts->password);
    assert_null(parts->path);
    assert_int_equal(parts->port, 0);
    assert_null(parse("memory:")->host);
    assert_null(parse("postgres:///chat")->host);
    assert_string_equal(parse("postgres:///chat")->path, "chat");
    assert_null(parse("redis://:secret@h")->user);
    assert_string_equal(parse("redis://:secret@h")->password, "secret");
    assert_string_equal(parse("nats://token@h")->user, "token");
}

static void a_socket_is_a_path(void **state)
{
    const hub_bus_url_t *parts = parse("redis+unix:/run/redis/redis.sock?db=1");

    (void)state;
    assert_string_equal(parts->scheme, "redis+unix");
    assert_null(parts->host);
    assert_string_equal(parts->path, "/run/redis/redis.sock");
}

static void a_host_may_be_a_folder(void **state)
{
    const hub_bus_url_t *parts = parse("postgres://hub@%2Frun%2Fpostgresql:5433/chat");

    (void)state;
    assert_string_equal(parts->host, "/run/postgresql");
    assert_int_equal(parts->port, 5433);
    assert_string_equal(parts->path, "chat");
}

static void an_ipv6_address_loses_its_brackets(void **state)
{
    const hub_bus_url_t *parts = parse("redis://[::1]:6379/0");

    (void)state;
    assert_string_equal(parts->host, "::1");
    assert_int_equal(parts->port, 6379);
    assert_string_equal(parse("redis://[::1]")->host, "::1");
}

static void a_parameter_is_taken_once(void **state)
{
    (void)state;
    parse("redis://h?a=1&b=2&c=3");
    assert_string_equal(hub__url_take(&url, "b"), "2");
    assert_null(hub__url_take(&url, "b"));
    assert_int_equal(url.parts.param_count, 2);
    assert_string_equal(url.parts.params[1].name, "c");
}

static void what_is_wrong_is_named_with_its_offset_and_without_the_text(void **state)
{
    static const struct {
        const char *text;
        size_t offset;
        const char *what;
    } rows[] = {
        {"", 0, "no scheme"},
        {"127.0.0.1:6379", 9, NULL}, /* looks like a scheme; which nobody has */
        {"Redis://h", 0, "no scheme"},
        {"redis//h", 5, "no scheme"},
        {"redis://h:0", 10, "port"},
        {"redis://h:65536", 10, "port"},
        {"redis://h:", 10, "port"},
        {"redis://h:63x", 10, "port"},
        {"redis://[::1", 9, "IPv6"},
        {"redis://[::1]x", 9, "IPv6"},
        {"redis://u:sec%zzret@h", 13, "hexadecimal"},
        {"redis://u:sec%00ret@h", 13, "hexadecimal"},
        {"redis://u:secret%4", 10, NULL},
        {"redis://h?a", 10, "name=value"},
        {"redis://h?=1", 10, "name=value"},
        {"redis://h?a=%", 12, "hexadecimal"},
        {"redis://h?b=1&a=2&b=3ret", 18, "twice"},
        {"redis://h?b=1&%62=3ret", 14, "twice"},
        {"redis://u:1/sec@h", 15, "%2F"},
        {"redis://u:secret/ret@h", 20, "%3F"},
        {"redis://u:1?ret=a@h", 17, "%3F"},
        {"postgres://u:pass@h/db?a=1@ret", 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        hub_error_t error = {0};
        hub_status_t err = hub__url_parse(rows[i].text, &url, &error);

        if (rows[i].what == NULL)
            continue;
        assert_int_equal(err, HUB_EINVAL);
        assert_int_equal(error.offset, rows[i].offset);
        assert_non_null(strstr(error.text, rows[i].what));
        assert_null(strstr(error.text, "ret"));
    }
}

static void too_long_a_url_is_refused(void **state)
{
    char text[HUB__URL_BYTES_MAX + 2];
    hub_error_t error;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "redis://", 8);
    text[HUB__URL_BYTES_MAX + 1] = '\0';
    assert_int_equal(hub__url_parse(text, &url, &error), HUB_EINVAL);
    text[HUB__URL_BYTES_MAX] = '\0';
    assert_int_equal(hub__url_parse(text, &url, &error), HUB_OK);
}

/* ---- hub_bus_open() ---- */

static void memory_is_a_scheme(void **state)
{
    hub_bus_stats_t stats;
    hub_bus_t *bus;

    (void)state;
    assert_int_equal(hub_bus_open("memory:", NULL, &bus, NULL), HUB_OK);
    hub_bus_get_stats(bus, &stats);
    assert_true(stats.healthy);
    hub_bus_destroy(bus);
}

static void assert_refused(const char *text, const char *named)
{
    hub_error_t error = {0};
    hub_bus_t *bus = NULL;

    assert_int_equal(hub_bus_open(text, NULL, &bus, &error), HUB_EINVAL);
    assert_null(bus);
    if (strstr(error.text, named) == NULL)
        fail_msg("%s: \"%s\" does not name %s", text, error.text, named);
    assert_null(strstr(error.text, "secret"));
}

static void what_does_not_fit_is_named(void **state)
{
    (void)state;
    assert_refused("kafka://u:secret@h", "kafka");
    assert_refused("memory:?color=red", "color");
    assert_refused("memory:?degraded=maybe", "degraded");
    assert_refused("memory:?name=a%3Ab", "name");
    assert_refused("memory:?probe_ms=9", "probe_ms: it is a number from 10 to 600000 or off");
    assert_refused("memory:?probe_ms=600001", "probe_ms");
    assert_refused("memory:?probe_ms=18446744073709551626", "probe_ms");
    assert_refused("memory:?probe_ms=100s", "probe_ms");
    assert_refused("memory:?probe_ms=", "probe_ms");
    assert_refused("memory:?probe_ms=-50", "probe_ms");
    assert_refused("memory:?position_ms=1", "position_ms");
    assert_refused("memory:?probe_timeout_ms=off", "probe_timeout_ms: it is a number");
    assert_refused("memory:?buffer=-1", "buffer: it is a number of bytes");
    assert_refused("memory:?answer_timeout_ms=off", "answer_timeout_ms");
    assert_refused("memory:?buffer=100&degraded=local", "degraded_local");
    assert_refused("memory:?buffer=100&degraded=local", "buffer_bytes");
    assert_refused("memory:?in_flight=64k", "in_flight: it is a number of bytes");
    assert_refused("memory:?in_flight=", "in_flight");
    assert_refused("memory:?in_flight=9999999999999999", "in_flight");
    assert_refused("127.0.0.1:6379", "127.0.0.1");
}

static void a_number_may_begin_with_zeros(void **state)
{
    hub_bus_t *bus = NULL;

    (void)state;
    assert_int_equal(hub_bus_open("memory:?probe_ms=0000000100&in_flight=00000000000000001000",
                                  NULL, &bus, NULL),
                     HUB_OK);
    hub_bus_destroy(bus);
}

/* A backend of the program's own, which only notes what it was opened with. */
static hub_bus_url_t seen;
static char seen_name[16], seen_param[16];

static hub_status_t own_open(hub_bus_t *bus, const hub_bus_target_t *target, void **ret_self,
                             hub_error_t *error)
{
    (void)bus;
    *ret_self = seen_name;
    seen = *target->url;
    snprintf(seen_name, sizeof(seen_name), "%s", target->bus_name);
    snprintf(seen_param, sizeof(seen_param), "%s",
             seen.param_count == 0 ? "" : seen.params[0].name);
    return strcmp(seen_param, "bad") == 0
               ? hub_error_set(error, HUB_EINVAL, 0, "own: bad is no option")
               : HUB_OK;
}

static void own_topic(void *self, hub_str_t topic, uint64_t token)
{
    (void)self, (void)topic, (void)token;
}

static void own_unsubscribe(void *self, hub_str_t topic)
{
    (void)self, (void)topic;
}

static hub_status_t own_publish(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token)
{
    (void)self, (void)topic, (void)bytes, (void)token;
    return HUB_EBUSDOWN;
}

static void own_nothing(void *self)
{
    (void)self;
}

static const hub_bus_backend_t own = {
    .api = HUB_BUS_BACKEND_API,
    .name = "own",
    .open = own_open,
    .subscribe = own_topic,
    .unsubscribe = own_unsubscribe,
    .publish = own_publish,
    .reconnect = own_nothing,
    .close = own_nothing,
};

static void a_registered_backend_gets_its_part_of_the_url(void **state)
{
    hub_error_t error;
    hub_bus_t *bus;

    (void)state;
    assert_int_equal(hub_bus_register("own+x", &own, NULL), HUB_OK);
    assert_int_equal(hub_bus_open("own+x://h:7?name=app&depth=3&degraded=local&in_flight=1000",
                                  NULL, &bus, NULL),
                     HUB_OK);
    assert_int_equal(seen.port, 7);
    assert_int_equal(seen.param_count, 1);
    assert_string_equal(seen_param, "depth");
    assert_string_equal(seen_name, "app");
    hub_bus_destroy(bus);
    assert_int_equal(hub_bus_open("own+x://h?bad=1", NULL, &bus, &error), HUB_EINVAL);
    assert_string_equal(error.text, "own: bad is no option");
    assert_int_equal(hub_bus_open("own+x:", &(hub_bus_options_t){.backend = &own}, &bus, &error),
                     HUB_EINVAL);
}

static void a_scheme_is_registered_once_and_only_for_this_api(void **state)
{
    static const hub_bus_backend_t old = {.api = HUB_BUS_BACKEND_API + 1, .name = "old"};
    static const char *const bad[] = {"", "Own", "a b", "a:b",
                                      "a234567890123456789012345678901234567890"};

    (void)state;
    assert_int_equal(hub_bus_register("twice", &own, NULL), HUB_OK);
    assert_int_equal(hub_bus_register("twice", &own, NULL), HUB_EEXIST);
    assert_int_equal(hub_bus_register("redis", &own, NULL), HUB_EEXIST);
    assert_int_equal(hub_bus_register("memory", &own, NULL), HUB_EEXIST);
    assert_int_equal(hub_bus_register("old", &old, NULL), HUB_EINVAL);
    for (size_t i = 0; i != sizeof(bad) / sizeof(bad[0]); ++i)
        assert_int_equal(hub_bus_register(bad[i], &own, NULL), HUB_EINVAL);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(all_parts_are_found_and_decoded),
        cmocka_unit_test(absent_parts_are_null),
        cmocka_unit_test(a_socket_is_a_path),
        cmocka_unit_test(a_host_may_be_a_folder),
        cmocka_unit_test(an_ipv6_address_loses_its_brackets),
        cmocka_unit_test(a_parameter_is_taken_once),
        cmocka_unit_test(what_is_wrong_is_named_with_its_offset_and_without_the_text),
        cmocka_unit_test(too_long_a_url_is_refused),
        cmocka_unit_test(memory_is_a_scheme),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(a_number_may_begin_with_zeros),
        cmocka_unit_test(a_registered_backend_gets_its_part_of_the_url),
        cmocka_unit_test(a_scheme_is_registered_once_and_only_for_this_api),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
