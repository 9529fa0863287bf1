#!/bin/sh
# examples/cluster.sh [redis|nats|postgres] - two chats that are one, over a broker from Debian's
# packages: installs what is missing, builds, starts the broker on a free port of 127.0.0.1 with its
# data in a temporary folder, and two chats on it, each a node. Prints their addresses; what is said
# on one is heard on the other. Ends with Ctrl-C, or when one of the three does, and takes all of it
# away again. The default is redis.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/packages.sh"
kind=${1:-redis}
postgres_bin=/usr/lib/postgresql/15/bin

case $kind in
redis) server=redis-server ;;
nats) server=nats-server ;;
postgres) server=postgresql-15 ;;
*)
    echo "usage: examples/cluster.sh [redis|nats|postgres]" >&2
    exit 2
    ;;
esac

(
    install_packages $PACKAGES_BUILD $server
    cd "$root"
    cmake --preset release >/dev/null
    cmake --build --preset release --target chat -- --quiet
) >&2

data=$(mktemp -d "${TMPDIR:-/tmp}/cluster.XXXXXX")
broker="" first="" second=""

stop()
{
    trap - EXIT INT TERM
    for pid in $second $first $broker; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 0' INT TERM

# PostgreSQL refuses to run as root.
as_user()
{
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups --pdeathsig=TERM "$@"
    else
        "$@"
    fi
}

# start_broker PORT - starts it in the background and sets $broker and $url.
start_broker()
{
    case $kind in
    redis)
        redis-server --bind 127.0.0.1 --port "$1" --save "" --dir "$data" >"$data/log" 2>&1 &
        url=redis://127.0.0.1:$1
        ;;
    nats)
        nats-server --addr 127.0.0.1 --port "$1" >"$data/log" 2>&1 &
        url=nats://127.0.0.1:$1
        ;;
    postgres)
        as_user "$postgres_bin/postgres" -D "$data/db" -c listen_addresses=127.0.0.1 \
            -c port="$1" -c unix_socket_directories= >"$data/log" 2>&1 &
        url=postgres://postgres@127.0.0.1:$1/postgres
        ;;
    esac
    broker=$!
}

# start_chat NAME - a node; its lines go to $data/NAME.
start_chat()
{
    mkfifo "$data/$1.stderr"
    # what it logs is seen, and kept for has_logged
    tee "$data/$1.log" <"$data/$1.stderr" >&2 &
    "$root/build/release/examples/chat" --port 0 --bus "$url" >"$data/$1" 2>"$data/$1.stderr" &
    started=$!
}

# await WHAT COMMAND... - until the command succeeds, 30 s at most, or one of the three has ended.
await()
{
    what=$1
    shift
    tries=300
    until "$@"; do
        for pid in $broker $first $second; do
            kill -0 "$pid" 2>/dev/null || tries=0
        done
        tries=$((tries - 1))
        if [ "$tries" -lt 0 ]; then
            echo "cluster.sh: $what did not happen; the broker's last lines:" >&2
            tail -n 5 "$data/log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
if [ "$kind" = postgres ]; then
    [ "$(id -u)" != 0 ] || chown postgres "$data"
    as_user "$postgres_bin/initdb" --pgdata="$data/db" --auth=trust --username=postgres \
        --no-sync >"$data/initdb"
fi
start_broker "$port"
start_chat first
first=$started
start_chat second
second=$started
for name in first second; do
    await "that $name has the broker" grep -q 'bus\.up' "$data/$name.log"
    await "that $name listens" test -s "$data/$name"
    sed 's/^listening on //' "$data/$name"
done
echo "what is said on one is heard on the other; Ctrl-C ends both and the $kind at $url" >&2

# until one of them ends
while kill -0 "$broker" 2>/dev/null && kill -0 "$first" 2>/dev/null && kill -0 "$second" 2>/dev/null; do
    sleep 1 &
    wait $! || true
done
echo "cluster.sh: one of the three has ended; the others go with it" >&2
exit 1
