#!/bin/sh
# format.sh CLANG_FORMAT SOURCE_DIR - every C file is as .clang-format wants it.
set -eu
cd "$2"
find bus channels hub examples test bench -name node_modules -prune -o \
    \( -name '*.[ch]' -o -name '*.cpp' \) -print0 | xargs -0 "$1" --dry-run -Werror
