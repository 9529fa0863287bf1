/* SPDX-License-Identifier: MIT */
/* The texts of the status codes, and the one way to fill a hub_error_t: a failure reads as one
 * statement at the place where it is found. */
#include "bus/base.h"

#include <stdarg.h>
#include <stdio.h>

const char *hub_status_text(hub_status_t status)
{
    switch (status) {
#define STATUS_TEXT(name, value, text)                                                             \
    case HUB_##name:                                                                               \
        return text;
        HUB_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

const char *hub_status_name(hub_status_t status)
{
    switch (status) {
#define STATUS_NAME(name, value, text)                                                             \
    case HUB_##name:                                                                               \
        return #name;
        HUB_STATUS_MAP(STATUS_NAME)
#undef STATUS_NAME
    }
    return "unknown";
}

hub_status_t hub_error_set(hub_error_t *error, hub_status_t status, size_t offset,
                           const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return status;
    error->status = status;
    error->offset = offset;
    va_start(args, format);
    if (vsnprintf(error->text, sizeof(error->text), format, args) < 0)
        error->text[0] = '\0';
    va_end(args);
    return status;
}
