#!/bin/bash
# test/faults.sh [--quick] [--asan] [--jobs N] [--times N] [--seed N] [CELL...]
#
# The fault matrix of the bus: on each broker each fault, between two nodes with 200 members and four
# publishers, and everything that happened judged: nothing doubled, out of order, lost without a gap
# notice, before its join or after its leave; no gap without a cause; back within 5 s. A CELL is a
# broker (redis, nats, postgres), a fault, or both (redis-kill); without one it is all of them:
#
#   kill      SIGKILL, restart          reset     RST to every connection
#   empty     the same, without data    halfopen  connections that carry nothing any more, one way or both
#   stop3     SIGSTOP for 3 s           garbage   bytes that are no protocol, in the broker's answers
#   stop15    SIGSTOP for 15 s          auth      the user is shut out, and let in again
#                                       output    redis closes who has too much to hear (redis alone)
#
# Cells run side by side, as they mostly wait: 4 at once, or --jobs. --quick is one short cell of each
# fault, over the brokers in turn. --times runs each so often; a seed repeats what is drawn, not the
# run. --asan takes that build; --build FOLDER one that is there.
set -euo pipefail
cd "$(dirname "$0")/.."

BROKERS="redis nats postgres"
FAULTS="kill empty stop3 stop15 reset halfopen garbage auth output"
QUICK="redis-kill nats-empty redis-stop3 postgres-stop15 nats-reset redis-halfopen nats-garbage
    postgres-auth redis-output"

preset=release
build=
jobs=4
times=1
options=()
wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --quick) jobs=9 && options+=(--quick --rate 10) && shift ;;
    --asan) preset=dev && shift ;;
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
    local broker fault

    for broker in $BROKERS; do
        for fault in $FAULTS; do
            [ $fault != output ] || [ $broker = redis ] || continue
            case $1 in
            all | $broker | $fault | $broker-$fault) echo $broker-$fault ;;
            esac
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

run_cell()
{
    local broker=${1%-*} fault=${1#*-} out=$results/$1.$2

    "${fixed[@]}" timeout 120 "$build/test/faults" $broker $fault "${options[@]}" >"$out" 2>"$out.err" ||
        sed -i "1s/ ok / FAILED, status $? /" "$out"
    [ -s "$out" ] || echo "$1 ended without a word" >"$out"
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
    local out passed=0 all=0 back=

    for out in "$results/$1".*[0-9]; do
        [ -e "$out" ] || continue
        all=$((all + 1))
        ! grep -q " ok " "$out" || passed=$((passed + 1))
    done
    back=$(cat "$results/$1".*[0-9] 2>/dev/null | sed -n 's/.* back *\([0-9.]*\) s.*/\1/p' | sort -g | tail -1)
    if [ $all = 0 ]; then
        echo -
    elif [ $passed = $all ]; then
        echo "ok, $back s"
    else
        echo "FAILED $((all - passed)) of $all"
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
failed=$({ grep -Lr " ok " "$results" --include='*.*[0-9]' || true; } | wc -l)
count=$(ls "$results"/*.*[0-9] | wc -l)
echo "the longest way back is shown; $count cells in $((SECONDS - began)) s"
echo "$((count - failed)) passed, $failed failed"
[ $failed = 0 ]
