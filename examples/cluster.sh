#!/bin/sh
# examples/cluster.sh [redis|nats|postgres] - two chats that are one, over a broker from Debian's
# packages: installs what is missing, builds, starts the broker on a free port of 127.0.0.1 with its
# data in a temporary folder, and two chats on it, each a node. Prints their addresses; what is said
# on one is heard on the other. Ends with Ctrl-C, or when one of the three does, and takes all of it
# away again. The default is redis.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/packages.sh"
. "$root/test/broker.sh"
kind=${1:-redis}

if ! package=$(broker_package "$kind"); then
    echo "usage: examples/cluster.sh [redis|nats|postgres]" >&2
    exit 2
fi
chat=${SOCKETHUB_EXAMPLES:-$root/build/release/examples}/chat
# tests have built it, and installed what is needed
[ -n "${SOCKETHUB_EXAMPLES:-}" ] || (
    install_packages $PACKAGES_BUILD "$package"
    cd "$root"
    cmake --preset release >/dev/null
    cmake --build --preset release --target chat -- --quiet
) >&2

data=$(mktemp -d "${TMPDIR:-/tmp}/cluster.XXXXXX")
chmod 711 "$data" # PostgreSQL, as another user, has a folder in it
broker_pid="" first="" second=""

stop()
{
    trap - EXIT INT TERM
    exec 2>/dev/null # a shell says so when a process was terminated
    # the chats first, so that they do not complain
    for pid in $second $first; do
        kill "$pid" 2>/dev/null && wait "$pid" || true
    done
    [ -z "$broker_pid" ] || kill "$broker_pid" 2>/dev/null || true
    wait
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 0' INT TERM

# start_chat NAME - a node; its address goes to $data/NAME, its lines to $data/NAME.log, and behind
# its name to stderr.
start_chat()
{
    mkfifo "$data/$1.stderr"
    tee "$data/$1.log" <"$data/$1.stderr" | sed -u "s/^/$1: /" >&2 &
    "$chat" --port 0 --bus "$broker_url" >"$data/$1" 2>"$data/$1.stderr" &
    started=$!
}

all_run()
{
    for pid in $broker_pid $first $second; do
        kill -0 "$pid" 2>/dev/null || return 1
    done
}

# await FILE PATTERN - until a line is there, 30 s at most.
await()
{
    tries=300
    until grep -q "$2" "$1"; do
        tries=$((tries - 1))
        if [ "$tries" = 0 ] || ! all_run; then
            echo "cluster.sh: no line with '$2' in $(basename "$1")" >&2
            exit 1
        fi
        sleep 0.1
    done
}

mkdir "$data/broker"
if ! broker_start "$kind" "$data/broker"; then
    echo "cluster.sh: $kind did not start" >&2
    exit 1
fi
start_chat first
first=$started
start_chat second
second=$started
for name in first second; do
    await "$data/$name" listening
    await "$data/$name.log" 'bus\.up'
    sed 's/^listening on //' "$data/$name"
done
echo "what is said on one is heard on the other; Ctrl-C ends both and the $kind at $broker_url" >&2
while all_run; do
    sleep 1 &
    wait $! || true
done
echo "cluster.sh: one of the three has ended, the others go with it" >&2
exit 1
