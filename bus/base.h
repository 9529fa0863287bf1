/* bus/base.h - the ground everybody stands on: status codes, strings, attributes.
 *
 * Includes nothing of ours. What can fail returns hub_status_t; `ret_` parameters come last and
 * are untouched on failure. Ownership is said with five words: borrowed (until the call or the
 * callback returns), copied, taken, retained (counted), owned by the caller. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HUB_API __attribute__((visibility("default")))
#define HUB_MUST_USE __attribute__((warn_unused_result))
#define HUB_PRINTF(fmt, args) __attribute__((__format__(__printf__, fmt, args)))
#else
#define HUB_API
#define HUB_MUST_USE
#define HUB_PRINTF(fmt, args)
#endif

/* Switches off what an option says, where that is allowed. */
#define HUB_OFF SIZE_MAX

/* Code, value and text come from this one list, so that they cannot drift. */
#define HUB_STATUS_MAP(X)                                                                          \
    X(OK, 0, "ok")                                                                                 \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                 \
    X(EBUSY, -3, "busy or already started")                                                        \
    X(ELIMIT, -4, "a limit is reached")                                                            \
    X(ENOTFOUND, -5, "not found")                                                                  \
    X(EEXIST, -6, "exists already")                                                                \
    X(ECONFLICT, -7, "conflicts with an earlier registration")                                     \
    X(ECLOSED, -8, "closed")                                                                       \
    X(ECANCELLED, -9, "cancelled")                                                                 \
    X(ETIMEOUT, -10, "timed out")                                                                  \
    X(ESYSTEM, -11, "system call failed")                                                          \
    X(ESYNTAX, -12, "syntax error")                                                                \
    X(EUTF8, -13, "not valid UTF-8")                                                               \
    X(EDEPTH, -14, "nested too deeply")                                                            \
    X(ETOOLARGE, -15, "too large")                                                                 \
    X(EPROTOCOL, -16, "protocol violation")                                                        \
    X(EREJECTED, -17, "join rejected")                                                             \
    X(ENOTJOINED, -18, "topic not joined")                                                         \
    X(EEVENT, -19, "event not found")                                                              \
    X(EPAYLOAD, -20, "invalid payload")                                                            \
    X(ETOPIC, -21, "bad topic")                                                                    \
    X(ERATE, -22, "too many requests")                                                             \
    X(EBUSDOWN, -23, "the bus is down")                                                            \
    X(EUNKNOWN, -24, "outcome unknown")                                                            \
    X(ESLOW, -25, "the peer reads too slowly")                                                     \
    X(EINTERNAL, -26, "internal error")                                                            \
    X(PENDING, -27, "the answer follows later")

typedef enum hub_status {
#define HUB_STATUS_ENUM(name, value, text) HUB_##name = value,
    HUB_STATUS_MAP(HUB_STATUS_ENUM)
#undef HUB_STATUS_ENUM
} hub_status_t;

/* The text of a status, e.g. "out of memory"; "unknown status" for any other number. Static
 * storage. Any thread. */
HUB_API const char *hub_status_text(hub_status_t status);

/* The symbol of a status without its prefix, e.g. "ENOMEM". Static storage. Any thread. */
HUB_API const char *hub_status_name(hub_status_t status);

/* What was wrong and where, for calls whose status alone would not help (a pattern, an option,
 * a document). Filled only on failure; the caller may pass NULL instead. */
typedef struct hub_error {
    hub_status_t status;
    size_t offset;  /* of the first wrong byte, where the input is text; else 0 */
    char text[240]; /* NUL-terminated, names the input, cut if longer */
} hub_error_t;

/* Fills `error` (NULL is allowed) and returns `status`, so that a failure is one statement.
 * Any thread. */
HUB_API hub_status_t hub_error_set(hub_error_t *error, hub_status_t status, size_t offset,
                                   const char *format, ...) HUB_PRINTF(4, 5);

/* Text or bytes, never assumed to end in NUL. An absent string has base NULL and len 0. */
typedef struct hub_str {
    const char *base;
    size_t len;
} hub_str_t;

#ifdef __cplusplus
#define HUB_STR(literal) (hub_str_t{(literal), sizeof(literal) - 1})
#else
#define HUB_STR(literal) ((hub_str_t){(literal), sizeof(literal) - 1})
#endif

/* For printf: printf("%.*s", HUB_STR_ARG(topic)). Peers' text goes through the log's escapes. */
#define HUB_STR_ARG(str) (int)(str).len, (str).base

/* Borrows a NUL-terminated string; NULL gives the absent string. Any thread. */
static inline hub_str_t hub_str(const char *text)
{
    hub_str_t str;

    str.base = text;
    str.len = text == NULL ? 0 : strlen(text);
    return str;
}

static inline hub_str_t hub_str_n(const char *base, size_t len)
{
    hub_str_t str;

    str.base = base;
    str.len = len;
    return str;
}

/* Compares bytes; absent and empty are equal. Any thread. */
static inline bool hub_str_equals(hub_str_t left, hub_str_t right)
{
    return left.len == right.len && (left.len == 0 || memcmp(left.base, right.base, left.len) == 0);
}

static inline bool hub_str_starts_with(hub_str_t str, hub_str_t prefix)
{
    return str.len >= prefix.len &&
           (prefix.len == 0 || memcmp(str.base, prefix.base, prefix.len) == 0);
}

#ifdef __cplusplus
}
#endif
