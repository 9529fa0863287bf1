/* examples/chat_page.h - the chat's web page, in memory: the three files beside it, built in. */
#pragma once

#include <stdint.h>

extern const char chat_html[], chat_css[], chat_js[];
extern const uint64_t chat_html_size, chat_css_size, chat_js_size;
