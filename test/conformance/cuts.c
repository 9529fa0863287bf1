/* SPDX-License-Identifier: MIT */

/* TCP carries bytes, not frames (RFC 6455 5): one conversation, cut at every byte, in pieces of
 * every size and as one segment, sounds the same. The kernel would join what is sent in pieces, so
 * the server is asked on another connection whether it has read each. */

#include "test/conformance/suite.h"

static void say_all(play_t *play)
{
    static const char bytes[] =
        "a payload that is longer than the 125 bytes which a length of seven "
        "bits can count, so that two more bytes are needed to count it";

    play_frame(play, 0x81, HUB_STR("caf\xC3\xA9"));
    play_frame(play, 0x01, HUB_STR("one"));
    play_frame(play, 0x89, HUB_STR("ping"));
    play_frame(play, 0x80, HUB_STR("two"));
    play_frame(play, 0x82, hub_str_n(bytes, sizeof(bytes) - 1));
    play_frame(play, 0x8A, HUB_STR(""));
    play_frame(play, 0x81, HUB_STR(""));
    play_bye(play, 3000, HUB_STR("bye"));
}

static void hear_all(play_t *play)
{
    static const char bytes[] =
        "a payload that is longer than the 125 bytes which a length of seven "
        "bits can count, so that two more bytes are needed to count it";

    play_expect(play, SAID_TEXT, HUB_STR("caf\xC3\xA9"));
    play_expect(play, SAID_PONG, HUB_STR("ping"));
    play_expect(play, SAID_TEXT, HUB_STR("onetwo"));
    play_expect(play, SAID_BINARY, hub_str_n(bytes, sizeof(bytes) - 1));
    play_expect(play, SAID_TEXT, HUB_STR(""));
    play_expect_end(play, 3000);
}

static size_t measure(void)
{
    play_t play;
    size_t len;

    play_over(&play, -1);
    say_all(&play);
    len = play.out.len;
    play_dispose(&play);
    return len;
}

static void play_cut(suite_t *suite, play_t *probe, size_t at)
{
    play_t *play = &suite->play;
    hub__buffer_t all;

    if (!suite_begin(suite, "rfc 5", NULL, "cut behind byte %zu", at))
        return;
    play->probe = probe;
    say_all(play);
    all = play->out;
    play->out = (hub__buffer_t){0};
    play_bytes(play, hub_str_n(all.base, at));
    play_send(play);
    play_bytes(play, hub_str_n(all.base + at, all.len - at));
    hear_all(play);
    suite_end(suite);
    hub__buffer_dispose(&all);
}

static void play_pieces(suite_t *suite, play_t *probe, size_t piece)
{
    if (!suite_begin(suite, "rfc 5", NULL, "in pieces of %zu%s",
                     piece == PLAY_EACH_FRAME ? 0 : piece,
                     piece == PLAY_EACH_FRAME ? ": frame by frame" : ""))
        return;
    suite->play.probe = probe;
    suite->play.piece = piece;
    say_all(&suite->play);
    hear_all(&suite->play);
    suite_end(suite);
}

/* A client need not wait for the 101, though it can't know how it will end. */
static void play_with_handshake(suite_t *suite, play_t *probe, size_t piece)
{
    if (!suite_begin(suite, "rfc 5", NULL, "behind the handshake, in pieces of %zu", piece))
        return;
    play_dispose(&suite->play);
    play_dial(&suite->play, suite->address, NULL);
    suite->play.probe = piece == PLAY_AT_ONCE ? NULL : probe;
    suite->play.piece = piece;
    say_all(&suite->play);
    play_welcome(&suite->play);
    hear_all(&suite->play);
    suite_end(suite);
}

void play_cuts(suite_t *suite)
{
    size_t len = measure();
    play_t probe = {.fd = -1};

    if (suite->address != NULL)
        play_open(&probe, suite->address, NULL);
    for (size_t at = 0; at <= len; at++)
        play_cut(suite, &probe, at);
    for (size_t piece = 1; piece < 40; piece++)
        play_pieces(suite, &probe, piece);
    play_pieces(suite, &probe, PLAY_EACH_FRAME);
    play_with_handshake(suite, &probe, PLAY_AT_ONCE);
    play_with_handshake(suite, &probe, 1);
    play_with_handshake(suite, &probe, 7);
    play_dispose(&probe);
}
