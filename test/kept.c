/* SPDX-License-Identifier: MIT */
/* The keeper holds a lock on the file with the address, so a file that nobody locks is of one that
 * is gone. */
#include "test/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

void kept_broker_path(broker_kind_t kind, char *ret_path, size_t size)
{
    const char *folder = getenv("SOCKETHUB_APPS");

    snprintf(ret_path, size, "%s/kept-%s", folder == NULL ? BROKER_BUILD : folder,
             broker_name(kind));
}

/* 0: there is none. */
static pid_t read_file(broker_kind_t kind, char ret_url[256])
{
    char path[512];
    int pid = 0;
    FILE *file;

    kept_broker_path(kind, path, sizeof(path));
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (flock(fileno(file), LOCK_SH | LOCK_NB) == 0 || fscanf(file, "%d %255s", &pid, ret_url) != 2)
        pid = 0;
    fclose(file);
    return pid;
}

char *kept_broker_url(broker_kind_t kind)
{
    char url[256];

    return read_file(kind, url) > 0 ? strdup(url) : NULL;
}

pid_t kept_broker_keeper(broker_kind_t kind)
{
    char url[256];

    return read_file(kind, url);
}
