/* SPDX-License-Identifier: MIT */
/* The only place where a payload becomes a tree, and where a library does the work: what a program
 * rarely wants need not be ours. */
#include "bus/tree.h"

hub_status_t hub_payload_parse(hub_payload_t payload, json_t **ret_tree, hub_error_t *error)
{
    json_error_t why;
    json_t *tree;

    if (payload.kind != HUB_PAYLOAD_JSON)
        return hub_error_set(error, HUB_EPAYLOAD, 0, "a binary payload is no JSON");
    tree = json_loadb(payload.bytes.base != NULL ? payload.bytes.base : "", payload.bytes.len,
                      JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (tree == NULL)
        return hub_error_set(error, HUB_EPAYLOAD, why.position > 0 ? (size_t)why.position : 0,
                             "payload: %s", why.text);
    *ret_tree = tree;
    return HUB_OK;
}

hub_status_t hub_payload_print(const json_t *tree, char **ret_block, hub_payload_t *ret_payload)
{
    char *text = json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY);

    if (text == NULL)
        return HUB_EPAYLOAD;
    *ret_block = text;
    *ret_payload = hub_json(hub_str(text));
    return HUB_OK;
}
