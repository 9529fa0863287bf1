/* SPDX-License-Identifier: MIT */
/* The words of the protocol for what went wrong, and which word a status of the program becomes.
 * Kept apart from the wire formats, because metrics and logs use them as well. */
#include "channels/envelope.h"

const char *hub__code_name(hub__code_t code)
{
    static const char *const names[] = {
#define CODE_NAME(name, code, message) [HUB__CODE_##name] = code,
        HUB__CODE_MAP(CODE_NAME)
#undef CODE_NAME
    };

    return names[code];
}

const char *hub__code_message(hub__code_t code)
{
    static const char *const messages[] = {
#define CODE_MESSAGE(name, code, message) [HUB__CODE_##name] = message,
        HUB__CODE_MAP(CODE_MESSAGE)
#undef CODE_MESSAGE
    };

    return messages[code];
}

hub__code_t hub__code_of_status(hub_status_t status)
{
    switch (status) {
    case HUB_EREJECTED:
        return HUB__CODE_JOIN_REJECTED;
    case HUB_EPAYLOAD:
        return HUB__CODE_INVALID_PAYLOAD;
    case HUB_EEVENT:
        return HUB__CODE_EVENT_NOT_FOUND;
    case HUB_ENOTJOINED:
        return HUB__CODE_NOT_JOINED;
    case HUB_ETOPIC:
        return HUB__CODE_BAD_TOPIC;
    case HUB_ELIMIT:
    case HUB_ETOOLARGE:
        return HUB__CODE_LIMIT;
    case HUB_ERATE:
        return HUB__CODE_RATE;
    case HUB_EBUSY:
        return HUB__CODE_BUSY;
    case HUB_ETIMEOUT:
        return HUB__CODE_TIMEOUT;
    case HUB_EBUSDOWN:
        return HUB__CODE_BUS_DOWN;
    default:
        return HUB__CODE_INTERNAL_ERROR;
    }
}
