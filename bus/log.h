/* bus/log.h - one line per start, stop, failure and refusal, on stderr until the program takes it
 * over.
 *
 *     2026-11-21T06:14:21.123Z warn handler.failed topic="room:1" event="say" status=EPAYLOAD
 *
 * Everything that came from outside goes through hub_log_escape(), so a peer can neither start a
 * line of its own nor fill the disk with one field. Tokens and payloads are never logged. */
#pragma once

#include "bus/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hub_log_level {
    HUB_LOG_DEBUG,
    HUB_LOG_INFO,
    HUB_LOG_WARN,
    HUB_LOG_ERROR,
    HUB_LOG_OFF, /* only as a threshold */
} hub_log_level_t;

/* `event` is a dotted name such as "conn.open" in static storage; `text` the key=value pairs,
 * NUL-terminated, without a line end, borrowed. Called on whatever thread logs, never two at once.
 * Must not call back into the hub. */
typedef void (*hub_log_cb)(hub_log_level_t level, const char *event, const char *text, void *user);

/* Hands all further lines to `on_log`; NULL gives them back to stderr. Any thread. */
HUB_API void hub_log_set(hub_log_cb on_log, void *user);

/* How lines look on stderr. As JSON the one above is
 *
 *     {"time":"2026-11-21T06:14:21.123Z","level":"warn","event":"handler.failed",
 *      "fields":{"topic":"room:1","event":"say","status":"EPAYLOAD"}}
 *
 * in one line: whole numbers are numbers, what is quoted is a string with the same escapes in it.
 * What is no key=value pair is the field "text". */
typedef enum hub_log_format {
    HUB_LOG_TEXT,
    HUB_LOG_JSON,
} hub_log_format_t;

/* The default is HUB_LOG_TEXT. A program's callback gets pairs whatever it is. Any thread. */
HUB_API void hub_log_set_format(hub_log_format_t format);

/* Lines below `level` are not made. The default is HUB_LOG_INFO. Any thread. */
HUB_API void hub_log_set_level(hub_log_level_t level);
HUB_API bool hub_log_enabled(hub_log_level_t level);

/* Logs one event. Cut at 1,024 bytes. Any thread. */
HUB_API void hub_log(hub_log_level_t level, const char *event, const char *format, ...)
    HUB_PRINTF(3, 4);

/* As hub_log(), for events that a peer can cause at will: at most 100 lines a second over all of
 * them, and 10 of what one address does (of IPv6: one /64), where it is known whose message is
 * handled. The next line that goes out says how many were suppressed since the last. Any thread. */
HUB_API void hub_log_peer(hub_log_level_t level, const char *event, const char *format, ...)
    HUB_PRINTF(3, 4);

/* Room for one escaped field, its quotes and its NUL. */
#define HUB_LOG_FIELD 280

/* Writes `str` in double quotes: printable ASCII and well-formed printable UTF-8 as it is, the
 * rest, quotes and backslashes escaped (\n, \xNN, \u{202E} for bidirectional and other invisible
 * characters), cut at 256 bytes with "…" behind. Returns `buffer`, so that it fits into an argument
 * list. Any thread. */
HUB_API const char *hub_log_escape(hub_str_t str, char buffer[HUB_LOG_FIELD]);

#ifdef __cplusplus
}
#endif
