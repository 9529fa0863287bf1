/* SPDX-License-Identifier: MIT */
/* The model of the stress test. A message is owed to a member if its publisher began to send it
 * after the member had its join reply, or if it follows one that the member has heard; messages
 * that were under way while it joined may come or not, but then in order and without a hole. */
#include "test/ledger.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct entry {
    uint64_t tick; /* when it was about to be sent */
    uint8_t kind;
    bool accepted;
    bool skipped; /* somebody has heard the next one, and no gap notice that speaks of this one */
};

/* What one publisher said on one topic. */
struct page {
    struct entry *entries; /* of number 1 first */
    uint32_t count, capacity;
    uint32_t newest_accepted;
    uint32_t newest_no_emit;
};

struct ledger {
    uint64_t seed;
    uint32_t topics;
    bool remote;
    pthread_mutex_t lock; /* of all below */
    uint64_t clock;
    uint64_t accepted;
    struct page *pages; /* publisher by publisher */
    uint32_t publishers, capacity;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

ledger_t *ledger_create(uint64_t seed, uint32_t topics)
{
    ledger_t *ledger = must(calloc(1, sizeof(*ledger)));

    ledger->seed = seed;
    ledger->topics = topics;
    pthread_mutex_init(&ledger->lock, NULL);
    return ledger;
}

ledger_t *ledger_create_remote(uint64_t seed, uint32_t topics)
{
    ledger_t *ledger = ledger_create(seed, topics);

    ledger->remote = true;
    return ledger;
}

void ledger_destroy(ledger_t *ledger)
{
    for (uint32_t i = 0; i != ledger->publishers * ledger->topics; i++)
        free(ledger->pages[i].entries);
    free(ledger->pages);
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}

_Noreturn void ledger_fail(const ledger_t *ledger, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "stress: %s\nstress: --seed %" PRIu64 "\n", text, ledger->seed);
    fflush(NULL);
    _exit(EXIT_FAILURE); /* the other threads are in the midst of something */
}

static struct page *page_of(const ledger_t *ledger, uint32_t publisher, uint32_t topic)
{
    return &ledger->pages[publisher * ledger->topics + topic];
}

/* ---- who says what ---- */

uint32_t ledger_publisher(ledger_t *ledger)
{
    uint32_t publisher;

    pthread_mutex_lock(&ledger->lock);
    publisher = ledger->publishers++;
    if (publisher == ledger->capacity) {
        size_t before = (size_t)ledger->capacity * ledger->topics;
        size_t after = before == 0 ? (size_t)256 * ledger->topics : before * 2;

        ledger->pages = must(realloc(ledger->pages, after * sizeof(struct page)));
        memset(ledger->pages + before, 0, (after - before) * sizeof(struct page));
        ledger->capacity = (uint32_t)(after / ledger->topics);
    }
    pthread_mutex_unlock(&ledger->lock);
    return publisher;
}

uint32_t ledger_intend(ledger_t *ledger, uint32_t publisher, uint32_t topic, ledger_kind_t kind)
{
    struct page *page;
    uint32_t number;

    pthread_mutex_lock(&ledger->lock);
    page = page_of(ledger, publisher, topic);
    if (page->count == page->capacity) {
        page->capacity = page->capacity == 0 ? 8 : page->capacity * 2;
        page->entries = must(realloc(page->entries, page->capacity * sizeof(struct entry)));
    }
    page->entries[page->count++] = (struct entry){.tick = ++ledger->clock, .kind = (uint8_t)kind};
    number = page->count;
    if (kind != LEDGER_EMIT)
        page->newest_no_emit = number;
    pthread_mutex_unlock(&ledger->lock);
    return number;
}

/* Under the lock. */
static void accept_entry(ledger_t *ledger, uint32_t publisher, uint32_t topic, uint32_t number)
{
    struct page *page = page_of(ledger, publisher, topic);
    struct entry *entry = &page->entries[number - 1];

    if (entry->accepted)
        return;
    if (entry->skipped)
        ledger_fail(ledger, "%u of publisher %u on topic %u was published, but not for everybody",
                    number, publisher, topic);
    entry->accepted = true;
    if (number > page->newest_accepted)
        page->newest_accepted = number;
    ledger->accepted++;
}

void ledger_accept(ledger_t *ledger, uint32_t publisher, uint32_t topic, uint32_t number)
{
    const struct page *page;

    pthread_mutex_lock(&ledger->lock);
    page = page_of(ledger, publisher, topic);
    if (number == 0 || number > page->count || (number <= page->newest_accepted && !ledger->remote))
        ledger_fail(ledger, "the server got %u of publisher %u behind %u, of %u sent", number,
                    publisher, page->newest_accepted, page->count);
    accept_entry(ledger, publisher, topic, number);
    pthread_mutex_unlock(&ledger->lock);
}

uint32_t ledger_newest(ledger_t *ledger, uint32_t publisher, uint32_t topic, bool without_emits)
{
    const struct page *page;
    uint32_t number;

    pthread_mutex_lock(&ledger->lock);
    page = page_of(ledger, publisher, topic);
    number = without_emits ? page->newest_no_emit : page->count;
    pthread_mutex_unlock(&ledger->lock);
    return number;
}

uint64_t ledger_accepted(ledger_t *ledger)
{
    uint64_t accepted;

    pthread_mutex_lock(&ledger->lock);
    accepted = ledger->accepted;
    pthread_mutex_unlock(&ledger->lock);
    return accepted;
}

/* ---- who hears what ---- */

static struct heard heard_of(const hearing_t *hearing, uint32_t publisher)
{
    return publisher < hearing->heard_count ? hearing->heard[publisher] : (struct heard){0};
}

static void note_heard(hearing_t *hearing, uint32_t publisher, uint32_t number)
{
    if (publisher >= hearing->heard_count) {
        uint32_t count = publisher + 64;

        hearing->heard = must(realloc(hearing->heard, count * sizeof(struct heard)));
        memset(hearing->heard + hearing->heard_count, 0,
               (count - hearing->heard_count) * sizeof(struct heard));
        hearing->heard_count = count;
    }
    hearing->heard[publisher] = (struct heard){number, hearing->membership};
}

/* How many of the messages below `end` are owed and have not come. Under the lock. With `doubt`:
 * marks those of which it is not known yet. */
static uint32_t count_owed(const ledger_t *ledger, const hearing_t *hearing, uint32_t publisher,
                           uint32_t end, bool doubt)
{
    const struct page *page = page_of(ledger, publisher, hearing->topic);
    struct heard heard = heard_of(hearing, publisher);
    bool own = publisher == hearing->self, follows = heard.membership == hearing->membership;
    uint32_t owed = 0;

    for (uint32_t number = end - 1; number > heard.number; number--) {
        struct entry *entry = &page->entries[number - 1];

        if (!follows && entry->tick <= hearing->since && !(own && number > hearing->own_before))
            break;
        if (own && entry->kind == LEDGER_OTHERS)
            continue;
        owed += entry->accepted;
        entry->skipped = entry->skipped || doubt;
    }
    return owed;
}

void hearing_begin(ledger_t *ledger, hearing_t *hearing, uint32_t own_before)
{
    hearing->membership++;
    hearing->own_before = own_before;
    hearing->missed = 0;
    pthread_mutex_lock(&ledger->lock);
    hearing->since = ledger->clock;
    pthread_mutex_unlock(&ledger->lock);
}

void hearing_take(ledger_t *ledger, hearing_t *hearing, uint32_t publisher, uint32_t number)
{
    struct heard heard = heard_of(hearing, publisher);
    const struct page *page;
    uint32_t owed;

    pthread_mutex_lock(&ledger->lock);
    if (publisher >= ledger->publishers)
        ledger_fail(ledger, "%s: a message of nobody", hearing->who);
    page = page_of(ledger, publisher, hearing->topic);
    if (ledger->remote && number > 0 && number <= page->count)
        accept_entry(ledger, publisher, hearing->topic, number);
    if (number == 0 || number > page->count || !page->entries[number - 1].accepted)
        ledger_fail(ledger, "%s: %u of publisher %u was never published there", hearing->who,
                    number, publisher);
    if (number <= heard.number)
        ledger_fail(ledger, "%s: %u of publisher %u comes behind %u", hearing->who, number,
                    publisher, heard.number);
    if (publisher == hearing->self && page->entries[number - 1].kind == LEDGER_OTHERS)
        ledger_fail(ledger, "%s: it hears what was for the others, %u", hearing->who, number);
    owed = count_owed(ledger, hearing, publisher, number, ledger->remote && hearing->missed == 0);
    /* its own messages pass through no mailbox */
    if (owed > (publisher == hearing->self && !hearing->lossy ? 0 : hearing->missed))
        ledger_fail(ledger,
                    "%s: %u of publisher %u comes, but %u before it are lost, %" PRIu64
                    " of them announced",
                    hearing->who, number, publisher, owed, hearing->missed);
    hearing->missed -= owed;
    pthread_mutex_unlock(&ledger->lock);
    note_heard(hearing, publisher, number);
}

void hearing_end(ledger_t *ledger, hearing_t *hearing, uint32_t own_newest)
{
    uint32_t owed;

    pthread_mutex_lock(&ledger->lock);
    owed = count_owed(ledger, hearing, hearing->self, own_newest + 1, false);
    if (owed > (hearing->lossy ? hearing->missed : 0))
        ledger_fail(ledger, "%s: it left, but %u of its own messages up to %u never came",
                    hearing->who, owed, own_newest);
    pthread_mutex_unlock(&ledger->lock);
}

bool hearing_is_complete(ledger_t *ledger, const hearing_t *hearing, char *why, size_t size)
{
    uint64_t owed = 0;

    pthread_mutex_lock(&ledger->lock);
    for (uint32_t publisher = 0; publisher != ledger->publishers; publisher++) {
        uint32_t newest = page_of(ledger, publisher, hearing->topic)->newest_accepted;

        if (newest == 0 || newest == heard_of(hearing, publisher).number)
            continue;
        owed += count_owed(ledger, hearing, publisher, newest + 1, false);
        if (owed > hearing->missed) {
            snprintf(why, size, "%s: nothing behind %u of publisher %u, which said %u",
                     hearing->who, heard_of(hearing, publisher).number, publisher, newest);
            break;
        }
    }
    pthread_mutex_unlock(&ledger->lock);
    return owed <= hearing->missed;
}

void hearing_dispose(hearing_t *hearing)
{
    free(hearing->heard);
}
