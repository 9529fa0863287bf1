/* bus/url.h - private: the URL of a broker in its parts (RFC 3986). */
#pragma once

#include "bus/backend.h"

#define HUB__URL_BYTES_MAX 4096
#define HUB__URL_PARAMS_MAX 32

typedef struct hub__url {
    hub_bus_url_t parts; /* point into `text` */
    hub_bus_param_t params[HUB__URL_PARAMS_MAX];
    char text[HUB__URL_BYTES_MAX + 1];
} hub__url_t;

/* HUB_EINVAL: what is wrong and at which offset, but never a part of the text, which may be a
 * password. */
hub_status_t hub__url_parse(const char *text, hub__url_t *ret_url, hub_error_t *error);
/* Whether `text` is a whole number in digits from `least` to `most`, which is less than SIZE_MAX.
 */
bool hub__url_size(const char *text, size_t least, size_t most, size_t *ret_size);
bool hub__url_number(const char *text, unsigned least, unsigned most, unsigned *ret_number);
/* Takes the parameter out. NULL: there is none. */
const char *hub__url_take(hub__url_t *url, const char *name);
