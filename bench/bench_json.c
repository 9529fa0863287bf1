/* SPDX-License-Identifier: MIT */
/* How fast is JSON scanned? GB/s by what a document of `--bytes` is made of, against jansson's
 * parser and against memcpy() of the same bytes. At least 0.3 of memcpy() is the promise for ASCII
 * strings; what is made of short pieces is bound by their number, not by their bytes.
 *
 * `portable` is what scans on machines without vector instructions that we know. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/portable.h"
#include "bench/report.h"
#include "bench/rounds.h"
#include "bus/json.h"

#define BYTES_MAX 16777216

/* A document is an array of the same element again and again; or, where it has no values, of one
 * string of it that is as long as the document. */
typedef struct kind {
    const char *name, *element;
    size_t values; /* of the array, in an element */
} kind_t;

static const kind_t kinds[] = {
    {"ascii", "The quick brown fox jumps over the lazy dog, and so on. ", 0},
    {"ascii_64", "\"The quick brown fox jumps over the lazy dog, and then over more.\"", 1},
    {"ascii_8", "\"the dog.\"", 1},
    {"numbers", "-1234.5e6,17,1700000000,0.25", 4},
    {"escapes", "a\\nb\\u00e9 \\\"quoted\\\" ", 0},
    {"utf8",
     "Gr\xc3\xbc\xc3\x9f"
     "e \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80 ",
     0},
    {"nested", "{\"a\":{\"b\":[[1,2],{\"c\":null}]},\"d\":true}", 1},
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))
#define FIGURES 7

static struct {
    const kind_t *kind;
    char *text, *copy;
    size_t len, elements;
} document;

/* As many elements as fit; the last few bytes are an x each within a string, spaces elsewhere. */
static void write_document(const kind_t *kind, size_t bytes)
{
    const bool is_string = kind->values == 0;
    const char *tail = is_string ? "\"]" : "]";
    char *end = document.text + bytes - strlen(tail);
    size_t element = strlen(kind->element);
    char *at = document.text;

    document.kind = kind;
    document.len = bytes;
    document.elements = 0;
    at = stpcpy(at, is_string ? "[\"" : "[");
    while (at + element < end) {
        if (!is_string && document.elements != 0)
            *at++ = ',';
        at = stpcpy(at, kind->element);
        ++document.elements;
    }
    memset(at, is_string ? 'x' : ' ', (size_t)(end - at));
    memcpy(end, tail, strlen(tail));
}

static void scan(void *user)
{
    hub_json_value_t value;
    hub_error_t error;

    (void)user;
    if (hub_json_scan(hub_str_n(document.text, document.len), 0, &value, &error) != HUB_OK)
        bench_fail("%s: %s", document.kind->name, error.text);
    if (value.kind != HUB_JSON_ARRAY || value.raw.base != document.text)
        bench_fail("%s: scanned as something else", document.kind->name);
}

static void scan_portably(void *user)
{
    (void)user;
    if (portable_json_scan(hub_str_n(document.text, document.len)) != HUB_OK)
        bench_fail("%s: refused by the portable scanner", document.kind->name);
}

static void load(void *user)
{
    json_t *json = json_loadb(document.text, document.len, 0, NULL);

    (void)user;
    if (json == NULL || json_array_size(json) == 0)
        bench_fail("%s: jansson refuses it", document.kind->name);
    json_decref(json);
}

static void copy(void *user)
{
    (void)user;
    memcpy(document.copy, document.text, document.len);
    if (document.copy[document.len - 1] != document.text[document.len - 1])
        bench_fail("%s: not copied", document.kind->name);
}

/* By a second way, with the cursor: there are as many values as were written. */
static void count_values(void)
{
    size_t written = document.kind->values == 0 ? 1 : document.elements * document.kind->values;
    size_t found = 0;
    hub_json_cursor_t cursor;
    hub_json_value_t value;
    hub_status_t err = hub_json_open(&cursor, hub_str_n(document.text, document.len),
                                     HUB_JSON_ARRAY, HUB_JSON_DEPTH_DEFAULT);

    while (err == HUB_OK && (err = hub_json_next(&cursor, NULL, &value)) == HUB_OK)
        ++found;
    if (err != HUB_ENOTFOUND || found != written)
        bench_fail("%s: %zu values were written, %zu found", document.kind->name, written, found);
}

/* Lasts as long as the report. */
static const char *figure_name(const char *figure)
{
    static char names[KINDS][FIGURES][40];
    size_t kind = (size_t)(document.kind - kinds);

    for (size_t i = 0; i != FIGURES; ++i) {
        if (names[kind][i][0] == '\0')
            snprintf(names[kind][i], sizeof(names[kind][i]), "%s_%s", document.kind->name, figure);
        if (strcmp(names[kind][i] + strlen(document.kind->name) + 1, figure) == 0)
            return names[kind][i];
    }
    bench_fail("more than %d figures", FIGURES);
}

static void compare(report_t *report, double seconds)
{
    contender_t contenders[] = {
        {.once = scan, .ops = document.len},
        {.once = scan_portably, .ops = document.len},
        {.once = load, .ops = document.len},
        {.once = copy, .ops = document.len},
    };
    double scanned;

    count_values();
    rounds_take(contenders, 4, seconds);
    scanned = contenders[0].ns;
    report_add(report, figure_name("scan_gb_per_s"), 1 / scanned);
    report_add(report, figure_name("portable_gb_per_s"), 1 / contenders[1].ns);
    report_add(report, figure_name("jansson_gb_per_s"), 1 / contenders[2].ns);
    report_add(report, figure_name("memcpy_gb_per_s"), 1 / contenders[3].ns);
    report_add(report, figure_name("scan_of_memcpy"), contenders[3].ns / scanned);
    report_add(report, figure_name("scan_of_jansson"), contenders[2].ns / scanned);
}

int main(int argc, char **argv)
{
    unsigned long bytes = 16384, seconds = 3, runs = 5;
    const report_option_t options[] = {
        {"bytes", "of a document", &bytes, 128, BYTES_MAX, NULL, NULL},
        {"seconds", "of each run", &seconds, 1, 3600, NULL, NULL},
        {"runs", "measured one after another", &runs, 1, REPORT_RUNS_MAX, NULL, NULL},
        {NULL, NULL, NULL, 0, 0, NULL, NULL}};
    report_t *report = report_open("json", argc, argv, options);

    document.text = malloc(bytes + 1);
    document.copy = malloc(bytes);
    if (document.text == NULL || document.copy == NULL)
        bench_fail("out of memory");
    bench_pin(1);
    for (unsigned long run = 0; run != runs; ++run) {
        for (size_t i = 0; i != KINDS; ++i) {
            write_document(&kinds[i], bytes);
            compare(report, (double)seconds / KINDS);
        }
    }
    free(document.copy);
    free(document.text);
    report_print(report);
    report_close(report);
    return EXIT_SUCCESS;
}
