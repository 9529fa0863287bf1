/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* memmem */
#include "test/conformance/play.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE 65536
#define PATIENCE_MS 10000
#define SILENCE_MS 15
#define SHOWN_BYTES 24

/* The key of RFC 6455 1.3 and its answer there. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define KEY_ACCEPTED "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static bool is_wrong(const play_t *play)
{
    return play->fault[0] != '\0';
}

void play_wrong(play_t *play, const char *format, ...)
{
    va_list args;

    if (is_wrong(play))
        return;
    va_start(args, format);
    vsnprintf(play->fault, sizeof(play->fault), format, args);
    va_end(args);
}

void play_over(play_t *play, int fd)
{
    *play = (play_t){.fd = fd, .patience_ms = PATIENCE_MS, .keys = 1};
}

void play_dispose(play_t *play)
{
    if (play->fd >= 0)
        close(play->fd);
    judge_dispose(&play->judge);
    hub__buffer_dispose(&play->out);
    play->fd = -1;
}

/* ---- saying ---- */

/* Small steps of a known generator (Numerical Recipes' LCG); each fifth key is all zeros. */
static uint32_t next_key(play_t *play)
{
    play->keys = play->keys * 1664525 + 1013904223;
    return play->keys % 5 == 0 ? 0 : play->keys;
}

/* Eight bytes at a time: there are 16 MiB of some. */
static void put_masked(char *to, hub_str_t payload, uint32_t key)
{
    uint64_t twice = key * UINT64_C(0x100000001), word;
    size_t at = 0;

    for (; payload.len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, payload.base + at, sizeof(word));
        word ^= twice;
        memcpy(to + at, &word, sizeof(word));
    }
    for (; at < payload.len; at++)
        to[at] = (char)(payload.base[at] ^ ((const char *)&twice)[at & 7]);
}

void play_frame_long(play_t *play, unsigned first, hub_str_t payload, size_t length_bytes)
{
    char *at = hub__buffer_reserve(&play->out, payload.len + 14), *begin = at;
    uint32_t key = next_key(play);

    if (is_wrong(play))
        return;
    *at++ = (char)first;
    *at++ = (char)((play->no_mask ? 0 : 0x80) | (length_bytes == 0   ? payload.len
                                                 : length_bytes == 2 ? 126
                                                                     : 127));
    for (size_t i = length_bytes; i > 0; i--)
        *at++ = (char)(payload.len >> (8 * (i - 1)));
    if (play->no_mask) {
        memcpy(at, payload.base, payload.len);
    } else {
        memcpy(at, &key, sizeof(key));
        at += sizeof(key);
        put_masked(at, payload, key);
    }
    play->out.len += (size_t)(at - begin) + payload.len;
    if (play->piece == PLAY_EACH_FRAME)
        play_send(play);
}

void play_frame(play_t *play, unsigned first, hub_str_t payload)
{
    play_frame_long(play, first, payload, payload.len < 126 ? 0 : payload.len < 65536 ? 2 : 8);
}

void play_bye(play_t *play, unsigned code, hub_str_t reason)
{
    char payload[256] = {(char)(code >> 8), (char)code};

    play->said_bye = true;
    if (code == 0 && reason.len == 0) {
        play_frame(play, PLAY_FIN | 8, HUB_STR(""));
        return;
    }
    memcpy(payload + 2, reason.base, reason.len);
    play_frame(play, PLAY_FIN | 8, hub_str_n(payload, 2 + reason.len));
}

void play_bytes(play_t *play, hub_str_t bytes)
{
    if (!is_wrong(play))
        hub__buffer_append(&play->out, bytes);
}

/* ---- bytes in and out ---- */

/* What waits is taken, and the end noticed. A reset is always wrong: it can take back what the
 * server said before. */
static void receive(play_t *play)
{
    ssize_t got = recv(play->fd, judge_room(&play->judge, READ_SIZE), READ_SIZE, MSG_DONTWAIT);

    if (got > 0)
        judge_received(&play->judge, (size_t)got);
    else if (got == 0)
        play->ended = true;
    else if (errno != EAGAIN && errno != EINTR)
        play_wrong(play, "the connection broke: %s", strerror(errno));
}

static bool wait_for(const play_t *play, short events, int ms, short *ret_events)
{
    struct pollfd poll_fd = {.fd = play->fd, .events = events};
    int ready;

    do
        ready = poll(&poll_fd, 1, ms);
    while (ready == -1 && errno == EINTR);
    *ret_events = poll_fd.revents;
    return ready > 0;
}

/* A server that answers before it has heard all must not find us deaf. Returns false where nothing
 * more can be sent: that the server has ended shows in what is read. */
static bool send_piece(play_t *play, hub_str_t bytes)
{
    short events;

    while (bytes.len > 0) {
        ssize_t sent = send(play->fd, bytes.base, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent > 0) {
            bytes.base += sent;
            bytes.len -= (size_t)sent;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return false;
        if (!wait_for(play, (short)(POLLOUT | (play->ended ? 0 : POLLIN)), play->patience_ms,
                      &events))
            play_wrong(play, "the server took nothing for %d ms", play->patience_ms);
        else if ((events & POLLIN) != 0)
            receive(play);
        if (is_wrong(play))
            return false;
    }
    return true;
}

/* A ping on another connection of a server with one worker: when it is answered, what was sent
 * before it has been read. */
static void ask_probe(play_t *play)
{
    play_frame(play->probe, PLAY_FIN | 9, HUB_STR(""));
    play_expect(play->probe, SAID_PONG, HUB_STR(""));
    if (is_wrong(play->probe))
        play_wrong(play, "between two pieces: %s", play->probe->fault);
}

void play_send(play_t *play)
{
    size_t piece = play->piece == PLAY_AT_ONCE ? SIZE_MAX : play->piece, at = 0, len;

    for (; at < play->out.len && !is_wrong(play); at += len) {
        len = play->out.len - at < piece ? play->out.len - at : piece;
        if (!send_piece(play, hub_str_n(play->out.base + at, len)))
            break;
        if (play->probe != NULL)
            ask_probe(play);
    }
    play->out.len = 0;
}

/* ---- the handshake ---- */

static int connect_to(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in name = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    char host[64];

    snprintf(host, sizeof(host), "%.*s", colon == NULL ? 0 : (int)(colon - address), address);
    if (colon != NULL && inet_pton(AF_INET, host, &name.sin_addr) == 1) {
        name.sin_port = htons((uint16_t)atoi(colon + 1));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
            return fd;
    }
    close(fd);
    return -1;
}

/* The value of the only field of this name; "" where there is none, or more than one. */
static void find_field(const char *head, const char *name, char *value, size_t size)
{
    size_t name_len = strlen(name), found = 0;

    value[0] = '\0';
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
            continue;
        line += name_len + 1 + strspn(line + name_len + 1, " \t");
        snprintf(value, size, "%.*s", found++ == 0 ? (int)strcspn(line, "\r") : 0, line);
    }
}

/* RFC 6455 4.1, what a client must check. */
static void check_welcome(play_t *play, const char *head)
{
    char value[200];

    if (strncmp(head, "HTTP/1.1 101 ", 13) != 0)
        play_wrong(play, "the handshake was answered with '%.*s'", (int)strcspn(head, "\r\n"),
                   head);
    find_field(head, "Upgrade", value, sizeof(value));
    if (strcasecmp(value, "websocket") != 0)
        play_wrong(play, "the 101 has Upgrade: '%s'", value);
    find_field(head, "Connection", value, sizeof(value));
    if (strcasecmp(value, "upgrade") != 0)
        play_wrong(play, "the 101 has Connection: '%s'", value);
    find_field(head, "Sec-WebSocket-Accept", value, sizeof(value));
    if (strcmp(value, KEY_ACCEPTED) != 0)
        play_wrong(play, "the 101 has Sec-WebSocket-Accept: '%s'", value);
    find_field(head, "Sec-WebSocket-Protocol", value, sizeof(value));
    if (value[0] != '\0')
        play_wrong(play, "the 101 has a subprotocol that was not asked for: '%s'", value);
    find_field(head, "Sec-WebSocket-Extensions", play->extensions, sizeof(play->extensions));
}

/* Takes the head of the answer from the front of what was received. */
static void take_welcome(play_t *play)
{
    hub__buffer_t *in = &play->judge.in;
    char head[2048], *end = NULL;
    short events;

    while (end == NULL && in->len < sizeof(head) && !play->ended && !is_wrong(play)) {
        if (!wait_for(play, POLLIN, play->patience_ms, &events))
            play_wrong(play, "no answer to the handshake for %d ms", play->patience_ms);
        else
            receive(play);
        end = in->len == 0 ? NULL : memmem(in->base, in->len, "\r\n\r\n", 4);
    }
    if (end == NULL) {
        play_wrong(play, "the handshake was not answered");
        return;
    }
    snprintf(head, sizeof(head), "%.*s", (int)(end + 2 - in->base), in->base);
    play->judge.taken = (size_t)(end + 4 - in->base);
    check_welcome(play, head);
}

void play_dial(play_t *play, const char *address, const char *extensions)
{
    char request[1024];

    play_over(play, connect_to(address));
    if (play->fd < 0) {
        play_wrong(play, "cannot connect to %s: %s", address, strerror(errno));
        return;
    }
    snprintf(request, sizeof(request),
             "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n%s%s%s\r\n",
             address, extensions == NULL ? "" : "Sec-WebSocket-Extensions: ",
             extensions == NULL ? "" : extensions, extensions == NULL ? "" : "\r\n");
    play_bytes(play, hub_str(request));
}

void play_welcome(play_t *play)
{
    play_send(play);
    if (!is_wrong(play))
        take_welcome(play);
}

void play_open(play_t *play, const char *address, const char *extensions)
{
    play_dial(play, address, extensions);
    play_welcome(play);
}

/* ---- hearing ---- */

static const char *const kinds[] = {
    [SAID_NOTHING] = "nothing", [SAID_TEXT] = "a text",   [SAID_BINARY] = "a binary message",
    [SAID_PING] = "a ping",     [SAID_PONG] = "a pong",   [SAID_CLOSE] = "a close",
    [SAID_END] = "the end",     [SAID_WRONG] = "a fault",
};

/* "a text of 5 bytes (68656c6c6f)" */
static const char *describe(const said_t *said, char *text, size_t size)
{
    size_t len = (size_t)snprintf(text, size, "%s", kinds[said->kind]);

    if (said->kind == SAID_END)
        return text;
    if (said->kind == SAID_CLOSE)
        len += (size_t)snprintf(text + len, size - len, " %u", said->code);
    len += (size_t)snprintf(text + len, size - len, " of %zu bytes (", said->payload.len);
    for (size_t i = 0; i < said->payload.len && i < SHOWN_BYTES; i++)
        len += (size_t)snprintf(text + len, size - len, "%02x",
                                (unsigned)(unsigned char)said->payload.base[i]);
    snprintf(text + len, size - len, "%s)", said->payload.len > SHOWN_BYTES ? "..." : "");
    return text;
}

/* Likewise with the place where equally long ones begin to differ. */
static void note_difference(play_t *play, const said_t *want, const said_t *got)
{
    char wanted[200], came[200];
    size_t at = 0;

    while (at < want->payload.len && at < got->payload.len &&
           want->payload.base[at] == got->payload.base[at])
        at++;
    play_wrong(play, "expected %s, got %s%s%zu", describe(want, wanted, sizeof(wanted)),
               describe(got, came, sizeof(came)),
               want->kind == got->kind ? "; they differ from byte " : "; equal bytes: ", at);
}

said_t play_hear(play_t *play)
{
    said_t said = {.kind = SAID_WRONG};
    short events;

    play_send(play);
    while (!is_wrong(play)) {
        said = judge_next(&play->judge);
        if (said.kind == SAID_NOTHING && play->ended)
            said = judge_end(&play->judge);
        if (said.kind == SAID_WRONG)
            play_wrong(play, "the server broke a rule: %s", said.fault);
        if (said.kind != SAID_NOTHING)
            return said;
        if (wait_for(play, POLLIN, play->patience_ms, &events))
            receive(play);
        else
            play_wrong(play, "no answer for %d ms", play->patience_ms);
    }
    return (said_t){.kind = SAID_WRONG};
}

void play_expect(play_t *play, said_kind_t kind, hub_str_t payload)
{
    said_t want = {.kind = kind, .payload = payload}, said = play_hear(play);

    if (!is_wrong(play) && (said.kind != kind || !hub_str_equals(said.payload, payload)))
        note_difference(play, &want, &said);
}

void play_expect_end(play_t *play, unsigned code)
{
    said_t said = play_hear(play);
    char text[200];

    if (is_wrong(play))
        return;
    if (said.kind != SAID_CLOSE || said.code != code)
        play_wrong(play, "expected a close %u, got %s", code, describe(&said, text, sizeof(text)));
    if (!play->said_bye)
        play_bye(play, said.code, HUB_STR(""));
    said = play_hear(play);
    if (!is_wrong(play) && said.kind != SAID_END)
        play_wrong(play, "expected the end of the connection, got %s",
                   describe(&said, text, sizeof(text)));
}

void play_expect_silence(play_t *play)
{
    short events;
    said_t said;
    char text[200];

    play_send(play);
    if (is_wrong(play))
        return;
    if (wait_for(play, POLLIN, SILENCE_MS, &events))
        receive(play);
    said = judge_next(&play->judge);
    if (said.kind != SAID_NOTHING || play->ended)
        play_wrong(play, "expected silence, got %s", describe(&said, text, sizeof(text)));
}
