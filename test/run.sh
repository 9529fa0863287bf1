#!/bin/bash
# test/run.sh [--asan | --tsan | --coverage] [options of ctest]
#
# Installs what is missing, builds, runs the tests. Without an option that is: everything under ASan
# and UBSan but what wants a build for use, then what crosses threads under TSan, then the rest with
# the build for use (clients from npm, pages in a browser, the installed library). --asan and --tsan
# run everything under that one; --coverage runs unit, corpus, wire and stress and tells what they reached.
# What else is given goes to ctest: test/run.sh -L unit, test/run.sh -R json. -L phoenix is all that
# speaks Phoenix's protocol: its recorded conversations, and phoenix.js in node and in a browser. -L bus
# is the bus: one suite in memory and over Redis, NATS and PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/packages.sh

# Seconds of all tests of a label together, over all stages, on two cores: with three tests on each
# of them, a test's seconds are up to three times its own. A noisy machine takes longer, so a label
# fails the run only at three times its budget.
BUDGETS="unit=200 corpus=15 wire=1000 bus=300 faults=75 conformance=60 stress=120 threads=1500 phoenix=260 clients=40 browser=80 bench=90 install=40
    soak=60 exports=5 format=5"

mode=default
case ${1:-} in
--asan | --tsan | --coverage) mode=${1#--} && shift ;;
-h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
esac
export SOCKETHUB_BROKERS_REQUIRED=1 # a broker that is missing here is a failure, not a skip
start=$SECONDS
logs=()
status=0

# gcc 12's sanitizers can't start where the kernel randomizes addresses more than they expect.
fixed=()
if setarch --addr-no-randomize true 2>/dev/null; then
    fixed=(setarch --addr-no-randomize)
fi

prepare()
{
    local packages="$PACKAGES_BUILD $PACKAGES_TEST $PACKAGES_BROKERS"

    have_node || packages+=" $PACKAGES_NODE"
    [ $mode != coverage ] || packages+=" $PACKAGES_COVERAGE"
    install_packages $packages
    # npm writes that file last
    if [ test/browser/package-lock.json -nt build/browser/node_modules/.package-lock.json ]; then
        mkdir -p build/browser
        cp test/browser/package.json test/browser/package-lock.json build/browser
        npm ci --prefix build/browser --no-audit --no-fund --ignore-scripts --loglevel=error
    fi
    echo "== prepared in $((SECONDS - start)) s"
}

# stage PRESET TARGETS LABELS [options of ctest]
stage()
{
    local preset=$1 targets=$2 labels=$3 began=$SECONDS log=build/$1/run.log jobs
    shift 3
    jobs=$(nproc)
    # most cases wait for a broker, for another process or for a clock
    [ "$preset" = release ] || jobs=$((3 * jobs))

    cmake --preset "$preset" >/dev/null
    "${fixed[@]}" cmake --build --preset "$preset" --target $targets -- --quiet
    echo "== $preset: built in $((SECONDS - began)) s"
    if [ "$(ctest --preset "$preset" -N -L "$labels" "$@" | sed -n 's/^Total Tests: //p')" = 0 ]; then
        echo "== $preset: nothing chosen"
        return
    fi
    "${fixed[@]}" ctest --preset "$preset" -j "$jobs" -L "$labels" "$@" | tee "$log" || status=1
    logs+=("$log")
    echo "== $preset: done in $((SECONDS - began)) s"
}

check_budgets()
{
    awk -v budgets="$BUDGETS" '
        BEGIN {
            n = split(budgets, list, " ")
            for (i = 1; i <= n; i++) { split(list[i], pair, "="); budget[pair[1]] = pair[2] }
        }
        / = .* sec\*proc / { spent[$1] += $3 }
        END {
            for (i = 1; i <= n; i++) {
                split(list[i], pair, "="); label = pair[1]
                if (!(label in spent))
                    continue
                note = spent[label] > 3 * budget[label] ? "far over budget" : \
                    spent[label] > budget[label] ? "over budget" : ""
                printf "   %-8s %6.1f s of %3d s  %s\n", label, spent[label], budget[label], note
                bad = bad || note ~ /^far/
            }
            exit bad
        }' "${logs[@]}"
}

# Each group of conformance/ tells how many cases it played, and one test how many there are; ctest
# keeps that to itself.
count_conformance()
{
    awk '
        /^conformance [a-z0-9_]+: [0-9]+ cases, [0-9]+ failed$/ { played += $3; failed += $5 }
        /^conformance: [0-9]+ cases in all/ { all = $2 }
        END {
            if (played > 0)
                printf "conformance: %d cases, %s, %d failed\n", played,
                    played == all ? "none excluded" : "others were not chosen", failed
        }' "$1"
}

# The last lines: every stage in one, then the sum of them.
summarize()
{
    local log line passed=0 failed=0

    if [ ${#logs[@]} = 0 ]; then
        echo "no test was chosen"
        exit 1
    fi
    echo "== time of each label"
    check_budgets || status=1
    echo "== all in $((SECONDS - start)) s"
    for log in "${logs[@]}"; do
        count_conformance "$(dirname "$log")/Testing/Temporary/LastTest.log"
        line=$(grep -E '^[0-9]+% tests passed, ' "$log")
        echo "$(basename "$(dirname "$log")"): $line"
        [[ $line =~ ([0-9]+)\ tests\ failed\ out\ of\ ([0-9]+) ]]
        failed=$((failed + BASH_REMATCH[1]))
        passed=$((passed + BASH_REMATCH[2] - BASH_REMATCH[1]))
    done
    echo "$passed passed, $failed failed"
    exit $status
}

prepare
case $mode in
asan) stage dev all . "$@" ;;
tsan) stage tsan all . "$@" ;;
coverage)
    find build/coverage -name '*.gcda' -delete 2>/dev/null || true
    stage coverage all 'unit|corpus|wire|bus|stress' "$@"
    gcovr --root . --filter 'bus/' --filter 'channels/' --filter 'hub/' build/coverage \
        --print-summary --txt build/coverage/coverage.txt
    ;;
default)
    stage dev all 'unit|corpus|wire|bus|faults|conformance|stress|soak' "$@"
    stage tsan all-threads-tests threads "$@"
    stage release 'sockethub sockethub_static all-examples all-bench phoenix_app soak limits_table' \
        'soak|clients|browser|bench|install|exports|format' "$@"
    ;;
esac
summarize
