/* SPDX-License-Identifier: MIT */

/* The chat is one file that runs anywhere, so its page is part of it. The assembler reads the three
 * files as they are: no tool and no generated source. Their folder comes from the build as
 * CHAT_PAGE_DIR, because with link-time optimisation this text is assembled far from here. */

#include "chat_page.h"

#define EMBED(name, file)                                                                          \
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
