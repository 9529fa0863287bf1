/* channels/phoenix.h - private: the binary frames of Phoenix 2.0.0, for its dialect. */
#pragma once

#include "channels/decoding.h"

/* Reads a client's push. */
void hub__phoenix_binary_decode(hub__decoding_t *decoding);

/* Writes a reply, push or broadcast; 0 where a name has more than 255 bytes. */
size_t hub__phoenix_binary_encode(const hub__outgoing_t *out, char *bytes);
