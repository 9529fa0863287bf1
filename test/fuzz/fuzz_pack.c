/* SPDX-License-Identifier: MIT */
/* Turns folders of inputs, a file each, into one packed file and back (pack.h). For test/fuzz.sh.
 *
 *     fuzz_pack pack FOLDER > FILE      sorted, shortest first; the empty input is left out
 *     fuzz_pack unpack FILE FOLDER */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "test/fuzz/pack.h"

static int compare(const void *left, const void *right)
{
    hub_str_t a = *(const hub_str_t *)left, b = *(const hub_str_t *)right;

    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return memcmp(a.base, b.base, a.len);
}

static int pack(const char *folder)
{
    DIR *dir = opendir(folder);
    hub__buffer_t text = {0};
    hub_str_t *inputs = NULL;
    const struct dirent *entry;
    size_t count = 0;
    char path[1024];
    bool written;

    if (dir == NULL) {
        perror(folder);
        return EXIT_FAILURE;
    }
    while ((entry = readdir(dir)) != NULL) {
        struct stat status;

        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (stat(path, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
            continue;
        inputs = hub__realloc(inputs, (count + 1) * sizeof(*inputs));
        inputs[count++] = pack_read(path);
    }
    closedir(dir);
    if (count != 0)
        qsort(inputs, count, sizeof(*inputs), compare);
    for (size_t i = 0; i != count; ++i) {
        pack_append(&text, inputs[i]);
        free((char *)(uintptr_t)inputs[i].base);
    }
    free(inputs);
    written = text.len == 0 || fwrite(text.base, 1, text.len, stdout) == text.len;
    hub__buffer_dispose(&text);
    return written ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int unpack(const char *packed, const char *folder)
{
    hub_str_t whole = pack_read(packed), text = whole, input;
    char *buffer = hub__alloc(text.len + 1), path[1024];
    size_t line = 0;

    while (pack_next(&text, &line, buffer, &input)) {
        FILE *file;

        snprintf(path, sizeof(path), "%s/%05zu", folder, line);
        file = fopen(path, "wbe");
        if (file == NULL || fwrite(input.base, 1, input.len, file) != input.len ||
            fclose(file) != 0) {
            perror(path);
            exit(EXIT_FAILURE);
        }
    }
    free(buffer);
    free((char *)(uintptr_t)whole.base);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "pack") == 0)
        return pack(argv[2]);
    if (argc == 4 && strcmp(argv[1], "unpack") == 0)
        return unpack(argv[2], argv[3]);
    fprintf(stderr, "fuzz_pack pack FOLDER | fuzz_pack unpack FILE FOLDER\n");
    return EXIT_FAILURE;
}
