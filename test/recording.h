/* test/recording.h - recorded conversations between clients and a server, read from a file of one
 * JSON object per line.
 *
 * The client of the recordings said some things at once, waited a while, and went on: a burst is
 * what was said at once with all that came before the next. */
#pragma once

#include <jansson.h>

#include "bus/base.h"

typedef enum recording_dir {
    RECORDING_TO_SERVER,
    RECORDING_TO_CLIENT,
    RECORDING_BESIDE, /* a remark, or something that was done to the server */
} recording_dir_t;

typedef struct recording_line {
    json_t *object; /* owns what the others point to */
    const char *conn, *kind;
    recording_dir_t dir;
    const json_t *data;
    const char *text; /* of the data, where it is a string */
    unsigned t_ms;    /* since the conversation began */
    unsigned burst;
    unsigned part; /* of the burst's answers: with a pause before each but the first */
} recording_line_t;

/* One way it went. */
typedef struct recording_take {
    recording_line_t *lines;
    size_t count;
} recording_take_t;

typedef struct recording {
    char name[64];             /* "v2.reply-ok" */
    recording_take_t takes[2]; /* the same was said, two outcomes are right */
    size_t take_count;
} recording_t;

/* Appends the conversations of <folder>/<name>.jsonl. What is read is never freed: cases are made
 * of it before a test begins. Ends the program where the file is not as it must be. */
void recording_load(const char *folder, const char *name, recording_t **recordings, size_t *count);

/* ---- frames ---- */

/* A frame or answer, in a form that can be compared: JSON with sorted keys, "#<hex>", "pong <hex>",
 * "close <code>", "upgrade <subprotocol>", "http <status> <body>". */
typedef struct recording_frame {
    char *text, *topic; /* to be freed; the topic as JSON, "" where there is none */
    char *refs; /* to be freed: the phx_refs and phx_ref_prevs in it, one a line; in the text
                   a '*' stands for each. NULL: none */
    unsigned part;
    bool matched;
} recording_frame_t;

/* What was recorded; without text where it says nothing about the server. */
recording_frame_t recording_frame_of(const recording_line_t *line);

/* Frees what it holds. */
void recording_forget(recording_frame_t *frame);

/* The same of what came. */
recording_frame_t recording_text(const char *text);
recording_frame_t recording_binary(hub_str_t bytes);
/* An error page's text is left out: it is for people. The tokens of long-poll clients are all the
 * same. */
recording_frame_t recording_http(int status, const char *body);
/* The token in an answer to a long-poll client, to be freed; NULL: there is none. */
char *recording_token(const char *body);
recording_frame_t recording_upgrade(const char *protocol, const char *extensions);
/* `text` is taken. */
recording_frame_t recording_other(char *text);

/* ---- reading data ---- */

/* "" and 0 where there is none. */
const char *recording_string(const json_t *object, const char *key);
int recording_number(const json_t *object, const char *key);
/* `buffer` has room for half as many bytes as there are digits. */
hub_str_t recording_bytes(const char *hex, char *buffer);
/* To be freed. */
char *recording_hex(hub_str_t bytes);
char *recording_format(const char *pattern, ...) HUB_PRINTF(1, 2);
