#!/bin/bash
# test/fuzz.sh MINUTES [TARGET]...
# test/fuzz.sh --minimize TARGET...
#
# Fuzzes with clang's libFuzzer under ASan and UBSan: installs what is missing, builds the preset
# fuzz, runs each target (test/fuzz/fuzz_<target>.c; all of them by default) for so many minutes,
# beginning with what is stored in test/fuzz/seeds/ and corpus/. Ends with a table: executions,
# executions per second, edges of the code that were reached, features (edges with how often they
# were taken), inputs that reach something that the others do not, and finds. MINUTES may be a
# fraction, 0.1.
#
# A find (a crash, an oracle that does not hold, a hang, a leak) is kept in build/fuzz/finds/TARGET/
# beside a file with the command that reproduces it, and makes the exit status 1. New inputs gather
# in build/fuzz/corpus/TARGET/; --minimize merges them into the stored corpus, as few and small as
# reach the same. FUZZ_JOBS targets run at once, 2 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/packages.sh

# The longest input, where 1,024 bytes are too few or too many.
declare -A LENGTHS=([bus]=1500 [conn]=2048 [deflate]=1500 [extension]=400 [frame]=2048
    [message]=2048 [model]=600 [pattern]=400 [replica]=800 [server]=1500 [ticket]=200 [topic]=300)
# And the longest that is stored, where that would be much.
declare -A STORED=([conn]=800 [frame]=600 [message]=600 [model]=300 [server]=800)
build=build/fuzz

targets_of()
{
    local source

    for source in test/fuzz/fuzz_*.c; do
        source=$(basename "$source" .c)
        [ "$source" = fuzz_pack ] || echo "${source#fuzz_}"
    done
}

prepare()
{
    install_packages $PACKAGES_BUILD $PACKAGES_FUZZ
    cmake --preset fuzz >/dev/null
    cmake --build --preset fuzz -- --quiet
}

# What a run begins with, a file each.
unpack()
{
    local kind

    rm -rf "$build/stored/$1"
    mkdir -p "$build/stored/$1"/{seeds,corpus} "$build/corpus/$1" "$build/finds/$1"
    for kind in seeds corpus; do
        [ ! -f "test/fuzz/$kind/$1.txt" ] ||
            "$build/test/fuzz/fuzz_pack" unpack "test/fuzz/$kind/$1.txt" "$build/stored/$1/$kind"
    done
}

# fuzz TARGET SECONDS: leaves its log, and a find in its folder.
fuzz()
{
    local target=$1 seconds=$2 log=$build/log/$1 finds=$build/finds/$1 status=0 find options=()

    unpack "$target"
    [ ! -f "test/fuzz/$target.dict" ] || options+=(-dict="test/fuzz/$target.dict")
    "$build/test/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=3072 \
        -max_len="${LENGTHS[$target]:-1024}" -print_final_stats=1 -artifact_prefix="$finds/" \
        "${options[@]}" "$build/corpus/$target" "$build/stored/$target" >"$log" 2>&1 || status=$?
    echo $status >"$log.status"
    for find in "$finds"/{crash,leak,timeout,oom}-*; do
        [ ! -f "$find" ] || [[ $find == *.command ]] ||
            echo "$build/test/fuzz/fuzz_$target $find" >"$find.command"
    done
}

# One line of the table.
tell()
{
    local target=$1 log=$build/log/$1

    awk -v target="$target" -v status="$(cat "$log.status")" -v finds="$(
        find "$build/finds/$target" -type f ! -name '*.command' | wc -l)" '
        / cov: / {
            for (i = 1; i < NF; i++) {
                if ($i == "cov:") edges = $(i + 1)
                if ($i == "ft:") features = $(i + 1)
                if ($i == "corp:") { split($(i + 1), kept, "/"); inputs = kept[1] }
            }
            split($1, number, "#"); runs = number[2]
        }
        /^stat::number_of_executed_units:/ { runs = $2 }
        /^stat::average_exec_per_sec:/ { rate = $2 }
        END {
            printf "%-10s | %10d | %6d/s | %5d edges | %6d features | %5d inputs | %s\n", target,
                runs, rate, edges, features, inputs, status == 0 && finds == 0 ? "-" : \
                status == 0 ? finds " finds of earlier runs" : finds " finds, status " status
        }' "$log"
}

run()
{
    local seconds target status=0
    seconds=$(awk -v minutes="$1" 'BEGIN { printf "%d", minutes * 60 + 0.5 }')
    shift

    mkdir -p "$build/log"
    export build
    export -f fuzz unpack
    # arrays are not exported
    printf '%s\n' "$@" | LENGTHS_TEXT=$(declare -p LENGTHS) xargs -P "${FUZZ_JOBS:-2}" -I{} \
        bash -c 'eval "$LENGTHS_TEXT"; fuzz {} '"$seconds"
    for target in "$@"; do
        tell "$target"
        if [ "$(cat "$build/log/$target.status")" != 0 ]; then
            status=1
            grep -m3 -E 'does not hold|ERROR: |runtime error: ' "$build/log/$target" || true
            cat "$build/finds/$target"/*.command 2>/dev/null || true
        fi
    done
    return $status
}

minimize()
{
    local target=$1 merged=$build/merged/$1

    unpack "$target"
    rm -rf "$merged"
    mkdir -p "$merged" test/fuzz/corpus
    "$build/test/fuzz/fuzz_$target" -merge=1 -timeout=10 \
        -max_len="${STORED[$target]:-${LENGTHS[$target]:-1024}}" \
        "$merged" "$build/stored/$target" "$build/corpus/$target" >"$build/log/$target.merge" 2>&1 ||
        { tail -5 "$build/log/$target.merge" >&2 && return 1; }
    "$build/test/fuzz/fuzz_pack" pack "$merged" >"test/fuzz/corpus/$target.txt"
    echo "$target: $(wc -l <"test/fuzz/corpus/$target.txt") inputs," \
        "$(wc -c <"test/fuzz/corpus/$target.txt") bytes"
}

case ${1:---help} in
-h | --help)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
command=$1
shift
all=$(targets_of)
for target in "$@"; do
    if ! grep -qx -- "$target" <<<"$all"; then
        echo "test/fuzz.sh: no target $target; there are:" $all >&2
        exit 2
    fi
done
[ $# != 0 ] || set -- $all
if [ "$command" != --minimize ] && ! [[ $command =~ ^[0-9]*\.?[0-9]+$ ]]; then
    echo "test/fuzz.sh: how many minutes is \"$command\"?" >&2
    exit 2
fi
prepare
if [ "$command" = --minimize ]; then
    mkdir -p "$build/log"
    for target in "$@"; do
        minimize "$target"
    done
else
    run "$command" "$@"
fi
