#!/bin/sh
# load.sh FOLDER CASE - the load generator in FOLDER against a server that it must find guilty, or
# must not: `fault KIND MODE`, `clean WORKLOAD MODE`, `hub FORMAT WORKLOAD`, `template`, `json`,
# `gone`, `usage`. Counts are exact, speed is nothing here.
set -eu
folder=$1 case=$2
scratch=$(mktemp -d)
server=

end()
{
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$scratch"
}
trap end EXIT

fail()
{
    echo "$*"
    cat "$scratch"/out "$scratch"/err 2>/dev/null || true
    exit 1
}

# serve PROGRAM [OPTION]... - sets port.
serve()
{
    program=$1
    shift
    mkfifo "$scratch/said"
    "$folder/$program" --port 0 "$@" >"$scratch/said" 2>"$scratch/server" &
    server=$!
    read -r line <"$scratch/said" || fail "$program did not start: $(cat "$scratch/server")"
    port=${line##*:}
}

# load STATUS [OPTION]... - runs it and wants it to end so.
load()
{
    wanted=$1
    shift
    status=0
    "$folder/load" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
    [ "$status" = "$wanted" ] || fail "load $* ended with $status, not with $wanted"
}

# The number behind the first "NAME": of its output.
number()
{
    sed -n "s/.*\"$1\":\([0-9.e+-]*\).*/\1/p" "$scratch/out"
}

expect()
{
    [ "$(number "$1")" = "$2" ] || fail "$1 is $(number "$1"), not $2"
}

# 20 members of 2 topics and 1,000 publishes: 10,000 deliveries, of which each 500th is spoilt, the last
# one, too. How many are swapped or closed depends on how many share a turn: at least one.
fault()
{
    kind=$1 mode=$2 fault=$3 count=$4
    serve floor --mode "$mode" --fault "$kind:500"
    load 1 --url "ws://127.0.0.1:$port" --speak text --conns 20 --topics 2 --window 8 \
        --publishes 1000 --runs 1 --warmup-ms 0 --lost-ms 500 --json
    grep -q '"clean":false' "$scratch/out" || fail "it is clean"
    if [ "$count" = some ]; then
        [ "$(number "$fault")" -gt 0 ] && [ "$(number "$fault")" -le 20 ] || fail "$fault: none"
    else
        expect "$fault" "$count"
    fi
    for other in lost duplicate misrouted reordered corrupted protocol closed; do
        case "$fault $other" in
        "$other $other" | "closed lost") ;;
        *) expect "$other" 0 ;;
        esac
    done
    grep -q '"first":"..*"},"runs"' "$scratch/out" || fail "the first fault is not told"
}

small="--warmup-ms 20 --runs 2 --json"

clean()
{
    workload=$1 mode=$2
    serve floor --mode "$mode"
    case "$workload" in
    fanout) set -- --conns 50 --topics 5 --publishers 3 --window 16 --publishes 500 ;;
    rooms) set -- --topics 20 --window 7 --publishes 500 ;;
    open) set -- --conns 30 --rate 2000 --duration-ms 250 ;;
    large) set -- --conns 20 --payload 300000 --window 4 --publishes 20 ;;
    echo) set -- --workload echo --conns 20 --publishes 500 ;;
    idle) set -- --workload idle --conns 50 --settle-ms 20 --runs 1 ;;
    connect) set -- --workload connect --conns 100 ;;
    churn) set -- --workload churn --conns 20 --topics 2 --churn-conns 10 --duration-ms 250 ;;
    slow) set -- --workload slow --conns 20 --slow 5 --payload 20000 --publishes 500 ;;
    esac
    [ "$workload" != rooms ] || set -- --workload rooms "$@"
    load 0 --url "ws://127.0.0.1:$port" --speak text --pid "$server" $small "$@"
    case "$workload" in
    fanout | rooms) [ "$(number deliveries)" = $(($(number publishes) * 10)) ] || fail "not all came" ;;
    open) expect deliveries $(($(number publishes) * 30)) && expect publishes 1040 ;;
    large) expect deliveries $(($(number publishes) * 20)) ;;
    echo) expect deliveries "$(number publishes)" ;;
    idle) grep -q server_rss_bytes_per_conn "$scratch/out" || fail "no memory" ;;
    connect) grep -q server_cpu_us_per_conn "$scratch/out" || fail "no cost" ;;
    churn) grep -q joins_per_s "$scratch/out" || fail "nobody joined" ;;
    slow) grep -q slow_missed "$scratch/out" || fail "nobody was slow" ;;
    esac
}

# Its own counters must agree: an echo is a read and a write.
hub()
{
    format=$1 workload=$2
    serve hub_server
    load 0 --url "ws://127.0.0.1:$port/socket/websocket" --speak "$format" --workload "$workload" \
        --metrics "http://127.0.0.1:$port/metrics" --pid "$server" --conns 20 $small \
        $([ "$workload" = idle ] && echo --settle-ms 20 --runs 1 || echo --duration-ms 100) \
        $([ "$workload" = slow ] && echo --slow 3 || echo --churn-conns 10)
    [ "$workload" != echo ] || for counter in reads writes; do
        sed -n "s/.*\"${counter}_per_delivery\":{\"median\":\([0-9.]*\),.*/\1/p" "$scratch/out" |
            awk '{ seen = 1; wrong += $1 < 0.9 || $1 > 1.1 } END { exit wrong || !seen }' ||
            fail "$counter do not agree"
    done
}

# One that is like the built-in text, but for a delivery that has to be learned.
template()
{
    serve floor
    "$folder/load" --speak text --print-template | grep -v ^delivery >"$scratch/template"
    load 0 --url "ws://127.0.0.1:$port" --template "$scratch/template" --conns 20 --topics 2 \
        --publishes 200 $small
    expect deliveries $(($(number publishes) * 10))
    printf 'path = /\njoin = a\npublish = {payload} {nobody}\n' >"$scratch/template"
    load 2 --url "ws://127.0.0.1:$port" --template "$scratch/template"
    grep -q "template:3: '{nobody}' is no placeholder" "$scratch/err" || fail "the line is not told"
}

json()
{
    serve floor
    load 0 --url "ws://127.0.0.1:$port" --speak text --conns 10 --publishes 100 $small \
        --label server=floor --label 'quote=a"b\c' --pid "$server" --pin 0
    if command -v node >/dev/null; then
        node -e '
            const found = JSON.parse(require("fs").readFileSync(0));
            const { labels, figures, latency_us: latency, options, machine } = found;
            const counted = latency.buckets.reduce((sum, [, count]) => sum + count, 0);
            if (labels.quote !== "a\"b\\c" || labels.server !== "floor" || machine.pinned !== 0 ||
                counted !== 2000 || options.conns !== 10 || found.runs !== 2 || !found.clean ||
                figures.deliveries_per_s.values.length !== 2 || !(latency.p50 <= latency.p99) ||
                !(figures.server_cpu_us_per_delivery.median > 0))
                throw new Error(JSON.stringify(found));' <"$scratch/out" 2>"$scratch/err" ||
            fail "the JSON is not as it should be"
    fi
}

# The server is killed under load: that is told, with what was seen of it before.
gone()
{
    serve floor
    "$folder/load" --url "ws://127.0.0.1:$port" --speak text --pid "$server" --conns 20 --duration-ms 6000 \
        --runs 1 --lost-ms 300 --json >"$scratch/out" 2>"$scratch/err" &
    load=$!
    for _ in $(seq 1000); do # until all are there and hear one another
        [ "$(awk '{ print $14 + $15 }' "/proc/$server/stat")" -lt 10 ] || break # ticks of its time
        sleep 0.01
    done
    kill -KILL "$server"
    wait "$server" || true
    server=
    status=0
    wait "$load" || status=$?
    [ "$status" = 1 ] || fail "load ended with $status, not with 1"
    [ "$(number closed)" -gt 0 ] || fail "nothing was closed"
}

usage()
{
    printf 'join = a\nnonsense\n' >"$scratch/nonsense"
    printf 'join = a\n' >"$scratch/silent"
    for wrong in "--conns 5" "--url http://127.0.0.1:1" "--url ws://127.0.0.1:1 --conns 2 --topics 3" \
        "--url ws://127.0.0.1:1 --speak nchan --workload echo" "--url ws://127.0.0.1:1 --payload 8" \
        "--url ws://127.0.0.1:1 --label x" "--url ws://127.0.0.1:1 --workload nothing" \
        "--url ws://127.0.0.1:1 --template $scratch/nonsense" \
        "--url ws://127.0.0.1:1 --template $scratch/silent" \
        "--url ws://127.0.0.1:1 --workload idle --runs 2"; do
        load 2 $wrong
        [ -s "$scratch/err" ] || fail "$wrong: nothing was said"
    done
    load 1 --url ws://127.0.0.1:1 --conns 1
    grep -q refused "$scratch/err" || fail "it does not say that nobody listens"
    load 1 --url ws://127.0.0.1:1 --conns 1000000
    grep -q RLIMIT_NOFILE "$scratch/err" || fail "it does not name the limit"
    load 0 --help
    grep -q publish_answers "$scratch/out" || fail "--help does not know the keys of a template"
}

shift 2
case "$case" in
fault)
    case "$1" in
    drop) fault drop "$2" lost 20 ;;
    double) fault double "$2" duplicate 20 ;;
    swap) fault swap "$2" reordered some ;;
    misroute) fault misroute "$2" misrouted 20 ;;
    corrupt) fault corrupt "$2" corrupted 20 ;;
    garbage) fault garbage "$2" protocol 20 ;;
    close) fault close "$2" closed some ;;
    esac
    ;;
clean | hub) "$case" "$@" ;;
template | json | gone | usage) "$case" ;;
*) fail "there is no case $case" ;;
esac
