/* SPDX-License-Identifier: MIT */
#include "test/conformance/press.h"

#include <stdlib.h>

#define CHUNK 65536
#define RSV1 0x40U

static const unsigned char tail[] = {0x00, 0x00, 0xFF, 0xFF};

/* ---- the answer ---- */

/* The next piece up to `end`, without the blanks around it. */
static hub_str_t next_piece(const char **at, char end)
{
    const char *begin = *at + strspn(*at, " ");
    size_t len = strcspn(begin, (const char[]){end, '\0'});

    *at = begin + len + (begin[len] == end);
    while (len > 0 && begin[len - 1] == ' ')
        len--;
    return hub_str_n(begin, len);
}

/* 8 to 15 without a zero in front; else 0. */
static unsigned read_bits(hub_str_t value)
{
    unsigned bits = 0;

    if (value.len == 0 || value.len > 2 || value.base[0] == '0')
        return 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.base[i] < '0' || value.base[i] > '9')
            return 0;
        bits = 10 * bits + (unsigned)(value.base[i] - '0');
    }
    return bits >= 8 && bits <= 15 ? bits : 0;
}

static const char *read_flag(bool *flag, bool has_value)
{
    if (*flag)
        return "the answer has a parameter twice (RFC 7692 7.1)";
    *flag = true;
    return has_value ? "the answer has a flag with a value (RFC 7692 7.1.1)" : NULL;
}

static const char *read_window(bool *named, unsigned *bits, hub_str_t value)
{
    if (*named)
        return "the answer has a parameter twice (RFC 7692 7.1)";
    *named = true;
    *bits = read_bits(value);
    return *bits == 0 ? "the answer has a window that is not 8 to 15 (RFC 7692 7.1.2)" : NULL;
}

static const char *read_parameter(hub_str_t parameter, press_terms_t *terms)
{
    const char *equals = memchr(parameter.base, '=', parameter.len);
    hub_str_t name = parameter, value = {0};

    if (equals != NULL) {
        name.len = (size_t)(equals - parameter.base);
        value = hub_str_n(equals + 1, parameter.len - name.len - 1);
    }
    if (hub_str_equals(name, HUB_STR("server_no_context_takeover")))
        return read_flag(&terms->server_no_context, equals != NULL);
    if (hub_str_equals(name, HUB_STR("client_no_context_takeover")))
        return read_flag(&terms->client_no_context, equals != NULL);
    if (hub_str_equals(name, HUB_STR("server_max_window_bits")))
        return read_window(&terms->names_server_bits, &terms->server_bits, value);
    if (hub_str_equals(name, HUB_STR("client_max_window_bits")))
        return read_window(&terms->names_client_bits, &terms->client_bits, value);
    return "the answer has an unknown parameter (RFC 7692 7.1)";
}

const char *press_read(const char *answer, press_terms_t *ret_terms)
{
    press_terms_t terms = {.server_bits = 15, .client_bits = 15};
    const char *fault = NULL;

    if (strchr(answer, ',') != NULL)
        return "the answer accepts more than one extension (RFC 7692 5)";
    if (!hub_str_equals(next_piece(&answer, ';'), HUB_STR("permessage-deflate")))
        return "the answer accepts no permessage-deflate";
    while (*answer != '\0' && fault == NULL)
        fault = read_parameter(next_piece(&answer, ';'), &terms);
    *ret_terms = terms;
    return fault;
}

const char *press_compare(const press_offer_t *offer, const press_terms_t *terms)
{
    if (offer->server_no_context && !terms->server_no_context)
        return "the answer lacks the server_no_context_takeover of the offer (RFC 7692 7.1.1.1)";
    if (offer->server_bits != 0 && !terms->names_server_bits)
        return "the answer lacks the server_max_window_bits of the offer (RFC 7692 7.1.2.1)";
    if (offer->server_bits != 0 && terms->server_bits > offer->server_bits)
        return "the server's window is larger than was offered (RFC 7692 7.1.2.1)";
    if (terms->names_client_bits && !offer->client_bits_allowed)
        return "client_max_window_bits was not offered (RFC 7692 7.1.2.2)";
    return NULL;
}

/* ---- the streams ---- */

static const char *inflate_all(press_t *press, hub_str_t bytes)
{
    z_stream *stream = &press->inflater;
    int code;

    stream->next_in = (Bytef *)(uintptr_t)bytes.base;
    stream->avail_in = (uInt)bytes.len;
    do {
        stream->next_out = (Bytef *)hub__buffer_reserve(&press->unpacked, CHUNK);
        stream->avail_out = CHUNK;
        code = inflate(stream, Z_SYNC_FLUSH);
        press->unpacked.len += CHUNK - stream->avail_out;
        if (code != Z_OK && code != Z_BUF_ERROR)
            return "a message that does not inflate within its window (RFC 7692 7.2.2)";
    } while (stream->avail_out == 0);
    return stream->avail_in != 0 ? "a message with something behind its end" : NULL;
}

static const char *on_inflate(void *user, hub_str_t packed, hub_str_t *ret_message)
{
    press_t *press = user;
    const char *fault;

    if (packed.len == 0)
        return "a compressed message without a byte (RFC 7692 7.2.3.6)";
    if (press->terms.server_no_context)
        inflateReset(&press->inflater);
    press->unpacked.len = 0;
    if ((fault = inflate_all(press, packed)) == NULL)
        fault = inflate_all(press, hub_str_n((const char *)tail, sizeof(tail)));
    *ret_message = hub__buffer_str(&press->unpacked);
    return fault;
}

void press_begin(press_t *press, play_t *play, const press_offer_t *offer)
{
    const char *fault;
    int bits;

    *press = (press_t){0};
    if (play->fault[0] != '\0')
        return;
    fault = press_read(play->extensions, &press->terms);
    if (fault == NULL)
        fault = press_compare(offer, &press->terms);
    if (fault != NULL) {
        play_wrong(play, "%s: '%s' answers '%s'", fault, play->extensions, offer->text);
        return;
    }
    /* zlib can't deflate with 8 bits, and what it makes with 9 may be within 8 or not */
    bits = press->terms.client_bits == 8 ? 9 : (int)press->terms.client_bits;
    if (deflateInit2(&press->deflater, Z_BEST_SPEED, Z_DEFLATED, -bits, 8, Z_DEFAULT_STRATEGY) !=
            Z_OK ||
        inflateInit2(&press->inflater, -(int)press->terms.server_bits) != Z_OK)
        abort();
    press->ready = true;
    play->judge.inflate = on_inflate;
    play->judge.user = press;
}

void press_dispose(press_t *press)
{
    if (press->ready) {
        deflateEnd(&press->deflater);
        inflateEnd(&press->inflater);
    }
    hub__buffer_dispose(&press->packed);
    hub__buffer_dispose(&press->unpacked);
    *press = (press_t){0};
}

hub_str_t press_pack(press_t *press, hub_str_t message)
{
    z_stream *stream = &press->deflater;

    if (press->terms.client_no_context)
        deflateReset(stream);
    press->packed.len = 0;
    stream->next_in = (Bytef *)(uintptr_t)message.base;
    stream->avail_in = (uInt)message.len;
    do {
        stream->next_out = (Bytef *)hub__buffer_reserve(&press->packed, CHUNK);
        stream->avail_out = CHUNK;
        (void)deflate(stream, Z_SYNC_FLUSH);
        press->packed.len += CHUNK - stream->avail_out;
    } while (stream->avail_out == 0);
    /* an empty message behind another has nothing to flush */
    if (press->packed.len < sizeof(tail))
        return HUB_STR("\0");
    return hub_str_n(press->packed.base, press->packed.len - sizeof(tail));
}

void press_say(press_t *press, play_t *play, bool binary, hub_str_t message, size_t fragment)
{
    unsigned first = (binary ? 2 : 1) | RSV1;
    hub_str_t packed;
    size_t at = 0, len;

    if (play->fault[0] != '\0')
        return;
    packed = press_pack(press, message);
    do {
        len = fragment != 0 && packed.len - at > fragment ? fragment : packed.len - at;
        play_frame(play, first | (at + len == packed.len ? PLAY_FIN : 0),
                   hub_str_n(packed.base + at, len));
        first = 0;
        at += len;
    } while (at < packed.len);
}
