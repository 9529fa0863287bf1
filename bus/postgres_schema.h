/* bus/postgres_schema.h - private: what the bus keeps in a database, and makes there itself.
 *
 * A message is a row of sockethub.messages. Its number is told on the channel "sockethub_<2 hex>",
 * as "<id> <16 hex>": the first digits, and the first 8 bytes, of the SHA-256 of its topic. */
#pragma once

#include "bus/postgres_link.h"

#define HUB__POSTGRES_CHANNEL "sockethub_"
#define HUB__POSTGRES_BUCKETS 256

/* Makes the schema where it is missing, and sees that this role may use it. Whether it may clear
 * old rows is told in `ret_clears`. */
bool hub__postgres_schema_check(hub__postgres_link_t *link, hub__courier_t *courier,
                                uint64_t deadline_ms, bool *ret_clears, hub_error_t *error);

/* The hash of a topic; its first byte is the bucket. */
uint64_t hub__postgres_topic_hash(hub_str_t topic);
