/* channels/internal.h - private: a channel as its hub keeps it. */
#pragma once

#include "channels/channel.h"

/* A deep copy of the options; immutable after the start. */
typedef struct hub__channel {
    struct hub__channel *next;
    hub_t *hub; /* that declared it */
    hub_channel_options_t options;
    size_t event_count;
    hub_presence_options_t presence; /* what options.presence points to */
} hub__channel_t;

/* Copies and checks everything but the pattern's place among the others. HUB_EINVAL names what is
 * wrong. */
HUB_MUST_USE hub_status_t hub__channel_create(hub_t *hub, const hub_channel_options_t *options,
                                              hub__channel_t **ret_channel, hub_error_t *error);
void hub__channel_destroy(hub__channel_t *channel); /* NULL is allowed. */

/* The handler of an event: its row, else on_receive; NULL where there is neither. */
hub_on_receive_cb hub__channel_handler(const hub__channel_t *channel, hub_str_t event);
/* Whether an event goes through on_update. */
bool hub__channel_intercepts(const hub__channel_t *channel, hub_str_t event);

/* Whether `text` is this word. Told from the first byte where that differs: most words do. */
static inline bool hub__str_is(hub_str_t text, const char *word)
{
    return (text.len == 0 ? '\0' : *text.base) == *word && hub_str_equals(text, hub_str(word));
}

/* A NULL-terminated list of strings, copied whole; NULL stays NULL. */
const char *const *hub__strings_copy(const char *const *list);
void hub__strings_free(const char *const *list);
