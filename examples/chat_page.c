/* SPDX-License-Identifier: MIT */

/* The chat is one file that runs anywhere, so its pages are part of it. The assembler reads them as
 * they are: no tool and no generated source. Their folder comes from the build as CHAT_PAGE_DIR,
 * because with link-time optimisation this text is assembled far from here. phoenix.js is others'
 * and comes from npm, so that one file is read at the start. */

#include "chat_page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EMBED(name, file)                                                                          \
    extern const char name[];                                                                      \
    extern const uint64_t name##_size;                                                             \
    __asm__(".pushsection .rodata\n"                                                               \
            ".global " #name "\n" #name ":\n"                                                      \
            ".incbin \"" CHAT_PAGE_DIR "/" file "\"\n"                                             \
            "1: .balign 8\n"                                                                       \
            ".global " #name "_size\n" #name "_size:\n"                                            \
            ".quad 1b - " #name "\n"                                                               \
            ".popsection\n")

EMBED(chat_html, "chat.html");
EMBED(chat_css, "chat.css");
EMBED(chat_js, "chat.js");
EMBED(chat_phoenix_html, "chat_phoenix.html");
EMBED(chat_phoenix_js, "chat_phoenix.js");
EMBED(chat_no_phoenix_html, "chat_no_phoenix.html");

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"

struct file {
    const char *path, *type, *bytes; /* ends with a NULL path */
    uint64_t size;
};

static hub_status_t serve_files(hub_server_t *server, const struct file *file)
{
    hub_status_t err = HUB_OK;

    for (; err == HUB_OK && file->path != NULL; file++)
        err = hub_server_file(server, file->path, file->type,
                              hub_str_n(file->bytes, (size_t)file->size));
    return err;
}

/* The whole file, to be freed; NULL: errno says why. */
static char *read_file(const char *path, size_t *ret_size)
{
    enum { STEP = 65536 };
    FILE *file = fopen(path, "rb");
    char *bytes = NULL, *more;
    size_t size = 0, got = STEP;

    while (file != NULL && got == STEP && (more = realloc(bytes, size + STEP)) != NULL) {
        bytes = more;
        got = fread(bytes + size, 1, STEP, file);
        size += got;
    }
    if (file == NULL || got == STEP || ferror(file)) {
        int error = errno;

        free(bytes);
        bytes = NULL;
        errno = error;
    }
    if (file != NULL)
        fclose(file); /* was read only: nothing can be lost */
    *ret_size = size;
    return bytes;
}

static hub_status_t serve_phoenix(hub_server_t *server, const char *program, const char *path)
{
    size_t size;
    char *module = read_file(path, &size);
    hub_status_t err = HUB_ESYSTEM;

    if (module == NULL)
        fprintf(stderr, "%s: --phoenix '%s': %s\n", program, path, strerror(errno));
    else
        err = serve_files(server,
                          (const struct file[]){
                              {"/phoenix", HTML, chat_phoenix_html, chat_phoenix_html_size},
                              {"/chat_phoenix.js", SCRIPT, chat_phoenix_js, chat_phoenix_js_size},
                              {"/phoenix.js", SCRIPT, module, size},
                              {.path = NULL}});
    free(module);
    return err;
}

hub_status_t chat_page_serve(hub_server_t *server, const char *program, const char *phoenix)
{
    const struct file files[] = {{"/", HTML, chat_html, chat_html_size},
                                 {"/chat.css", CSS, chat_css, chat_css_size},
                                 {"/chat.js", SCRIPT, chat_js, chat_js_size},
                                 {.path = NULL}};
    const struct file none[] = {{"/phoenix", HTML, chat_no_phoenix_html, chat_no_phoenix_html_size},
                                {.path = NULL}};
    hub_status_t err = serve_files(server, files);

    if (err == HUB_OK)
        err = phoenix == NULL ? serve_files(server, none) : serve_phoenix(server, program, phoenix);
    return err;
}
