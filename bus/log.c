/* SPDX-License-Identifier: MIT */
/* Where every line of the library goes. A line is made on the stack of whoever logs and handed out
 * under one lock, which gives the program's callback its "never two at once" and makes
 * hub_log_set() final: once it returns, the old callback is not running. */
#include "bus/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bus/line.h"
#include "bus/source.h"

#define TEXT_LIMIT HUB__LINE_TEXT
#define EVENT_LIMIT 64
#define ELLIPSIS "…"
#define ALL_LINES 100
#define PEER_LINES 10
#define PEERS 64
#define WINDOW_MS 1000
#define FIELD_BYTES 256

_Static_assert(HUB_LOG_FIELD >= FIELD_BYTES + sizeof("\"" ELLIPSIS "\""), "a cut field fits");

static uint64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The limiter's clock. Tests put their own in its place, before they start threads. */
extern uint64_t (*hub__log_clock)(void);
uint64_t (*hub__log_clock)(void) = monotonic_ms;

static atomic_int threshold = HUB_LOG_INFO;
static atomic_int line_format = HUB_LOG_TEXT;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* all of these under the lock */
static struct {
    hub_log_cb on_log;
    void *user;
} sink;
/* Rings: the time from which each of the last lines counts no more. So any second sees at most a
 * hundred, where a count per second would let two hundred meet at its border. */
static struct {
    uint64_t free_at_ms[ALL_LINES];
    size_t next;
    uint64_t suppressed;
} limiter;
/* Likewise of one peer, in the place that its key draws. One that takes another's place lets that
 * one begin anew; how many lines there are then is the business of the ring of all. */
static struct peer {
    uint64_t key;
    uint64_t free_at_ms[PEER_LINES];
    size_t next;
} peers[PEERS];

static _Thread_local struct {
    hub__source_cb ask;
    const void *who;
} source;

void hub__source_set(hub__source_cb ask, const void *who)
{
    source.ask = ask;
    source.who = who;
}

void hub_log_set(hub_log_cb on_log, void *user)
{
    pthread_mutex_lock(&lock);
    sink.on_log = on_log;
    sink.user = user;
    pthread_mutex_unlock(&lock);
}

void hub_log_set_level(hub_log_level_t level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

void hub_log_set_format(hub_log_format_t format)
{
    atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
}

bool hub_log_enabled(hub_log_level_t level)
{
    return level < HUB_LOG_OFF &&
           (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

static const char *level_name(hub_log_level_t level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    return names[level];
}

/* One write(2), so that lines of several processes on one pipe don't mix. What stderr does not take
 * is lost: there is no better place to say so. */
static void write_line(hub_log_level_t level, const char *event, const char *text)
{
    char line[HUB__LINE_BYTES], stamp[32];
    struct timespec now;
    struct tm utc;
    size_t len;
    ssize_t written;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    len = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + len, sizeof(stamp) - len, ".%03uZ", (unsigned)(now.tv_nsec / 1000000) % 1000);
    if (atomic_load_explicit(&line_format, memory_order_relaxed) == HUB_LOG_JSON)
        len = hub__line_json(stamp, level_name(level), event, text, line);
    else
        len = (size_t)snprintf(line, sizeof(line), "%s %s %.*s%s%s\n", stamp, level_name(level),
                               EVENT_LIMIT, event, text[0] == '\0' ? "" : " ", text);
    do
        written = write(STDERR_FILENO, line, len);
    while (written < 0 && errno == EINTR);
}

/* The end of text that did not fit: a whole character, then the ellipsis. */
static void mark_cut(char *text)
{
    size_t end = TEXT_LIMIT - strlen(ELLIPSIS);

    while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    memcpy(text + end, ELLIPSIS, sizeof(ELLIPSIS));
}

/* `suppressed` lines are told of before the text. */
static void HUB_PRINTF(4, 0) emit(hub_log_level_t level, const char *event, uint64_t suppressed,
                                  const char *format, va_list args)
{
    char text[TEXT_LIMIT + 1] = "";
    int saved_errno = errno, used = 0, len;

    if (suppressed > 0)
        used = snprintf(text, sizeof(text), "suppressed=%llu ", (unsigned long long)suppressed);
    len = vsnprintf(text + used, sizeof(text) - (size_t)used, format, args);
    if (len > TEXT_LIMIT - used)
        mark_cut(text);
    /* what came from outside was escaped by the caller; should one forget it, this is still one
     * line */
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            *at = '?';
    }
    pthread_mutex_lock(&lock);
    if (sink.on_log != NULL)
        sink.on_log(level, event, text, sink.user);
    else
        write_line(level, event, text);
    pthread_mutex_unlock(&lock);
    errno = saved_errno;
}

void hub_log(hub_log_level_t level, const char *event, const char *format, ...)
{
    va_list args;

    if (!hub_log_enabled(level))
        return;
    va_start(args, format);
    emit(level, event, 0, format, args);
    va_end(args);
}

/* Of an address without its port, IPv6 without the half that a peer may choose; 0: nobody in
 * particular, and so is everybody behind a unix socket. */
static uint64_t key_of(hub_str_t address)
{
    uint64_t key = 14695981039346656037U; /* FNV-1a */
    struct in6_addr parsed;
    char host[HUB__SOURCE_TEXT];

    while (address.len > 0 && address.base[address.len - 1] != ':')
        address.len--;
    if (address.len < 2 || address.len > sizeof(host))
        return 0;
    address.len--;
    if (address.base[0] == '[') {
        snprintf(host, sizeof(host), "%.*s", (int)address.len - 2, address.base + 1);
        if (inet_pton(AF_INET6, host, &parsed) == 1)
            address = hub_str_n((const char *)&parsed, sizeof(parsed) / 2);
    }
    for (size_t i = 0; i < address.len; i++)
        key = (key ^ (unsigned char)address.base[i]) * 1099511628211U;
    return key | 1;
}

/* The place of a peer. Under the lock. */
static struct peer *peer_of(uint64_t key)
{
    struct peer *peer = &peers[(key >> 32) % PEERS];

    if (peer->key != key)
        *peer = (struct peer){.key = key};
    return peer;
}

/* Whether a line may go out now; if so, how many did not since the last one. */
static bool limiter_take(uint64_t *ret_suppressed)
{
    uint64_t now_ms = hub__log_clock();
    char text[HUB__SOURCE_TEXT];
    uint64_t key = source.ask != NULL ? key_of(source.ask(source.who, text)) : 0;
    struct peer *peer;
    bool allowed;

    pthread_mutex_lock(&lock);
    peer = key != 0 ? peer_of(key) : NULL;
    allowed = now_ms >= limiter.free_at_ms[limiter.next] &&
              (peer == NULL || now_ms >= peer->free_at_ms[peer->next]);
    if (allowed) {
        limiter.free_at_ms[limiter.next] = now_ms + WINDOW_MS;
        limiter.next = (limiter.next + 1) % ALL_LINES;
        *ret_suppressed = limiter.suppressed;
        limiter.suppressed = 0;
    } else {
        limiter.suppressed++;
    }
    if (allowed && peer != NULL) {
        peer->free_at_ms[peer->next] = now_ms + WINDOW_MS;
        peer->next = (peer->next + 1) % PEER_LINES;
    }
    pthread_mutex_unlock(&lock);
    return allowed;
}

void hub_log_peer(hub_log_level_t level, const char *event, const char *format, ...)
{
    uint64_t suppressed;
    va_list args;

    if (!hub_log_enabled(level) || !limiter_take(&suppressed))
        return;
    va_start(args, format);
    emit(level, event, suppressed, format, args);
    va_end(args);
}

/* Characters that show nothing, look like a space, change the direction, or have no agreed shape:
 * the controls, separators, format and default-ignorable characters of Unicode 15, and private use.
 */
static bool is_invisible(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x0080, 0x00A0},   {0x00AD, 0x00AD},   {0x034F, 0x034F},    {0x061C, 0x061C},
        {0x115F, 0x1160},   {0x1680, 0x1680},   {0x17B4, 0x17B5},    {0x180B, 0x180F},
        {0x2000, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},    {0x3000, 0x3000},
        {0x3164, 0x3164},   {0xE000, 0xF8FF},   {0xFDD0, 0xFDEF},    {0xFE00, 0xFE0F},
        {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFB},    {0x1BCA0, 0x1BCA3},
        {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF}, {0xF0000, 0x10FFFF},
    };

    if ((code & 0xFFFE) == 0xFFFE)
        return true; /* the last two of each plane are no characters */
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (code <= ranges[i].last)
            return code >= ranges[i].first;
    }
    return false;
}

/* The length of the well-formed character beyond ASCII at the start of `str`, 0 if there is none.
 */
static size_t decode_utf8(hub_str_t str, uint32_t *ret_code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)str.base;
    size_t len = bytes[0] >= 0xF0 ? 4 : bytes[0] >= 0xE0 ? 3 : 2;
    uint32_t code = bytes[0] & (0x7FU >> len);

    if (bytes[0] < 0xC2 || bytes[0] > 0xF4 || str.len < len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (bytes[i] & 0x3FU);
    }
    if (code < smallest[len] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    *ret_code = code;
    return len;
}

/* Writes the first character of `str` as it may be shown. Returns how many of its bytes that took.
 */
static size_t escape_one(hub_str_t str, char piece[16])
{
    static const char names[] = "\"\\nrt", values[] = "\"\\\n\r\t";
    unsigned char byte = (unsigned char)str.base[0];
    const char *value = memchr(values, byte, sizeof(values) - 1);
    uint32_t code;
    size_t len = 1;

    if (value != NULL) {
        snprintf(piece, 16, "\\%c", names[value - values]);
    } else if (byte >= 0x20 && byte < 0x7F) {
        snprintf(piece, 16, "%c", byte);
    } else if (byte < 0x80 || (len = decode_utf8(str, &code)) == 0) {
        snprintf(piece, 16, "\\x%02X", byte);
        len = 1;
    } else if (is_invisible(code)) {
        snprintf(piece, 16, "\\u{%04X}", (unsigned)code);
    } else {
        memcpy(piece, str.base, len);
        piece[len] = '\0';
    }
    return len;
}

const char *hub_log_escape(hub_str_t str, char buffer[HUB_LOG_FIELD])
{
    char piece[16];
    size_t len = 1, taken;

    buffer[0] = '"';
    for (; str.len > 0; str = hub_str_n(str.base + taken, str.len - taken)) {
        size_t piece_len;

        taken = escape_one(str, piece);
        piece_len = strlen(piece);
        if (len + piece_len > 1 + FIELD_BYTES) {
            memcpy(buffer + len, ELLIPSIS, strlen(ELLIPSIS));
            len += strlen(ELLIPSIS);
            break;
        }
        memcpy(buffer + len, piece, piece_len);
        len += piece_len;
    }
    memcpy(buffer + len, "\"", 2);
    return buffer;
}
