#!/bin/bash
# test/valgrind.sh [PROGRAM]...
#
# The unit tests and some of those over sockets under valgrind's memcheck, or only these: a read of
# what was never written is what ASan does not see. Wants no error and nothing lost, directly, by way
# of another block or possibly; test/valgrind.supp names what is libh2o's. A build of its own in
# build/valgrind. Some minutes on two cores.
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
esac
cd "$(dirname "$0")/.."
. test/packages.sh
install_packages $PACKAGES_BUILD valgrind

build=$PWD/build/valgrind
# what waits for time to pass, or drives servers of its own, says nothing more here
wire="wire_chat wire_frames wire_http wire_longpoll wire_log wire_member wire_presence wire_slow"
if [ $# = 0 ]; then
    for source in test/test_*.c; do
        name=$(basename "$source" .c)
        [[ $name == *_load || $name == *_bench ]] || set -- "$@" "$name"
    done
    set -- "$@" $wire
fi
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O1 -g" \
    -DSOCKETHUB_EXAMPLES=OFF -DSOCKETHUB_BENCH=OFF >/dev/null
cmake --build "$build" --target "$@" -- --quiet

cc -shared -fPIC -O1 -o "$build/interpreter.so" test/interpreter_preload.c

check_one()
{
    local log=$1.log began=$SECONDS status=0

    LD_PRELOAD=$build/interpreter.so timeout 540 valgrind -q --fair-sched=yes --error-exitcode=99 --leak-check=full \
        --show-leak-kinds=definite,indirect,possible --num-callers=20 \
        --errors-for-leak-kinds=definite,indirect,possible --suppressions="$suppressions" \
        "./$1" >"$log" 2>&1 || status=$?
    if [ $status = 0 ]; then
        echo "$1: clean in $((SECONDS - began)) s"
    else
        echo "$1: status $status after $((SECONDS - began)) s"
        grep -E '^==|FAILED|ERROR|LINE' "$log" | head -60
    fi
    return $status
}
export -f check_one
export build suppressions=$PWD/test/valgrind.supp SOCKETHUB_BUILD=$build
export SOCKETHUB_APPS=$build/test SOCKETHUB_ARTIFACTS=$PWD/build
cd "$build/test"
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'check_one "$1"' _ {}
