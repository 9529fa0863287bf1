/* channels/encoding.h - private to the dialects: the parts of an outgoing frame that look the same
 * in more than one wire format.
 *
 * Everything is written to a place with room for hub__encoding_bound(), and each function returns
 * the place behind what it wrote. */
#pragma once

#include "channels/dialect.h"

#define HUB__ESCAPED_MAX 6 /* bytes that one byte of text may become: \u001f */

/* Room for any dialect's encoding. */
size_t hub__encoding_bound(const hub__outgoing_t *out);

static inline char *hub__put(char *at, hub_str_t bytes)
{
    if (bytes.len > 0)
        memcpy(at, bytes.base, bytes.len);
    return at + bytes.len;
}

#define HUB__PUT_LITERAL(at, literal) hub__put((at), HUB_STR(literal))

/* A JSON string from valid UTF-8, at most 6 * len + 2 bytes; null where it is absent. */
char *hub__put_string(char *at, hub_str_t text);
/* A ref as it came; null where it is absent. */
char *hub__put_ref(char *at, hub_str_t token);
/* The payload of a text frame: of a reply with its status around it. */
char *hub__put_payload(char *at, const hub__outgoing_t *out);

/* The event under which a dialect sends it. */
hub_str_t hub__encoding_event(const hub__dialect_t *dialect, const hub__outgoing_t *out);

/* Whether a payload that the program may have given is JSON: absent, empty and binary ones are not.
 */
bool hub__encoding_has_json(const hub_payload_t *payload);
