#!/bin/sh
# limits.sh TABLE SOURCE_DIR [--write] - the tables of limits in the README are those of
# hub/limits.h, as the program TABLE (test/limits/table.c) prints them; --write makes it so.
set -eu
readme=$2/README.md
want=$(mktemp) got=$(mktemp)
trap 'rm -f "$want" "$got"' EXIT
"$1" >"$want"
for marker in begin end; do
    [ "$(grep -cx "<!-- limits: $marker.* -->" "$readme")" = 1 ] || {
        echo "README.md: wants one line <!-- limits: $marker -->"
        exit 1
    }
done
if [ "${3-}" = --write ]; then
    awk -v table="$want" '
        /^<!-- limits: end/ { inside = 0 }
        !inside { print }
        /^<!-- limits: begin/ { inside = 1; while ((getline line < table) > 0) print line }
    ' "$readme" >"$got"
    cat "$got" >"$readme"
    exit 0
fi
awk '/^<!-- limits: end/ { exit } inside { print } /^<!-- limits: begin/ { inside = 1 }' \
    "$readme" >"$got"
if ! diff -u --label README.md --label hub/limits.h "$got" "$want"; then
    echo "README.md does not say what hub/limits.h does: ninja -C build/dev limits-table"
    exit 1
fi
