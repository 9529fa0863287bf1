#!/bin/bash
# bench/bus.sh [--quick] [memory|redis|nats|postgres]... - what a broker between two nodes costs: the
# time that a delivery takes and the CPU of each process for it, at 200 publishes a second to 100
# members, and how long a node with 10,000 topics is away when its connection has to be made anew.
# With memory, which is one node, for comparison. Starts each broker from Debian's packages on a free
# port of 127.0.0.1, one at a time. All four where none is named, in about three minutes; --quick:
# in one.
#
# No figure here is a throughput: two nodes, a broker and the load share the cores of one machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/packages.sh
. test/broker.sh

programs=$PWD/build/release/bench
rate=200 conns=100 duration_ms=5000 runs=3 topics=10000
kinds=()
while [ $# != 0 ]; do
    case $1 in
    --quick) duration_ms=1500 ;;
    memory | redis | nats | postgres) kinds+=("$1") ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | head -n -1 >&2
        exit 2
        ;;
    esac
    shift
done
[ ${#kinds[@]} != 0 ] || kinds=(memory redis nats postgres)

packages="$PACKAGES_BUILD curl jq"
for kind in "${kinds[@]}"; do
    [ "$kind" = memory ] || packages="$packages $(broker_package "$kind")"
done
{
    install_packages $packages
    cmake --preset release >/dev/null
    cmake --build --preset release --target load hub_server bench_bus -- --quiet
} >&2

data=$(mktemp -d "${TMPDIR:-/tmp}/bench-bus.XXXXXX")
chmod 711 "$data" # PostgreSQL, as another user, has a folder in it
broker_pid="" node_pids=()

stop_all()
{
    for pid in "${node_pids[@]}" $broker_pid; do
        kill "$pid" 2>/dev/null && wait "$pid" || true
    done
    node_pids=() broker_pid=""
}
trap 'stop_all; rm -rf "$data"' EXIT

# start_node NAME BUS - one more process; its address is in $data/NAME.
start_node()
{
    "$programs/hub_server" --port 0 --bus "$2" >"$data/$1" 2>"$data/$1.log" &
    node_pids+=($!)
    for ((i = 0; i != 100; ++i)); do
        ! grep -q listening "$data/$1" || break
        sleep 0.1
    done
    address=$(sed 's/^listening on http/ws/' "$data/$1")
    # healthy: the broker answers
    for ((i = 0; i != 300; ++i)); do
        ! curl --silent --fail --output /dev/null "http${address#ws}/health" || return 0
        sleep 0.1
    done
    echo "bus.sh: the node on $2 is not healthy:" >&2
    cat "$data/$1.log" >&2
    exit 1
}

# measure URL PUBLISH_URL PID... - figures of one run as shell variables: p50_us, p99_us, and the CPU
# of these processes: cpu_delivery_us, cpu_publish_us.
measure()
{
    local pids=()
    for pid in "${@:3}"; do pids+=(--pid "$pid"); done
    "$programs/load" --url "$1" --publish-url "$2" --workload fanout --conns "$conns" \
        --rate "$rate" --duration-ms "$duration_ms" --runs "$runs" --json "${pids[@]}" \
        >"$data/result" || {
        jq -r '"bus.sh: the run was not clean: \(.faults)"' "$data/result" >&2
        exit 1
    }
    eval "$(jq -r '.figures
        | (.deliveries_per_s.median / .publishes_per_s.median) as $fanout
        | "p50_us=\(.latency_us_p50.median | round)",
          "p99_us=\(.latency_us_p99.median | round)",
          "cpu_delivery_us=\(.server_cpu_us_per_delivery.median * 100 | round / 100)",
          "cpu_publish_us=\(.server_cpu_us_per_delivery.median * $fanout | round)"' "$data/result")"
}

# The broker with what it has forked.
broker_pids()
{
    echo "$broker_pid"
    cat "/proc/$broker_pid/task/"*/children
}

row()
{
    printf '| %-8s | %8s | %8s | %10s | %10s | %10s | %10s | %10s |\n' "$@"
}

bench_memory()
{
    start_node only memory:
    measure "$address" "$address" "${node_pids[0]}"
    row memory "$p50_us" "$p99_us" "" "$cpu_delivery_us" "" "" ""
}

bench_broker()
{
    local publisher p50 p99 cpu_publisher cpu_node away

    mkdir "$data/$1"
    broker_start "$1" "$data/$1"
    start_node publisher "$broker_url"
    publisher=$address
    start_node members "$broker_url"
    measure "$address" "$publisher" "${node_pids[0]}"
    p50=$p50_us p99=$p99_us cpu_publisher=$cpu_publish_us
    measure "$address" "$publisher" "${node_pids[1]}"
    cpu_node=$cpu_delivery_us
    measure "$address" "$publisher" $(broker_pids)
    "$programs/bench_bus" --bus "$broker_url" --topics "$topics" --json >"$data/away"
    away=$(jq -r '.figures | "\(."away, ms".median | round)|\(."CPU, ms".median | round)"' "$data/away")
    row "$1" "$p50" "$p99" "$cpu_publisher" "$cpu_node" "$cpu_publish_us" "${away%|*}" "${away#*|}"
}

row bus "p50, us" "p99, us" "publisher" "node" "broker" "away, ms" "CPU, ms"
row "---" "--:" "--:" "--:" "--:" "--:" "--:" "--:"
for kind in "${kinds[@]}"; do
    case $kind in
    memory) bench_memory ;;
    *) bench_broker "$kind" ;;
    esac
    stop_all
done
cat <<EOF
publisher, broker: CPU for a publish, us; node: CPU for a delivery, us, of the node with the members;
away, CPU: of a node with $topics topics, when its connection is made anew
$(git describe --always --dirty --abbrev=12), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
EOF
