#!/bin/bash
# test/planted.sh [PART OF A NAME]...
#
# Proves that the tests can fail. Each patch in test/planted/ breaks one promise; it is applied to a
# copy of the tree, and the tests that its header names must then fail. Ends with a table, and with
# an error if a fault survives, does not build, or its patch does not apply any more. With arguments
# only the patches whose names contain one of them. PLANTED_DIR keeps copy and build for the next
# time.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/packages.sh
install_packages $PACKAGES_BUILD patch

copy=${PLANTED_DIR:-$(mktemp -d)}
[ -n "${PLANTED_DIR:-}" ] || trap 'rm -rf "$copy"' EXIT
build=$copy/build
log=$copy/log
jobs=$(nproc)
# the same contents are not compiled twice, wherever the copy lies
export CCACHE_BASEDIR=$copy CCACHE_NOHASHDIR=1
# a fault is often something that never comes, and the stress test finds what it can find at once
export STRESS_SECONDS=${STRESS_SECONDS:-4}
impatient='s/^\(#define CLIENT_DEADLINE_MS\) .*/\1 3000/; s/^\(#define SETTLE_MS\) .*/\1 5000/'

chosen()
{
    local name

    [ $# = 1 ] && return 0
    for name in "${@:2}"; do
        [[ $1 == *"$name"* ]] && return 0
    done
    return 1
}

# The copy as git has it, with what is changed and new; times stay, so that little is built.
copy_tree()
{
    local file

    mkdir -p "$copy/tree"
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [ ! -f "$file" ] || printf '%s\0' "$file"
    done | xargs -0 cp --parents --preserve=mode,timestamps --update --target-directory "$copy/tree"
    sed -i "$impatient" "$copy/tree/test/client.h" "$copy/tree/test/crowd.c"
    cmake -S "$copy/tree" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_C_FLAGS_DEBUG="-O1 -g" -DSOCKETHUB_EXAMPLES=OFF -DSOCKETHUB_BENCH=OFF >/dev/null
}

# What the patch's header has for ctest.
tests_of()
{
    eval "set -- $(sed -n 's/^tests: //p' "$1")"
    echo "$2"
}

# Test programs whose cases a selection names: "^wire_chat\.", "^stress$", "^corpus\.json$".
programs_of()
{
    local source name

    for source in "$copy"/tree/test/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        [[ $1 != *"^corpus\\.${name#fuzz_}\$"* ]] || echo "$name"
    done

    for source in "$copy"/tree/test/{test_,wire_}*.c "$copy"/tree/test/{stress,soak,faults}.c; do
        name=$(basename "$source" .c)
        [[ $1 != *"^$name"[\\$]* ]] || echo "$name"
    done
}

# run SELECTION: builds what is needed and runs it, what is drawn at random last; 2 when it does not
# build.
run()
{
    local test="timeout 300 ctest --test-dir $build -j $jobs --timeout 40 --stop-on-failure
        --output-on-failure"

    ninja -C "$build" -j "$jobs" $(programs_of "$1") >"$log" 2>&1 || return 2
    $test -LE stress -R "$1" >"$log" 2>&1 && $test -L stress -R "$1" >"$log" 2>&1
}

# The stress test is one, and says which promise was broken.
failed_tests()
{
    sed -n 's/^[[:space:]]*[0-9]* - \(.*\) (.*)$/\1/p' "$log" | sort -u
    sed -n 's/^\(stress: .*\)/(\1)/p' "$log" | head -1
}

# plant PATCH: prints its line of the table.
plant()
{
    local name file selection caught status=0 touched

    name=$(basename "$1" .patch)
    selection=$(tests_of "$1")
    touched=$(sed -n 's/^+++ b\///p' "$1")
    if ! (cd "$copy/tree" && patch -p1 --dry-run --fuzz=2 --silent) <"$1" >"$log" 2>&1; then
        printf '%-34s | does not apply\n' "$name"
        return 1
    fi
    for file in $touched; do
        cp --preserve=timestamps "$copy/tree/$file" "$copy/before.$(basename "$file")"
    done
    (cd "$copy/tree" && patch -p1 --fuzz=2 --silent --no-backup-if-mismatch) <"$1"
    run "$selection" || status=$?
    for file in $touched; do
        cp "$copy/before.$(basename "$file")" "$copy/tree/$file" # its time is now: it is built anew
    done
    caught=$(failed_tests)
    if [ $status = 2 ]; then
        printf '%-34s | does not build:\n' "$name"
        grep -m3 -E 'error' "$log" || tail -3 "$log"
        return 1
    fi
    if [ $status = 0 ] || [ -z "$caught" ]; then
        printf '%-34s | SURVIVES %s\n' "$name" "$selection"
        return 1
    fi
    printf '%-34s | %s\n' "$name" "$(paste -sd' ' <<<"$caught")"
}

start=$SECONDS
patches=()
all=""
for patch in test/planted/*.patch; do
    chosen "$(basename "$patch" .patch)" "$@" || continue
    # else what it is to fail would not be built
    if ! grep -q "^tests: -R '^" "$patch" || grep -q "^tests: .*|[^^]" "$patch"; then
        echo "$patch: each part of its selection must begin with ^ and a program" >&2
        exit 1
    fi
    patches+=("$PWD/$patch")
    all+="${all:+|}$(tests_of "$patch")"
done
if [ ${#patches[@]} = 0 ]; then
    echo "no patch is named like that" >&2
    exit 1
fi
copy_tree
# what fails without a fault proves nothing with one
if ! run "$all"; then
    echo "the tests fail, or do not build, before anything is planted:" >&2
    tail -40 "$log" >&2
    exit 1
fi
echo "== ready in $((SECONDS - start)) s"
survived=0
for patch in "${patches[@]}"; do
    plant "$patch" || survived=$((survived + 1))
done
echo "== ${#patches[@]} planted, $survived not caught, in $((SECONDS - start)) s"
[ $survived = 0 ]
