/* bench/load/template.h - how a server is spoken to, as text that can be written without a
 * compiler.
 *
 * A template is a file of lines `key = value`; empty lines and those that begin with # are nothing.
 * A value is everything between the blanks around it; \r \n \t \s (a space) \\ and \xHH stand for
 * what can't be written there. In texts that are sent, {topic}, {payload}, {payload_bytes}, {ref}
 * (a number that no other message has) and {conn} (the connection's number) are replaced; any other
 * brace is itself. The keys are in TEMPLATE_KEYS (template.c), which --help prints.
 *
 * What is wrong with one names file and line and ends the program with OPTIONS_WRONG. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TEMPLATE_ANY (-1) /* number of answers: whatever comes */

typedef enum part_kind {
    PART_LITERAL,
    PART_TOPIC,
    PART_PAYLOAD,
    PART_PAYLOAD_BYTES,
    PART_REF,
    PART_CONN
} part_kind_t;

typedef struct part {
    part_kind_t kind;
    const char *bytes; /* of a literal; in the text's own memory */
    size_t len;
} part_t;

/* All zero: not in the template. */
typedef struct text {
    char *bytes;
    size_t len;
    part_t *parts;
    size_t count;
} text_t;

typedef struct template
{
    text_t path, publish_path, subprotocol, payload, hello, hello_ok, join, join_ok, leave,
        leave_ok, publish, delivery, echo, echo_delivery, ping, pong, ignore;
    long greetings, hello_answers, join_answers, leave_answers, publish_answers;
    bool binary;          /* what is sent, is in binary frames */
    bool publisher_joins; /* who publishes must be a member */
    bool barrier;         /* nothing is delivered before the join's answer */
}
template_t;

/* Parses `text`; `name` is what errors call it. Owned by the caller (template_dispose). */
void template_parse(template_t *ret_template, const char *name, const char *text);
/* The same for a file. */
void template_read(template_t *ret_template, const char *path);
void template_dispose(template_t *template);

static inline bool text_is_set(const text_t *text)
{
    return text->bytes != NULL;
}
bool text_has(const text_t *text, part_kind_t kind);

/* The keys and what they mean, a line each. */
void template_print_keys(FILE *to);
