/* channels/decoding.h - private to the dialects: the fields of an envelope, as they are read from
 * any wire format.
 *
 * The raw values are collected first and looked at afterwards, so that a frame with one wrong field
 * still gives its ref and topic, and the refusal finds its request. The first thing wrong is what
 * is reported. */
#pragma once

#include "bus/json.h"
#include "channels/envelope.h"

/* In the order of the array of 2.0.0. */
typedef enum hub__field {
    HUB__FIELD_JOIN_REF,
    HUB__FIELD_REF,
    HUB__FIELD_TOPIC,
    HUB__FIELD_EVENT,
    HUB__FIELD_PAYLOAD,
    HUB__FIELD_COUNT,
} hub__field_t;

/* One frame while it is decoded. Everything is borrowed. */
typedef struct hub__decoding {
    hub_str_t frame;
    const hub__envelope_limits_t *limits;
    hub__envelope_scratch_t *scratch;
    hub__envelope_t *envelope;
    hub_error_t *error;
    hub_status_t status;                       /* of the first thing wrong */
    hub_json_value_t fields[HUB__FIELD_COUNT]; /* kind 0: not there */
} hub__decoding_t;

/* Empties the envelope and the scratch. */
void hub__decoding_init(hub__decoding_t *decoding, hub_str_t frame,
                        const hub__envelope_limits_t *limits, hub__envelope_scratch_t *scratch,
                        hub__envelope_t *envelope, hub_error_t *error);

/* Notes what is wrong at a byte of the frame; only the first counts. */
void hub__decoding_fail(hub__decoding_t *decoding, hub_status_t status, size_t offset,
                        const char *format, ...) HUB_PRINTF(4, 5);

/* Collect the fields of an object, or of an array of five or more. Where the frame is not JSON at
 * all no field is there; what is found missing, doubled or too deep is noted. */
void hub__decoding_read_object(hub__decoding_t *decoding);
void hub__decoding_read_array(hub__decoding_t *decoding);

/* Look at one collected field and put it into the envelope. `required`: its absence is wrong;
 * `any_value`: a ref may be any JSON value, else a string, an integer or null; a topic that is no
 * string is one that does not exist, and an event that is none, or empty, one that nobody handles,
 * its name the JSON. */
void hub__decoding_topic(hub__decoding_t *decoding, bool any_value);
void hub__decoding_event(hub__decoding_t *decoding, bool any_value);
void hub__decoding_refs(hub__decoding_t *decoding, bool required, bool any_value);
void hub__decoding_payload(hub__decoding_t *decoding, bool required);

/* The same for bytes of a binary frame, at `offset`, where nothing has been validated yet. A ref
 * becomes a string token. */
void hub__decoding_topic_bytes(hub__decoding_t *decoding, size_t offset, size_t len);
void hub__decoding_event_bytes(hub__decoding_t *decoding, size_t offset, size_t len);
void hub__decoding_ref_bytes(hub__decoding_t *decoding, hub__field_t field, size_t offset,
                             size_t len);
