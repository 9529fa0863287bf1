/* test/logbook.h - all that is logged while a case runs, line by line: "<event> <text>". */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <pthread.h>

#include "bus/buffer.h"

typedef struct logbook {
    pthread_mutex_t lock;
    hub__buffer_t lines;
} logbook_t;

/* It takes all lines from now on. One at a time. */
void logbook_open(logbook_t *book);
/* Gives the log back. */
void logbook_close(logbook_t *book);

bool logbook_has(logbook_t *book, const char *what);
size_t logbook_count(logbook_t *book, const char *what);
/* To show what was logged where a case has failed: it takes no lines any more. */
const char *logbook_last_words(logbook_t *book);
