#!/bin/bash
# test/analyze.sh [FILE]...
#
# Static analysis of the library, or of some of its files: gcc's -fanalyzer and cppcheck. Fails at what
# test/analyze.known does not list, a line each with its reason, and at a line there that nothing
# matches any more. A minute on two cores. What gcc finds differs from version to version: the list is
# that of Debian 12's gcc 12.2 and cppcheck 2.10, which it installs where they are missing.
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
esac
cd "$(dirname "$0")/.."
. test/packages.sh
install_packages $PACKAGES_BUILD cppcheck

all=no
if [ $# = 0 ]; then
    all=yes
    set -- bus/*.c channels/*.c hub/*.c
fi
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
flags="-std=gnu11 -O1 -I. -DH2O_USE_EPOLL=1 -DH2O_USE_LIBUV=0
    $(pkg-config --cflags libh2o-evloop libpcre2-8 libsodium openssl jansson zlib)"

# A finding is "<file> <function or -> <what>": lines move, these don't. gcc names the function in a
# line of its own, before.
analyze_one()
{
    local out

    out=$(LC_ALL=C gcc $flags -fanalyzer -S -o /dev/null "$1" 2>&1) || { echo "$out" >&2 && return 1; }
    awk -v file="$1" '
        match($0, /In function .[a-z_0-9A-Z]+/) {
            fn = substr($0, RSTART + 13, RLENGTH - 13); sub(/^[^a-z_A-Z]*/, "", fn)
        }
        / warning: / { what = $NF; gsub(/[][]/, "", what); print file, fn, what }
    ' <<<"$out"
}
export -f analyze_one
export flags

printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'analyze_one "$1"' _ {} >"$found/raw"
cppcheck --quiet -j "$(nproc)" --std=c11 --enable=warning,performance,portability -I. \
    --suppress=missingIncludeSystem -DH2O_USE_LIBUV=0 --template='{file} - {id}' "$@" \
    2>>"$found/raw"
sort -u "$found/raw" >"$found/new"

status=0
sed -n '/^#/d; s/ *| .*//p' test/analyze.known | sort -u >"$found/known"
while read -r line; do
    echo "new: $line"
    status=1
done < <(comm -23 "$found/new" "$found/known")
if [ $all = yes ]; then
    while read -r line; do
        echo "test/analyze.known: nothing is found here any more: $line"
        status=1
    done < <(comm -13 "$found/new" "$found/known")
fi
echo "$# files, $(wc -l <"$found/new") findings, $(comm -12 "$found/new" "$found/known" | wc -l) of them known"
exit $status
