/* examples/chat_page.h - the chat's web pages: the ordinary one, and the one through phoenix.js. */
#pragma once

#include <hub/hub.h>

/* Serves both from memory. `phoenix` is the path of phoenix.js's module, phoenix.mjs in its npm
 * package, which is read now; NULL: its page says what is missing. What is wrong with the file is
 * told on stderr, in the name of `program`. */
hub_status_t chat_page_serve(hub_server_t *server, const char *program, const char *phoenix);
