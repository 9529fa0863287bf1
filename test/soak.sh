#!/bin/bash
# test/soak.sh [MINUTES] [--asan] [--seed N] [--cycle SECONDS]
#
# Builds and runs the soak: the server of test/soak_app.c under clients that come, speak and go at
# random from many addresses and are judged message by message, slow readers, long poll, resets, and
# hostile ones; 2 minutes of it, with the build for use, where nothing else is asked for. Everybody
# goes after each cycle (20 s), and then the server's tables and descriptors must be exactly, its heap
# and resident memory within 2 % (and what libraries keep) of what they were. What it reads
# every two seconds is in build/soak/<time>.csv. --asan finds errors and leaks instead of growth.
# Fails at the first promise that is broken; a seed repeats the steps, not the run.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/packages.sh

minutes=2
preset=release
options=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --asan) preset=dev && options+=(--calm) && shift ;;
    --seed | --cycle) options+=("$1" "${2:?$1 needs a number}") && shift 2 ;;
    [0-9]*) minutes=$1 && shift ;;
    *) echo "test/soak.sh: unexpected argument '$1'" >&2 && exit 1 ;;
    esac
done
install_packages $PACKAGES_BUILD $PACKAGES_TEST

fixed=()
if [ $preset = dev ] && setarch --addr-no-randomize true 2>/dev/null; then
    fixed=(setarch --addr-no-randomize)
fi
cmake --preset $preset >/dev/null
cmake --build --preset $preset --target soak soak_app -- --quiet
mkdir -p build/soak
csv=build/soak/$(date -u +%Y%m%dT%H%M%SZ).csv
echo "== $minutes minutes, $preset, $csv"
export LSAN_OPTIONS=suppressions=$PWD/test/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
exec "${fixed[@]}" build/$preset/test/soak --server build/$preset/test/soak_app \
    --minutes "$minutes" --csv "$csv" "${options[@]}"
