/* SPDX-License-Identifier: MIT */
#include "bus/subject.h"

#define PROBE "/probe/"
#define PROBE_SUBJECT ".probe."

static const char digits[] = "0123456789ABCDEF";

static bool is_name(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-';
}

static bool is_plain(unsigned char byte)
{
    return is_name(byte) || byte == ':' || byte == '~';
}

/* Of the name of the bus at the beginning; 0: there is none. */
static size_t name_bytes(hub_str_t text)
{
    size_t len = 0;

    while (len < text.len && is_name((unsigned char)text.base[len]))
        len++;
    return len > HUB__SUBJECT_NAME_BYTES ? 0 : len;
}

static hub_str_t behind(hub_str_t text, size_t bytes)
{
    return hub_str_n(text.base + bytes, text.len - bytes);
}

static char *append(char *at, hub_str_t text)
{
    memcpy(at, text.base, text.len);
    return at + text.len;
}

static char *append_escaped(char *at, hub_str_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.base[i];

        if (is_plain(byte)) {
            *at++ = (char)byte;
        } else {
            *at++ = '%';
            *at++ = digits[byte >> 4];
            *at++ = digits[byte & 15];
        }
    }
    return at;
}

bool hub__subject_encode(hub_str_t topic, bool ordered, char subject[HUB__SUBJECT_BYTES + 1])
{
    size_t name = name_bytes(topic);
    hub_str_t tail = behind(topic, name), mark = ordered ? HUB_STR(".order.") : HUB_STR(".");
    char *at;

    if (name == 0)
        return false;
    if (hub_str_starts_with(tail, HUB_STR(PROBE))) {
        tail = behind(tail, sizeof(PROBE) - 1);
        mark = HUB_STR(PROBE_SUBJECT);
    } else if (hub_str_starts_with(tail, HUB_STR(":"))) {
        tail = behind(tail, 1);
    } else {
        return false;
    }
    if (tail.len == 0 || tail.len > HUB__SUBJECT_TAIL_BYTES)
        return false;
    at = append(append(subject, hub_str_n(topic.base, name)), mark);
    *append_escaped(at, tail) = '\0';
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

/* The end of what was written; NULL: it is no topic. */
static char *append_unescaped(char *at, hub_str_t text)
{
    size_t len = 0, step;

    for (size_t i = 0; i < text.len; i += step) {
        if (len++ == HUB__SUBJECT_TAIL_BYTES)
            return NULL;
        step = decode_byte(behind(text, i), at++);
        if (step == 0)
            return NULL;
    }
    return len == 0 ? NULL : at;
}

hub_str_t hub__subject_decode(hub_str_t subject, char topic[HUB__SUBJECT_TOPIC_BYTES])
{
    size_t name = name_bytes(subject);
    hub_str_t tail = behind(subject, name), mark = HUB_STR(":");
    char *at;

    if (name == 0)
        return hub_str(NULL);
    if (hub_str_starts_with(tail, HUB_STR(PROBE_SUBJECT))) {
        tail = behind(tail, sizeof(PROBE_SUBJECT) - 1);
        mark = HUB_STR(PROBE);
    } else if (hub_str_starts_with(tail, HUB_STR("."))) {
        tail = behind(tail, 1);
    } else {
        return hub_str(NULL);
    }
    at = append_unescaped(append(append(topic, hub_str_n(subject.base, name)), mark), tail);
    return at == NULL ? hub_str(NULL) : hub_str_n(topic, (size_t)(at - topic));
}
