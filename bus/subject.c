/* SPDX-License-Identifier: MIT */
#include "bus/subject.h"

static const char digits[] = "0123456789ABCDEF";

static bool is_plain(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-' || byte == ':' || byte == '~';
}

bool hub__subject_encode(hub_str_t topic, char subject[HUB__SUBJECT_BYTES + 1])
{
    char *at = subject;

    if (topic.len == 0 || topic.len > HUB__SUBJECT_TOPIC_BYTES)
        return false;
    for (size_t i = 0; i < topic.len; i++) {
        unsigned char byte = (unsigned char)topic.base[i];

        if (is_plain(byte)) {
            *at++ = (char)byte;
        } else {
            *at++ = '%';
            *at++ = digits[byte >> 4];
            *at++ = digits[byte & 15];
        }
    }
    *at = '\0';
    return true;
}

/* 16: none. */
static unsigned digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    return c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10) : 16;
}

/* The bytes that one byte of the topic takes here; 0: it is none. */
static size_t decode_byte(hub_str_t rest, char *ret_byte)
{
    unsigned high, low;

    if (*rest.base != '%') {
        *ret_byte = *rest.base;
        return is_plain((unsigned char)*rest.base);
    }
    if (rest.len < 3)
        return 0;
    high = digit(rest.base[1]);
    low = digit(rest.base[2]);
    *ret_byte = (char)(high << 4 | low);
    return high > 15 || low > 15 || is_plain((unsigned char)*ret_byte) ? 0 : 3;
}

hub_str_t hub__subject_decode(hub_str_t subject, char topic[HUB__SUBJECT_TOPIC_BYTES])
{
    size_t len = 0, step;

    for (size_t i = 0; i < subject.len; i += step) {
        if (len == HUB__SUBJECT_TOPIC_BYTES)
            return hub_str(NULL);
        step = decode_byte(hub_str_n(subject.base + i, subject.len - i), &topic[len++]);
        if (step == 0)
            return hub_str(NULL);
    }
    return len == 0 ? hub_str(NULL) : hub_str_n(topic, len);
}
