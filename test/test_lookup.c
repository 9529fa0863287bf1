/* SPDX-License-Identifier: MIT */
/* Names of hosts. The name server here is a function, which answers when a case lets it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bus/lookup.h"

#define ANSWER_MS 20000

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret_found);
void __wrap_freeaddrinfo(struct addrinfo *found);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool hangs;
static unsigned answered;

/* "two" has two addresses, nothing else has one. */
static struct sockaddr_in addresses[2];
static struct addrinfo infos[2];

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret_found)
{
    (void)service;
    (void)hints;
    pthread_mutex_lock(&lock);
    while (hangs)
        pthread_cond_wait(&changed, &lock);
    answered++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (strcmp(host, "crowded") == 0) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    if (strcmp(host, "two") != 0)
        return EAI_NONAME;
    for (int i = 0; i < 2; i++) {
        addresses[i] = (struct sockaddr_in){.sin_family = AF_INET};
        addresses[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK + (unsigned)i);
        infos[i] = (struct addrinfo){.ai_family = AF_INET,
                                     .ai_addrlen = sizeof(addresses[i]),
                                     .ai_addr = (struct sockaddr *)&addresses[i],
                                     .ai_next = i == 0 ? &infos[1] : NULL};
    }
    *ret_found = infos;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *found)
{
    (void)found;
}

static void let_it_hang(bool hang)
{
    pthread_mutex_lock(&lock);
    hangs = hang;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static hub__lookup_t *look_up(const char *host)
{
    hub__lookup_t *lookup = hub__lookup_start(host);
    struct pollfd polled;

    assert_non_null(lookup);
    polled = (struct pollfd){.fd = hub__lookup_fd(lookup), .events = POLLIN};
    assert_int_equal(poll(&polled, 1, ANSWER_MS), 1);
    return lookup;
}

static void each_address_comes_first_in_turn(void **state)
{
    hub__lookup_t *lookup = look_up("two");
    char text[HUB__LOOKUP_BYTES];

    (void)state;
    assert_string_equal(hub__lookup_addresses(lookup, 0, text, NULL), "127.0.0.1,127.0.0.2");
    assert_string_equal(hub__lookup_addresses(lookup, 1, text, NULL), "127.0.0.2,127.0.0.1");
    assert_string_equal(hub__lookup_addresses(lookup, 2, text, NULL), "127.0.0.1,127.0.0.2");
    hub__lookup_release(lookup);
}

static void a_name_without_address_is_an_error_that_names_it(void **state)
{
    hub__lookup_t *lookup = look_up("no\nwhere");
    char text[HUB__LOOKUP_BYTES];
    hub_error_t error;

    (void)state;
    assert_null(hub__lookup_addresses(lookup, 0, text, &error));
    assert_int_equal(error.status, HUB_ENOTFOUND);
    assert_string_equal(error.text, "host \"no\\nwhere\": Name or service not known");
    hub__lookup_release(lookup);
}

static void what_the_system_lacks_is_said(void **state)
{
    hub__lookup_t *lookup = look_up("crowded");
    char text[HUB__LOOKUP_BYTES];
    hub_error_t error;

    (void)state;
    assert_null(hub__lookup_addresses(lookup, 0, text, &error));
    assert_string_equal(error.text, "host \"crowded\": Too many open files");
    hub__lookup_release(lookup);
}

static void without_a_descriptor_nothing_begins(void **state)
{
    struct rlimit before, none;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    errno = 0;
    assert_null(hub__lookup_start("two"));
    assert_int_equal(errno, EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void a_name_server_that_hangs_is_left_alone(void **state)
{
    hub__lookup_t *lookup;
    unsigned before;

    (void)state;
    let_it_hang(true);
    lookup = hub__lookup_start("two");
    assert_non_null(lookup);
    assert_int_equal(poll(&(struct pollfd){.fd = hub__lookup_fd(lookup), .events = POLLIN}, 1, 0),
                     0);
    hub__lookup_release(lookup);
    pthread_mutex_lock(&lock);
    before = answered;
    hangs = false;
    pthread_cond_broadcast(&changed);
    while (answered == before)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_comes_first_in_turn),
        cmocka_unit_test(a_name_without_address_is_an_error_that_names_it),
        cmocka_unit_test(what_the_system_lacks_is_said),
        cmocka_unit_test(without_a_descriptor_nothing_begins),
        cmocka_unit_test(a_name_server_that_hangs_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
