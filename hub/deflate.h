/* hub/deflate.h - private: the payloads of permessage-deflate (RFC 7692 7.2) as functions over
 * bytes. No sockets, no hub.
 *
 * What goes out never refers back to an earlier message: each begins with an empty window, so it
 * means the same to every peer whose window is as large, whatever else that one got, and one stream
 * serves all connections of a worker. What comes in may refer back where that was agreed on; then
 * its stream is kept, else any will do. All memory here may fail. */
#pragma once

#include "bus/base.h"
#include "bus/buffer.h"

struct z_stream_s;

#define HUB__WINDOW_BITS_MAX 15 /* RFC 7692 7.1.2 */

/* The windows that messages are compressed with. There are few, so that a message to many is
 * compressed few times whatever each of them has asked for. */
typedef enum hub__window {
    HUB__WINDOW_NONE, /* not at all */
    HUB__WINDOW_9,
    HUB__WINDOW_12,
    HUB__WINDOW_15,
    HUB__WINDOW_COUNT,
} hub__window_t;

/* The largest of them that a peer with a window of 2^bits bytes can follow; `bits` from 8 to 15.
 * zlib has no 8 (256 bytes), but with 9 it never refers back by more than 250. */
hub__window_t hub__window_for(unsigned bits);

/* Zeroed storage is a fresh one. A stream is made when it is first needed. */
typedef struct hub__deflater {
    struct z_stream_s *streams[HUB__WINDOW_COUNT];
} hub__deflater_t;

/* Writes the payload of a compressed message with these bytes, without the four at the end that
 * 7.2.1 removes. Returns its length, which is less than `bytes.len`; 0: it would not be shorter, or
 * there is no memory, and the message goes out as it is. `out` has room for `bytes.len`; `level` is
 * 1 (quick) to 9 (small). */
size_t hub__deflate(hub__deflater_t *deflater, hub__window_t window, int level, hub_str_t bytes,
                    char *out);
void hub__deflater_dispose(hub__deflater_t *deflater);

typedef struct hub__inflater hub__inflater_t;

/* For peers with windows of up to 2^bits bytes, 8 to 15. Owned by the caller. NULL: no memory. */
hub__inflater_t *hub__inflater_create(unsigned bits);
void hub__inflater_destroy(hub__inflater_t *inflater); /* NULL is allowed. */
/* The next message does not refer back. */
void hub__inflater_forget(hub__inflater_t *inflater);

/* Takes the payload of one whole message and replaces what `out` holds by its bytes, of which it
 * makes no more than `limit` + 1 whatever the ratio. Text is checked for UTF-8 while it is made.
 * HUB_ESYNTAX: bad or cut off; HUB_EUTF8; HUB_ETOOLARGE: more than `limit`; HUB_ENOMEM. After one
 * of these the inflater has to forget first. */
HUB_MUST_USE hub_status_t hub__inflate(hub__inflater_t *inflater, hub_str_t payload, bool text,
                                       size_t limit, hub__buffer_t *out);
