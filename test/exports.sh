#!/bin/sh
# exports.sh NM SHARED STATIC - every name that a program linking to the library could collide with
# begins with hub_; the static library also carries our private hub__ ones, which are hidden. ASan
# gives each variable a second name of its own, which no program has.
set -eu
nm=$1 shared=$2 static=$3

exported=$("$nm" --dynamic --defined-only --format=posix "$shared" | cut -d' ' -f1 | sort -u)
defined=$("$nm" --extern-only --defined-only --format=posix "$static" |
    awk 'NF >= 2 && $1 !~ /^__odr_asan\.hub_/ { print $1 }' | sort -u)
bad=$(
    printf '%s\n' "$exported" | grep -vE '^hub_[a-z0-9]' || true
    printf '%s\n' "$defined" | grep -v '^hub_' || true
)
if [ -n "$bad" ]; then
    echo "not hub_*, but visible:"
    echo "$bad"
    exit 1
fi
for name in hub_create hub_run hub_destroy; do
    echo "$exported" | grep -qx "$name" || { echo "$name is not exported"; exit 1; }
done
echo "$(echo "$exported" | wc -l) names exported, all hub_*"
