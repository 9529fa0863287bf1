#!/bin/sh
# snippets.sh COMPILER SOURCE_DIR - the C in README.md compiles as it is printed, without a warning,
# and the first of it is examples/minimal.c. A snippet that includes nothing is a piece of a function
# that has `hub`, `bus`, `server`, `err` and `error`. Metrics that it names are there.
set -eu
compiler=$1 source=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

awk -v folder="$folder" '
    /^```c$/ { name = sprintf("%s/%02d.c", folder, ++count); next }
    /^```$/ { name = "" }
    name != "" { print >name }' "$source/README.md"
tail -n "$(wc -l <"$folder/01.c")" "$source/examples/minimal.c" |
    diff -u --label README.md --label examples/minimal.c "$folder/01.c" -
for snippet in "$folder"/*.c; do
    if ! grep -q '^#include' "$snippet"; then
        {
            echo '#include <stdio.h>'
            echo '#include <hub/hub.h>'
            echo 'static hub_status_t snippet(hub_t *hub, hub_bus_t *bus, hub_server_t *server,'
            echo '                            hub_status_t err, hub_error_t error)'
            echo '{'
            cat "$snippet"
            echo '(void)hub, (void)bus, (void)server, (void)error; return err; }'
            echo 'int main(void) { return snippet(NULL, NULL, NULL, HUB_OK, (hub_error_t){0}); }'
        } >"$folder/whole"
        mv "$folder/whole" "$snippet"
    fi
    "$compiler" -std=c11 -Wall -Wextra -Werror -fsyntax-only "-I$source" "$snippet"
done

# names as the lists have them: a bus's own, without "bus_" before and "_total" behind; times have
# another unit
grep -o 'sockethub_[a-z0-9_]*' "$source/README.md" | sed 's/^sockethub_//; s/^bus_$//' | sort -u |
    while read -r name; do
        own=${name#bus_}
        [ "$own" = "$name" ] || own=${own%_total}
        [ "$own" = "${own%_seconds}" ] || own=${own%_seconds}_[mu]s
        if [ -n "$name" ] && ! grep -q "X($own, " "$source/hub/metrics.h" "$source/hub/metrics.c"; then
            echo "README.md: there is no metric sockethub_$name"
            exit 1
        fi
    done
