/* bus/tree.h - a payload as a tree of jansson's, for callbacks that want to look inside.
 *
 * Nothing else parses a payload: it is validated once and relayed as bytes. Not included by
 * hub/hub.h, as it needs jansson.h; link libjansson. */
#pragma once

#include <jansson.h>

#include "bus/message.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parses a JSON payload of any kind of value. Owned by the caller (json_decref). HUB_EPAYLOAD:
 * binary, or what jansson refuses beyond RFC 8259 (a lone escaped surrogate, a number out of
 * range), with the offset in `error`, which may be NULL. A key that stands twice keeps its last
 * value. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_payload_parse(hub_payload_t payload, json_t **ret_tree,
                                                    hub_error_t *error);

/* Writes a tree as compact JSON into one block, owned by the caller (free); `ret_payload` points
 * into it. HUB_EPAYLOAD: jansson could not (invalid UTF-8, a circle). Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_payload_print(const json_t *tree, char **ret_block,
                                                    hub_payload_t *ret_payload);

#ifdef __cplusplus
}
#endif
