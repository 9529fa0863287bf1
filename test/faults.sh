#!/bin/bash
# test/faults.sh [--quick] [--asan|--tsan] [--jobs N] [--times N] [--seed N] [CELL...]
#
# The fault matrix of the bus: on each broker each fault, between two nodes with 200 members and four
# publishers, of which two are clients that push, and everything that happened judged
# (test/checker.h): nothing doubled, out of order, lost without a gap notice or without a cause,
# before its join or after its leave; no gap without a cause; back within 5 s. A CELL is one or more
# of a broker (redis, nats, postgres), a fault and a mode, with '-' between (redis-kill,
# reset-order); what it leaves out is all of that. Without one it is the whole matrix:
#
#   kill      SIGKILL, restart          reset     RST to the connections of one node, or of both
#   empty     the same, without data    flap      the same five times in a second
#   stop3     SIGSTOP for 3 s           halfopen  connections that carry nothing any more, one way or both
#   stop15    SIGSTOP for 15 s          garbage   bytes that are no protocol, in the broker's answers
#   auth      the user is shut out      output    the broker closes who has too much to hear (redis, nats)
#
#   plain                               order     half of the topics have one order on all nodes
#   buffer    publishes wait for the broker, and come through when it is back
#   degraded  publishes go on without the broker, on their own node
#
# Cells run side by side, as they mostly wait: 4 at once, or --jobs. --quick is one short cell of each
# fault, over the brokers and modes in turn. --times runs each so often; a seed repeats what is drawn,
# not the run. --asan and --tsan take those builds; --build FOLDER one that is there.
set -euo pipefail
cd "$(dirname "$0")/.."

BROKERS="redis nats postgres"
FAULTS="kill empty stop3 stop15 reset flap halfopen garbage auth output"
MODES="plain order buffer degraded"
QUICK="redis-kill-buffer nats-empty-degraded redis-stop3-order postgres-stop15-plain nats-reset-plain
    postgres-flap-order redis-halfopen-plain nats-garbage-plain postgres-auth-buffer
    redis-output-plain nats-output-plain"

preset=release
build=
jobs=4
times=1
options=()
wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --quick) jobs=11 && options+=(--quick --rate 10) && shift ;;
    --asan) preset=dev && shift ;;
    --tsan) preset=tsan && shift ;;
    --build) build=${2:?--build needs a folder} && shift 2 ;;
    --jobs) jobs=${2:?--jobs needs a number} && shift 2 ;;
    --times) times=${2:?--times needs a number} && shift 2 ;;
    --seed) options+=(--seed "${2:?--seed needs a number}") && shift 2 ;;
    -*) echo "test/faults.sh: unexpected argument '$1'" >&2 && exit 1 ;;
    *) wanted+=("$1") && shift ;;
    esac
done

# The cells that a word means; none: it means nothing.
cells_of()
{
    local broker fault mode part cell

    for broker in $BROKERS; do
        for fault in $FAULTS; do
            [ $fault != output ] || [ $broker != postgres ] || continue
            for mode in $MODES; do
                cell=$broker-$fault-$mode
                for part in ${1//-/ }; do
                    [ $part = all ] || [[ -$cell- == *-$part-* ]] || continue 2
                done
                echo $cell
            done
        done
    done
}

cells=()
if [ ${#wanted[@]} = 0 ] && [[ " ${options[*]} " == *" --quick "* ]]; then
    read -r -d '' -a cells <<<"$QUICK" || true
else
    for word in "${wanted[@]:-all}"; do
        mapfile -t found < <(cells_of "$word")
        [ ${#found[@]} != 0 ] || { echo "test/faults.sh: no cell is '$word'" >&2 && exit 1; }
        cells+=("${found[@]}")
    done
fi

fixed=()
if setarch --addr-no-randomize true 2>/dev/null; then
    fixed=(setarch --addr-no-randomize) # for the sanitizers of gcc 12
fi
if [ -z "$build" ]; then
    . test/packages.sh
    install_packages $PACKAGES_BUILD $PACKAGES_BROKERS
    cmake --preset $preset >/dev/null
    cmake --build --preset $preset --target faults -- --quiet
    build=build/$preset
fi
export LSAN_OPTIONS=suppressions=$PWD/test/lsan.supp:print_suppressions=0
export TSAN_OPTIONS=suppressions=$PWD/test/tsan.supp:halt_on_error=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# Writes its line, and what it said beside it.
run_cell()
{
    local out=$results/$1.$2 status=0

    "${fixed[@]}" timeout 150 "$build/test/faults" ${1//-/ } "${options[@]}" >"$out" 2>"$out.err" ||
        status=$?
    # what a sanitizer finds at the end comes behind an "ok"
    [ $status = 0 ] || [ $status = 77 ] || sed -i "1s/ ok / FAILED, status $status /" "$out"
    [ -s "$out" ] || echo "$1 ended without a word, status $status" >"$out"
    cat "$out" "$out.err"
}

began=$SECONDS
for ((round = 1; round <= times; round++)); do
    for cell in "${cells[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge $jobs ]; do
            wait -n || true
        done
        run_cell $cell $round &
    done
done
wait

# What one field of the table says: the longest way back, or what went wrong.
field()
{
    local out passed=0 skipped=0 all=0 back=

    for out in "$results/$1-"*.*[0-9]; do
        [ -e "$out" ] || continue
        all=$((all + 1))
        ! grep -q " ok " "$out" || passed=$((passed + 1))
        ! grep -q " skipped: " "$out" || skipped=$((skipped + 1))
    done
    back=$(cat "$results/$1-"*.*[0-9] 2>/dev/null | sed -n 's/.* back *\([0-9.]*\) s.*/\1/p' | sort -g | tail -1)
    if [ $all = $skipped ]; then
        echo -
    elif [ $((passed + skipped)) = $all ]; then
        echo "$passed ok, $back s"
    else
        echo "FAILED $((all - passed - skipped)) of $all"
    fi
}

echo
printf '%-10s' fault
printf '%-16s' $BROKERS
echo
for fault in $FAULTS; do
    line=$(printf '%-10s' $fault)
    for broker in $BROKERS; do
        line+=$(printf '%-16s' "$(field $broker-$fault)")
    done
    [[ $line =~ ^[a-z0-9]+[\ -]*$ ]] || echo "$line"
done
failed=$({ grep -LrE " ok | skipped: " "$results" --include='*.*[0-9]' || true; } | wc -l)
skipped=$({ grep -lr " skipped: " "$results" --include='*.*[0-9]' || true; } | wc -l)
count=$(ls "$results"/*.*[0-9] | wc -l)
echo "the longest way back is shown; $count cells in $((SECONDS - began)) s"
echo "$((count - failed - skipped)) passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
