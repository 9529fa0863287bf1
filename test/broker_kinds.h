/* test/broker_kinds.h - what broker.c must know of each kind of broker: its program, its files, how
 * it says that it is ready. */
#pragma once

#include "bus/buffer.h"
#include "test/broker.h"

struct broker {
    const struct broker_trade *trade;
    broker_kind_t kind;
    bool password;
    bool bare;
    bool revoked;
    bool killed;   /* and not started since */
    char *config;  /* more lines */
    char *program; /* its path */
    char folder[256];
    char url[160];
    unsigned port;
    int port_fd; /* keeps others of our tests off the port */
    pid_t pid;   /* 0: not running */
};

typedef struct broker_trade {
    const char *name;
    const char *scheme;
    const char *path; /* of the URL */
    const char *program;
    const char *package;
    const char *ready; /* is in its log when it accepts */
    /* Makes its folder ready for a start; `fresh` without data. */
    bool (*prepare)(broker_t *broker, bool fresh);
    /* Its arguments behind the program, ended with NULL. `ret_path` is room for one of them. */
    void (*arguments)(const broker_t *broker, const char **argv, char *ret_path, size_t size);
    bool (*allow)(broker_t *broker, bool allowed);
    char *(*admin)(broker_t *broker, const char *command);
    void (*forget)(const broker_t *broker); /* what a killed one left outside its folder */
    bool unprivileged;                      /* refuses root */
    int end_signal;                         /* the quick and clean end */
} broker_trade_t;

extern const broker_trade_t broker_trades[BROKER_KINDS];

/* ---- of broker.c ---- */

/* The path of the program, owned by the caller (free). NULL: it is not here. */
char *broker_find_program(broker_kind_t kind);
/* Runs a command to its end with `input` (may be NULL), under the user that the broker runs under
 * when `as_broker`. Its output is owned by the caller (free); NULL: it failed, stderr says why. */
char *broker_run(const broker_t *broker, const char *const *argv, bool as_broker,
                 const char *input);
/* Until `line` is in the log behind `from`, or false. */
bool broker_await_line(broker_t *broker, const char *line, size_t from);
size_t broker_log_size(const broker_t *broker);
bool broker_write_file(const broker_t *broker, const char *name, const char *text);
void broker_complain(const broker_t *broker, const char *what);
