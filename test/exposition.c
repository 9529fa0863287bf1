/* SPDX-License-Identifier: MIT */
#include "test/exposition.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define FIGURES "0123456789"
#define NAME LOWER FIGURES "_"

struct reader {
    char *text; /* lines end with NUL as they are read */
    char name[128];
    char kind[16];
    const char *samples[64]; /* of this metric */
    size_t sample_count;
    const char *names[512]; /* of all so far */
    size_t name_count;
};

#define REQUIRE(condition, line)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("%s: %s", #condition, line);                                                  \
    } while (0)

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool is_among(const char *word, size_t len, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strlen(*words) == len && strncmp(*words, word, len) == 0)
            return true;
    return false;
}

/* As "promtool check metrics" does: base units, none abbreviated, no type in a name, and endings
 * that belong to histograms left to them. */
static void check_words(const char *name)
{
    static const char *const refused[] = {
        "s",       "ms",      "us",           "ns",           "sec",         "b",
        "kb",      "mb",      "gb",           "tb",           "pb",          "m",
        "h",       "d",       "milliseconds", "microseconds", "nanoseconds", "minutes",
        "hours",   "days",    "weeks",        "bits",         "kilobytes",   "megabytes",
        "percent", "counter", "gauge",        "histogram",    "summary",     NULL};

    for (const char *word = name; *word != '\0'; word += *word == '_') {
        size_t len = strcspn(word, "_");

        REQUIRE(!is_among(word, len, refused), name);
        word += len;
    }
    REQUIRE(!ends_with(name, "_count") && !ends_with(name, "_sum"), name);
    REQUIRE(!ends_with(name, "_bucket"), name);
}

static void read_help(struct reader *reader, char *line)
{
    char *name = line + strlen("# HELP "), *help = strchr(name, ' ');

    REQUIRE(help != NULL && help[1] != '\0' && strchr(help, '\\') == NULL, line);
    REQUIRE(reader->sample_count != 0 || reader->name_count == 0, line); /* of the one before */
    *help = '\0';
    REQUIRE(strspn(name, NAME) == strlen(name) && strspn(name, LOWER) != 0, name);
    check_words(name);
    for (size_t i = 0; i < reader->name_count; i++)
        REQUIRE(strcmp(reader->names[i], name) != 0, name);
    assert_in_range(reader->name_count, 0, 511);
    reader->names[reader->name_count++] = name;
    snprintf(reader->name, sizeof(reader->name), "%s", name);
    reader->kind[0] = '\0';
    reader->sample_count = 0;
}

static void read_type(struct reader *reader, const char *line)
{
    char name[128];

    REQUIRE(sscanf(line, "# TYPE %127s %15s", name, reader->kind) == 2, line);
    REQUIRE(strcmp(name, reader->name) == 0, line);
    REQUIRE(strcmp(reader->kind, "counter") == 0 || strcmp(reader->kind, "gauge") == 0, line);
    REQUIRE(ends_with(name, "_total") == (reader->kind[0] == 'c'), line);
}

/* name="value",… up to the brace; returns what is behind it. */
static const char *read_labels(const char *at, const char *line)
{
    do {
        at++;
        REQUIRE(strspn(at, LOWER) != 0, line);
        at += strspn(at, NAME);
        REQUIRE(at[0] == '=' && at[1] == '"', line);
        at += 2 + strcspn(at + 2, "\"\\");
        REQUIRE(*at == '"', line);
        at++;
    } while (*at == ',');
    REQUIRE(*at == '}', line);
    return at + 1;
}

/* Figures, and in seconds a point between them. */
static bool is_value(const char *text, bool seconds)
{
    size_t len = strspn(text, FIGURES);

    if (seconds && len > 0 && text[len] == '.')
        return text[len + 1] != '\0' && text[len + 1 + strspn(text + len + 1, FIGURES)] == '\0';
    return len > 0 && text[len] == '\0';
}

static void read_sample(struct reader *reader, char *line)
{
    size_t len = strspn(line, NAME);
    const char *at = line + len;
    char *space = strrchr(line, ' ');

    REQUIRE(reader->kind[0] != '\0' && len == strlen(reader->name), line);
    REQUIRE(strncmp(line, reader->name, len) == 0, line);
    if (*at == '{')
        at = read_labels(at, line);
    REQUIRE(at == space, line);
    REQUIRE(is_value(at + 1, ends_with(reader->name, "_seconds")), line);
    *space = '\0';
    for (size_t i = 0; i < reader->sample_count; i++)
        REQUIRE(strcmp(reader->samples[i], line) != 0, line);
    assert_in_range(reader->sample_count, 0, 63);
    reader->samples[reader->sample_count++] = line;
}

void exposition_check(const char *text)
{
    struct reader reader = {.text = strdup(text)};

    for (char *line = reader.text, *end; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        REQUIRE(end != NULL, line);
        *end = '\0';
        if (strncmp(line, "# HELP ", 7) == 0)
            read_help(&reader, line);
        else if (*line == '#')
            read_type(&reader, line);
        else
            read_sample(&reader, line);
    }
    assert_int_not_equal(reader.sample_count, 0);
    free(reader.text);
}

uint64_t exposition_value(const char *text, const char *sample)
{
    char line[256];
    const char *found;

    snprintf(line, sizeof(line), "\n%s ", sample);
    found = strstr(text, line);
    if (found == NULL)
        fail_msg("no %s in\n%s", sample, text);
    return strtoull(found + strlen(line), NULL, 10);
}
