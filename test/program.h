/* test/program.h - a program for the tests of the session: it does what the event or the topic's id
 * says, so that a case can be read from what is said. program.c is the list of both. */
#pragma once

#include "test/talk.h"

#define PENDING_LIMIT 3

typedef struct program {
    talk_t talk; /* first */
    hub_token_t tokens[8];
    size_t token_count;
    unsigned joins;
    unsigned frees;
    hub_status_t join_status; /* of room:status */
    hub_hook_t acts_in;       /* where on_hook below does something */
    hub_status_t veto;
} program_t;

/* Fixtures of cmocka: begin() in the case, the rest is undone behind it. */
int program_set_up(void **state);
int program_tear_down(void **state);
program_t *begin(void **state, int dialect);

/* A native frame without join_ref, its payload {}. */
void ask(program_t *program, const char *ref, const char *topic, const char *event);
/* A frame of Phoenix's, its payload {}. */
void phx(program_t *program, const char *join_ref, const char *ref, const char *topic,
         const char *event);
/* Joins with the ref 1, and forgets what was heard of it. */
void joined(program_t *program, const char *topic);
/* A message of the topic comes for its member. Whether it waits. */
bool told(program_t *program, const char *topic, const char *event);

#define PROGRAM_CASE(name) cmocka_unit_test_setup_teardown(name, program_set_up, program_tear_down)
