/* SPDX-License-Identifier: MIT */

/* Each rule stands where it is broken first, with its section of RFC 6455, and its text is what a
 * failing case says. */

#include "test/conformance/judge.h"

#include <stdlib.h>

struct head {
    size_t len; /* of the head itself */
    uint64_t payload_len;
    unsigned opcode;
    bool fin, rsv1;
};

char *judge_room(judge_t *judge, size_t size)
{
    if (judge->taken == judge->in.len)
        judge->taken = judge->in.len = 0;
    return hub__buffer_reserve(&judge->in, size);
}

void judge_received(judge_t *judge, size_t len)
{
    judge->in.len += len;
}

void judge_dispose(judge_t *judge)
{
    hub__buffer_dispose(&judge->in);
    hub__buffer_dispose(&judge->message);
}

/* ---- UTF-8, from the table of RFC 3629 4 ---- */

struct lead {
    unsigned char first, last; /* lead bytes */
    unsigned char more;        /* bytes behind it */
    unsigned char low, high;   /* of the first of those; the others are 80-BF */
};

static const struct lead leads[] = {
    {0x00, 0x7F, 0, 0x00, 0x00}, {0xC2, 0xDF, 1, 0x80, 0xBF}, {0xE0, 0xE0, 2, 0xA0, 0xBF},
    {0xE1, 0xEC, 2, 0x80, 0xBF}, {0xED, 0xED, 2, 0x80, 0x9F}, {0xEE, 0xEF, 2, 0x80, 0xBF},
    {0xF0, 0xF0, 3, 0x90, 0xBF}, {0xF1, 0xF3, 3, 0x80, 0xBF}, {0xF4, 0xF4, 3, 0x80, 0x8F},
};

static const struct lead *find_lead(unsigned char byte)
{
    for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++) {
        if (byte >= leads[i].first && byte <= leads[i].last)
            return &leads[i];
    }
    return NULL;
}

/* Whether the next eight bytes are ASCII, which needs no look at each. */
static bool are_ascii(hub_str_t text, size_t at)
{
    uint64_t word;

    if (text.len - at < sizeof(word))
        return false;
    memcpy(&word, text.base + at, sizeof(word));
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

size_t judge_utf8(hub_str_t text, bool *ret_complete)
{
    const unsigned char *bytes = (const unsigned char *)text.base;
    size_t at = 0;

    *ret_complete = true;
    while (at < text.len) {
        const struct lead *lead;

        if (are_ascii(text, at)) {
            at += 8;
            continue;
        }
        lead = find_lead(bytes[at]);
        *ret_complete = false;
        if (lead == NULL)
            return at;
        at++;
        for (unsigned i = 0; i < lead->more; i++, at++) {
            unsigned char low = i == 0 ? lead->low : 0x80, high = i == 0 ? lead->high : 0xBF;

            if (at == text.len || bytes[at] < low || bytes[at] > high)
                return at;
        }
        *ret_complete = true;
    }
    return at;
}

static bool is_utf8(hub_str_t text)
{
    bool complete;

    return judge_utf8(text, &complete) == text.len && complete;
}

bool judge_may_send(unsigned code)
{
    static const unsigned char of_1000[] = {1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0};

    if (code >= 1000 && code < 1000 + sizeof(of_1000))
        return of_1000[code - 1000];
    return code >= 3000 && code <= 4999;
}

/* ---- frames ---- */

static said_t wrong(judge_t *judge, const char *fault)
{
    judge->wrong = true;
    return (said_t){.kind = SAID_WRONG, .fault = fault};
}

static const char *fault_of_rsv(const judge_t *judge, unsigned first, bool data_begins)
{
    if ((first & 0x30) != 0)
        return "RSV2 or RSV3 is set (5.2)";
    if ((first & 0x40) != 0 && judge->inflate == NULL)
        return "RSV1 is set though no extension was agreed on (5.2)";
    if ((first & 0x40) != 0 && !data_begins)
        return "RSV1 is set on a frame that begins no message (RFC 7692 6.1)";
    return NULL;
}

static const char *fault_of_order(const judge_t *judge, const struct head *head)
{
    if (head->opcode >= 8) {
        if (!head->fin)
            return "a control frame is fragmented (5.5)";
        return head->payload_len > 125 ? "a control frame is longer than 125 bytes (5.5)" : NULL;
    }
    if (head->opcode == 0 && judge->opcode == 0)
        return "a continuation without a message (5.4)";
    if (head->opcode != 0 && judge->opcode != 0)
        return "a new message within a fragmented one (5.4)";
    return NULL;
}

static uint64_t read_number(const unsigned char *bytes, size_t len)
{
    uint64_t number = 0;

    while (len-- > 0)
        number = number * 256 + *bytes++;
    return number;
}

/* False: the head has not arrived as a whole. */
static bool read_head(judge_t *judge, struct head *head, const char **fault)
{
    const unsigned char *bytes = (const unsigned char *)judge->in.base + judge->taken;
    size_t have = judge->in.len - judge->taken;
    unsigned short_len = have < 2 ? 0 : bytes[1] & 0x7F;
    size_t extended = short_len == 126 ? 2 : short_len == 127 ? 8 : 0;

    if (have < 2 + extended)
        return false;
    head->len = 2 + extended;
    head->fin = (bytes[0] & 0x80) != 0;
    head->rsv1 = (bytes[0] & 0x40) != 0;
    head->opcode = bytes[0] & 0x0F;
    head->payload_len = extended == 0 ? short_len : read_number(bytes + 2, extended);
    *fault = fault_of_rsv(judge, bytes[0], head->opcode == 1 || head->opcode == 2);
    if (*fault == NULL && ((head->opcode > 2 && head->opcode < 8) || head->opcode > 10))
        *fault = "a reserved opcode (5.2)";
    if (*fault == NULL && (bytes[1] & 0x80) != 0)
        *fault = "a frame from the server is masked (5.1)";
    if (*fault == NULL && (head->payload_len >> 63) != 0)
        *fault = "a length with its top bit set (5.2)";
    if (*fault == NULL && ((extended == 2 && head->payload_len < 126) ||
                           (extended == 8 && head->payload_len < 65536)))
        *fault = "a length that is not in its shortest form (5.2)";
    if (*fault == NULL)
        *fault = fault_of_order(judge, head);
    return true;
}

static said_t judge_close(judge_t *judge, hub_str_t payload)
{
    said_t said = {.kind = SAID_CLOSE};

    judge->closed = true;
    if (payload.len == 0)
        return said;
    if (payload.len == 1)
        return wrong(judge, "a close frame with a single byte (5.5.1)");
    said.code = (unsigned)read_number((const unsigned char *)payload.base, 2);
    said.payload = hub_str_n(payload.base + 2, payload.len - 2);
    if (!judge_may_send(said.code))
        return wrong(judge, "a close code that is not to be sent (7.4)");
    if (!is_utf8(said.payload))
        return wrong(judge, "a close reason that is not UTF-8 (5.5.1)");
    return said;
}

static said_t judge_message(judge_t *judge, unsigned opcode, bool compressed, hub_str_t payload)
{
    said_t said = {.kind = opcode == 1 ? SAID_TEXT : SAID_BINARY, .payload = payload};
    const char *fault = NULL;

    judge->opcode = 0;
    if (compressed) {
        judge->compressed_messages++;
        fault = judge->inflate(judge->user, payload, &said.payload);
    }
    if (fault != NULL)
        return wrong(judge, fault);
    if (opcode == 1 && !is_utf8(said.payload))
        return wrong(judge, "a text that is not UTF-8 (5.6)");
    return said;
}

/* SAID_NOTHING here: the message goes on. */
static said_t judge_data(judge_t *judge, const struct head *head, hub_str_t payload)
{
    if (head->opcode != 0 && head->fin)
        return judge_message(judge, head->opcode, head->rsv1, payload);
    if (head->opcode != 0) {
        judge->opcode = head->opcode;
        judge->compressed = head->rsv1;
        judge->message.len = 0;
    }
    hub__buffer_append(&judge->message, payload);
    if (!head->fin)
        return (said_t){.kind = SAID_NOTHING};
    return judge_message(judge, judge->opcode, judge->compressed, hub__buffer_str(&judge->message));
}

static said_t judge_frame(judge_t *judge, const struct head *head, hub_str_t payload)
{
    judge->frames++;
    switch (head->opcode) {
    case 8:
        return judge_close(judge, payload);
    case 9:
        return (said_t){.kind = SAID_PING, .payload = payload};
    case 10:
        return (said_t){.kind = SAID_PONG, .payload = payload};
    default:
        return judge_data(judge, head, payload);
    }
}

said_t judge_next(judge_t *judge)
{
    said_t said = {.kind = SAID_NOTHING};
    const char *fault = NULL;
    struct head head;
    hub_str_t payload;

    if (judge->wrong)
        return wrong(judge, "something behind what was wrong already");
    do {
        if (judge->closed && judge->taken < judge->in.len)
            return wrong(judge, "bytes behind the close frame (5.5.1)");
        if (!read_head(judge, &head, &fault))
            return said;
        if (fault != NULL)
            return wrong(judge, fault);
        if (judge->in.len - judge->taken - head.len < head.payload_len)
            return said;
        payload = hub_str_n(judge->in.base + judge->taken + head.len, (size_t)head.payload_len);
        judge->taken += head.len + payload.len;
        said = judge_frame(judge, &head, payload);
    } while (said.kind == SAID_NOTHING);
    return said;
}

said_t judge_end(judge_t *judge)
{
    if (!judge->closed)
        return wrong(judge, "the connection ended without a close frame (7.1.1)");
    return (said_t){.kind = SAID_END};
}
