/* bench/load/url.h - scheme://HOST:PORT/PATH taken apart. */
#pragma once

typedef struct url {
    char host[256], port[8], path[512]; /* path is "/" where there is none */
} url_t;

/* `option` is what a mistake is blamed on; it ends the program with OPTIONS_WRONG. */
void url_parse(url_t *ret_url, const char *option, const char *scheme, const char *text);
