/* test/broker.h - real brokers for tests: Debian's redis-server, nats-server and PostgreSQL, each
 * on a port of its own of 127.0.0.1 and with its data in a temporary folder.
 *
 * A broker dies with the process that started it, whatever becomes of that. Its port lies below
 * those that the kernel gives to connections, so that it is still free at a restart, and who
 * connects while nobody listens does not meet himself. Call all of this on one thread that outlives
 * the broker. Every wait has an end; what a broker said last is shown where it failed. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <sys/types.h>

typedef enum broker_kind {
    BROKER_REDIS,
    BROKER_NATS,
    BROKER_POSTGRES,
} broker_kind_t;

#define BROKER_KINDS 3
#define BROKER_USER "hub"
#define BROKER_PASSWORD "s3cret"

typedef struct broker broker_t;

typedef struct broker_options {
    const char *const *config; /* more lines for its configuration file, ends with NULL; may be
                                  NULL */
    bool password;             /* only BROKER_USER with BROKER_PASSWORD may come; else anybody */
    bool bare;                 /* nats: without JetStream */
} broker_options_t;

const char *broker_name(broker_kind_t kind); /* "redis" */
/* NULL: its program is here. Else what to install. */
const char *broker_missing(broker_kind_t kind);
/* At the start of a case: where the program is missing the case is skipped, with a line that says
 * what to install, or fails where SOCKETHUB_BROKERS_REQUIRED=1 is set. */
void broker_need(broker_kind_t kind);
/* The same for cases whose fixtures start a broker: before they are run. */
void broker_need_for(broker_kind_t kind, struct CMUnitTest *tests, size_t count);

/* Returns when it accepts. `options` may be NULL. NULL: it did not start, stderr says why. */
broker_t *broker_start(broker_kind_t kind, const broker_options_t *options);
/* Ends it and removes its folder. NULL is allowed. */
void broker_stop(broker_t *broker);

/* For hub_bus_open(), with user and password where it asks for them. */
const char *broker_url(const broker_t *broker);
/* The same broker by another port, where a proxy listens. Owned by the caller (free). */
char *broker_url_at(const broker_t *broker, unsigned port);
unsigned broker_port(const broker_t *broker);
pid_t broker_pid(const broker_t *broker);
/* Of its data, its configuration and its "log"; redis listens at "redis.sock" there, too. */
const char *broker_folder(const broker_t *broker);

/* As a power cut: it and its processes are gone when this returns. */
void broker_kill(broker_t *broker);
/* SIGSTOP and SIGCONT for it and its processes. */
void broker_pause(broker_t *broker);
void broker_continue(broker_t *broker);
/* On the same port, after broker_kill() or as it runs; `empty` without any data. Returns when it
 * accepts; false: it did not. */
bool broker_restart(broker_t *broker, bool empty);
/* nats: without JetStream, or with it, from its next start on. */
void broker_make_bare(broker_t *broker, bool bare);
/* Shuts the user out and ends its connections; lets it in again. Only with `password`. False: the
 * broker did not do it. */
bool broker_revoke(broker_t *broker);
bool broker_grant(broker_t *broker);
/* Asks the broker as its administrator: a line of redis' protocol ("CLIENT LIST"), or SQL. What it
 * answered is owned by the caller (free), NULL: it refused, or there is no such way (nats). */
char *broker_admin(broker_t *broker, const char *command);
/* The same for a case, which fails where that does. */
char *broker_ask(broker_t *broker, const char *command);
