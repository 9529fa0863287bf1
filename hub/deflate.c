/* SPDX-License-Identifier: MIT */
/* zlib's streams, begun and ended as permessage-deflate wants it: without a header, flushed to a
 * byte's border at the end of each message, the four bytes that every flush ends with left out. */
#include "hub/deflate.h"

#include <assert.h>
#include <stdlib.h>
#define ZLIB_CONST
#include <zlib.h>

#include "hub/frame.h"
#include "hub/memory.h"

#define MEMORY_LEVEL 8 /* zlib's own: a stream takes 256 KiB at most, and a worker has three */
#define FIRST_ROOM 4096u

/* What a flush ends with: an empty block. */
static const unsigned char TAIL[] = {0x00, 0x00, 0xff, 0xff};

struct hub__inflater {
    z_stream stream;
};

/* Not zlib's own: this is memory that peers make us hold, and tests let it fail. */
static voidpf allocate(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return hub__peer_alloc_zeroed((size_t)items * size);
}

static void release(voidpf opaque, voidpf block)
{
    (void)opaque;
    hub__peer_free(block);
}

hub__window_t hub__window_for(unsigned bits)
{
    return bits >= 15 ? HUB__WINDOW_15 : bits >= 12 ? HUB__WINDOW_12 : HUB__WINDOW_9;
}

/* ---- compressing ---- */

/* NULL: no memory. */
static z_stream *stream_for(hub__deflater_t *deflater, hub__window_t window, int level)
{
    static const int bits[HUB__WINDOW_COUNT] = {0, 9, 12, 15};
    z_stream *stream = deflater->streams[window];

    if (stream != NULL) {
        (void)deflateReset(stream);
        return stream;
    }
    if ((stream = hub__peer_alloc_zeroed(sizeof(*stream))) == NULL)
        return NULL;
    stream->zalloc = allocate;
    stream->zfree = release;
    if (deflateInit2(stream, level, Z_DEFLATED, -bits[window], MEMORY_LEVEL, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        hub__peer_free(stream);
        return NULL;
    }
    return deflater->streams[window] = stream;
}

size_t hub__deflate(hub__deflater_t *deflater, hub__window_t window, int level, hub_str_t bytes,
                    char *out)
{
    z_stream *stream = stream_for(deflater, window, level);
    size_t len;

    if (stream == NULL)
        return 0;
    stream->next_in = (const Bytef *)bytes.base;
    stream->avail_in = (uInt)bytes.len;
    stream->next_out = (Bytef *)out;
    stream->avail_out = (uInt)bytes.len;
    /* endpoints differ; at the start of a stream it changes nothing else */
    if (deflateParams(stream, level, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflate(stream, Z_SYNC_FLUSH) != Z_OK || stream->avail_out == 0)
        return 0; /* it does not fit: longer than it was */
    len = bytes.len - stream->avail_out;
    assert(len > sizeof(TAIL) && memcmp(out + len - sizeof(TAIL), TAIL, sizeof(TAIL)) == 0);
    return len - sizeof(TAIL);
}

void hub__deflater_dispose(hub__deflater_t *deflater)
{
    for (unsigned i = 0; i != HUB__WINDOW_COUNT; ++i) {
        if (deflater->streams[i] == NULL)
            continue;
        (void)deflateEnd(deflater->streams[i]);
        hub__peer_free(deflater->streams[i]);
    }
    *deflater = (hub__deflater_t){0};
}

/* ---- inflating ---- */

hub__inflater_t *hub__inflater_create(unsigned bits)
{
    hub__inflater_t *inflater = hub__peer_alloc_zeroed(sizeof(*inflater));

    if (inflater == NULL)
        return NULL;
    inflater->stream.zalloc = allocate;
    inflater->stream.zfree = release;
    if (inflateInit2(&inflater->stream, -(int)bits) != Z_OK) {
        hub__peer_free(inflater);
        return NULL;
    }
    return inflater;
}

void hub__inflater_destroy(hub__inflater_t *inflater)
{
    if (inflater == NULL)
        return;
    (void)inflateEnd(&inflater->stream);
    hub__peer_free(inflater);
}

void hub__inflater_forget(hub__inflater_t *inflater)
{
    (void)inflateReset(&inflater->stream);
}

/* Room for one byte at least, and for `max` in all at most. */
static bool make_room(hub__buffer_t *out, size_t max)
{
    size_t capacity = out->capacity < FIRST_ROOM / 2 ? FIRST_ROOM : 2 * out->capacity;
    char *base;

    if (out->len < out->capacity)
        return true;
    if (capacity > max)
        capacity = max;
    if ((base = realloc(out->base, capacity)) == NULL)
        return false;
    out->base = base;
    out->capacity = capacity;
    return true;
}

/* One step into what room there is. */
static hub_status_t step(z_stream *stream, hub__utf8_t *utf8, size_t max, hub__buffer_t *out)
{
    size_t room = (out->capacity < max ? out->capacity : max) - out->len, made;
    char *at = out->base + out->len;
    int code;

    stream->next_out = (Bytef *)at;
    stream->avail_out = (uInt)room;
    code = inflate(stream, Z_SYNC_FLUSH);
    made = room - stream->avail_out;
    out->len += made;
    /* a peer may end its stream with a message (7.2.3.4), and the next goes on with its window */
    if (code == Z_STREAM_END)
        code = inflateResetKeep(stream);
    if (code == Z_MEM_ERROR)
        return HUB_ENOMEM;
    if (code != Z_OK && code != Z_BUF_ERROR)
        return HUB_ESYNTAX;
    if (out->len == max)
        return HUB_ETOOLARGE;
    return utf8 != NULL && !hub__utf8_feed(utf8, at, made) ? HUB_EUTF8 : HUB_OK;
}

/* All of these bytes. */
static hub_status_t run(z_stream *stream, hub_str_t bytes, hub__utf8_t *utf8, size_t max,
                        hub__buffer_t *out)
{
    hub_status_t err;

    stream->next_in = (const Bytef *)bytes.base;
    stream->avail_in = (uInt)bytes.len;
    do {
        if (!make_room(out, max))
            return HUB_ENOMEM;
        err = step(stream, utf8, max, out);
    } while (err == HUB_OK && (stream->avail_in != 0 || stream->avail_out == 0));
    return err;
}

hub_status_t hub__inflate(hub__inflater_t *inflater, hub_str_t payload, bool text, size_t limit,
                          hub__buffer_t *out)
{
    z_stream *stream = &inflater->stream;
    hub__utf8_t utf8 = {0}, *check = text ? &utf8 : NULL;
    hub_status_t err;

    out->len = 0;
    if ((err = run(stream, payload, check, limit + 1, out)) != HUB_OK ||
        (err = run(stream, hub_str_n((const char *)TAIL, sizeof(TAIL)), check, limit + 1, out)) !=
            HUB_OK)
        return err;
    if ((stream->data_type & 128) == 0)
        return HUB_ESYNTAX; /* not behind the end of a block */
    return hub__utf8_complete(&utf8) ? HUB_OK : HUB_EUTF8;
}
