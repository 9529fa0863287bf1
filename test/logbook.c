/* SPDX-License-Identifier: MIT */
#include "test/logbook.h"

#include <string.h>

#include "bus/log.h"

static void on_line(hub_log_level_t level, const char *event, const char *text, void *user)
{
    logbook_t *book = user;

    (void)level;
    pthread_mutex_lock(&book->lock);
    hub__buffer_printf(&book->lines, "%s %s\n", event, text);
    pthread_mutex_unlock(&book->lock);
}

void logbook_open(logbook_t *book)
{
    book->lines = (hub__buffer_t){0};
    pthread_mutex_init(&book->lock, NULL);
    hub_log_set(on_line, book);
}

void logbook_close(logbook_t *book)
{
    hub_log_set(NULL, NULL);
    hub__buffer_dispose(&book->lines);
    pthread_mutex_destroy(&book->lock);
}

size_t logbook_count(logbook_t *book, const char *what)
{
    size_t count = 0;

    pthread_mutex_lock(&book->lock);
    for (const char *at = book->lines.base; at != NULL && (at = strstr(at, what)) != NULL; at++)
        count++;
    pthread_mutex_unlock(&book->lock);
    return count;
}

bool logbook_has(logbook_t *book, const char *what)
{
    bool has;

    pthread_mutex_lock(&book->lock);
    has = book->lines.len > 0 && strstr(book->lines.base, what) != NULL;
    pthread_mutex_unlock(&book->lock);
    return has;
}

const char *logbook_last_words(logbook_t *book)
{
    hub_log_set(NULL, NULL);
    return book->lines.len > 0 ? book->lines.base : "-";
}
