/* bench/load/speaker.h - says everything that a server is told, and knows how what it says looks.
 *
 * A speaker is a template (template.h); the built-in ones are template texts in this program. Two
 * of them speak a protocol of its own within binary frames, whose messages need not begin and end
 * where frames do: they have a stream beside the template. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/buffer.h"
#include "bench/load/payload.h"
#include "bench/load/template.h"

typedef enum say { SAY_HELLO, SAY_JOIN, SAY_LEAVE, SAY_PUBLISH, SAY_ECHO } say_t;

/* What goes into a message; what it has no use for is not looked at. */
typedef struct saying {
    const char *topic;
    size_t topic_len;
    uint32_t ref, conn;
    payload_t payload;
} saying_t;

struct speaker;

/* A protocol in a stream of bytes. */
typedef struct stream {
    const char *name; /* of the built-in template that it belongs to */
    /* The length of the first message, STREAM_MORE or STREAM_INVALID. */
    size_t (*split)(const char *bytes, size_t len);
    /* Appends a frame, and what a delivery has around its data; NULL: the template does. */
    void (*say)(const struct speaker *speaker, say_t say, const saying_t *saying, buffer_t *out);
    void (*pattern)(const struct speaker *speaker, const char *topic, size_t topic_len,
                    buffer_t *ret_prefix);
} stream_t;

#define STREAM_MORE 0u
#define STREAM_INVALID SIZE_MAX

extern const stream_t STREAM_NATS, STREAM_MQTT;

typedef struct speaker {
    const char *name;
    template_t template;
    size_t payload_bytes, data_bytes; /* of a message, with and without what surrounds its data */
    const stream_t *stream;           /* NULL: a message is a message of the websocket */
} speaker_t;

#define SPEAKERS                                                                                   \
    {                                                                                              \
        "native", "1.0.0", "2.0.0", "text", "socket.io", "nchan", "nats", "mqtt"                   \
    }
#define SPEAKER_LAST 7u

/* A built-in one, by its place among SPEAKERS, or that of a template file where `path` is not NULL.
 * Ends the program where a payload of `payload_bytes` is too small. Owned by the caller
 * (speaker_close). */
void speaker_open(speaker_t *ret_speaker, unsigned long index, const char *path,
                  size_t payload_bytes);
void speaker_close(speaker_t *speaker);

/* Appends one frame. */
void speaker_say(const speaker_t *speaker, say_t say, const saying_t *saying, buffer_t *out);
/* Appends `text` without a frame around it. */
void speaker_expand(const speaker_t *speaker, const text_t *text, const saying_t *saying,
                    buffer_t *out);
/* What a delivery in a topic, as a publish or an echo has it, looks like before and behind its
 * data. False: nobody knows, it has to be learned. */
bool speaker_pattern(const speaker_t *speaker, say_t say, const char *topic, size_t topic_len,
                     buffer_t *ret_prefix, buffer_t *ret_suffix);
/* Whether joining is asked for; it is part of connecting otherwise. */
static inline bool speaker_joins(const speaker_t *speaker)
{
    return text_is_set(&speaker->template.join);
}
/* Whether a connection can publish in one topic only. */
static inline bool speaker_publishes_by_path(const speaker_t *speaker)
{
    return text_has(&speaker->template.publish_path, PART_TOPIC);
}

/* The text of a built-in template, for those who want to write one like it. */
const char *speaker_text(unsigned long index);
