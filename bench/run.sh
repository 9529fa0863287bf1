#!/bin/bash
# bench/run.sh [--quick] [--peers LIST] [--peer NAME=URL[,HOW[,PID...]]]... [--out DIR]
#
# Measures the hub beside other servers and beside the floor, which is as good as this machine gets
# (bench/floor.c), each in turn within the same minutes, and writes results.json, report.md and
# plots (SVG) into DIR. Installs what is missing and builds first. bench/README.md says what is
# measured and how each server is set up.
#
#   --quick       under four minutes: fewer rounds, shorter ones; without it allow 35 minutes
#   --smoke       a moment for each run, to see that everything works: its figures are nothing
#   --peers LIST  of hub,floor,ws,socket.io,nchan,nats-server,mosquitto (all of them)
#   --peer NAME=URL[,HOW[,PID...]]
#                 a server that runs already. HOW: a template file of load, such as that in
#                 bench/peers, or a name that load's --speak knows (native). With its process ids
#                 there is its CPU time, too. Pin it yourself: the core is named at the start
#   --out DIR     build/bench-report; what it held of an earlier report is replaced
#   --no-install  uses what is there
#   --help        this text
#
# Exit status: 0 when each run was clean (nothing lost, doubled, misrouted, reordered, corrupted);
# 1 when one was not or could not be made, which the report names; 2 for a wrong command line.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")/.."

programs=${SOCKETHUB_BENCH:-$PWD/build/release/bench}
export peers_home=$PWD/build/bench-peers
. test/packages.sh
. bench/peers/packages.sh

START_S=10 # until a server accepts, and until it has ended
RUN_S=120  # at most, for one run

command_line="bench/run.sh $*"
profile=full
peers=hub,floor,ws,socket.io,nchan,nats-server,mosquitto
out=$PWD/build/bench-report
commit=$(git describe --always --dirty --abbrev=12)
install=yes
failed=0
servers=()                        # that take part
declare -A url pid speak metrics  # of a running server, by its key
declare -A outside outside_how outside_pids # --peer, by name
load_pid=""
work=""

fail()
{
    echo "run.sh: $*" >&2
    exit 2
}

# ---- command line ----

add_outside()
{
    local name=${1%%=*} rest=${1#*=} words

    [[ $1 == ?*=ws://* ]] || fail "--peer '$1': NAME=ws://HOST:PORT[,HOW[,PID...]] is wanted"
    [[ ! -e bench/peers/$name.sh && $name =~ ^[A-Za-z0-9._-]+$ ]] ||
        fail "--peer '$1': another name is wanted than '$name'"
    IFS=, read -ra words <<<"$rest"
    outside[$name]=${words[0]}
    outside_how[$name]=${words[1]:-native}
    outside_pids[$name]=${words[*]:2}
}

read_command_line()
{
    while [ $# != 0 ]; do
        case $1 in
        --quick | --smoke) profile=${1#--} ;;
        --peers | --peer | --out)
            [ $# -gt 1 ] || fail "$1: a value is missing"
            case $1 in
            --peers) peers=$2 ;;
            --peer) add_outside "$2" ;;
            --out) [[ $2 == /* ]] && out=$2 || out=$from/$2 ;;
            esac
            shift
            ;;
        --no-install) install=no ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' bench/run.sh && exit 0 ;;
        *) fail "'$1' is no option; --help tells which there are" ;;
        esac
        shift
    done
    IFS=, read -ra wanted <<<"$peers"
    for name in "${wanted[@]}"; do
        [ -e "bench/peers/$name.sh" ] || fail "--peers: '$name' is none of hub, floor, ws," \
            "socket.io, nchan, nats-server, mosquitto"
    done
}

# ---- what is needed ----

build()
{
    local tools="$PACKAGES_BUILD gnuplot-nox"

    if [ $install = yes ]; then
        have_node || tools+=" $PACKAGES_NODE"
        install_packages $tools
        cmake --preset release >/dev/null
        cmake --build --preset release --target load floor hub_server -- --quiet >&2
    fi
    for name in load floor hub_server; do
        [ -x "$programs/$name" ] || fail "$programs/$name is missing: build the preset release"
    done
}

# A server that can't be had is in the report as that.
prepare_peer()
{
    local name=$1 why=$work/why version

    if [ $install = yes ] && ! bash -euo pipefail -c '. bench/peers/packages.sh; . "bench/peers/$0.sh"
        install_peer "$packages"; ! declare -F prepare >/dev/null || prepare' "$name" 2>"$why"; then
        why=$(tail -n 1 "$why")
    elif ! version=$(. "bench/peers/$name.sh" && version 2>"$why") || [ -z "$version" ]; then
        why=$(tail -n 1 "$why")
    else
        servers+=("$name")
        printf '%s\t%s\n' "$name" "$version" >>"$out/raw/servers.tsv"
        return
    fi
    echo "run.sh: $name is left out: ${why:-it is not installed}" >&2
    printf '%s\t%s\n' "$name" "${why:-it is not installed}" >>"$out/raw/missing.tsv"
    failed=1
}

# The first two cores that we may use; one core has to do for both where there is no other.
choose_cores()
{
    local cores

    cores=$(taskset -cp $$ | sed 's/.*: //' | tr ',' '\n' |
        awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }' | head -n 2)
    server_core=$(sed -n 1p <<<"$cores")
    load_core=$(sed -n '$p' <<<"$cores")
}

# ---- servers ----

# One below those that the kernel gives to clients, and not in use.
free_port()
{
    local first port hex

    read -r first _ </proc/sys/net/ipv4/ip_local_port_range
    while :; do
        port=$((10000 + RANDOM % (first - 10000)))
        hex=$(printf ':%04X ' "$port")
        grep -qh "$hex" /proc/net/tcp /proc/net/tcp6 || break
    done
    echo "$port"
}

# Looks for the listening socket: a connection would be the server's first one.
is_listening()
{
    grep -q "0100007F:$(printf '%04X' "$1") 00000000:0000 0A" /proc/net/tcp
}

# start KEY SERVER PINNED OPTIONS...
start()
{
    local key=$1 name=$2 pinned=$3 port folder deadline
    shift 3

    if [ -n "${outside[$name]:-}" ]; then
        url[$key]=${outside[$name]} pid[$key]=${outside_pids[$name]} speak[$key]=${outside_how[$name]}
        metrics[$key]=""
        return
    fi
    port=$(free_port)
    folder=$(mktemp -d "$work/$name.XXXXXX")
    (
        trap - EXIT INT TERM
        exec </dev/null >>"$out/raw/$key.log" 2>&1
        [ "$pinned" = no ] || taskset -cp "$server_core" $BASHPID >/dev/null
        . "bench/peers/$name.sh"
        [ -z "$packages" ] || export LD_LIBRARY_PATH=$(echo "$debian"/usr/lib/*-linux-gnu*)
        serve "$port" "$folder" "$@"
    ) &
    pid[$key]=$!
    url[$key]=ws://127.0.0.1:$port
    speak[$key]=$(. "bench/peers/$name.sh" && echo "$speaks")
    metrics[$key]=$(. "bench/peers/$name.sh" && echo "${metrics_path:+http://127.0.0.1:$port$metrics_path}")
    deadline=$((SECONDS + START_S))
    until is_listening "$port"; do
        if [ $SECONDS -gt $deadline ] || ! kill -0 "${pid[$key]}" 2>/dev/null; then
            echo "run.sh: $key does not start: $(tail -n 1 "$out/raw/$key.log")" >&2
            stop "$key"
            return
        fi
        sleep 0.01
    done
}

stop()
{
    local key=$1 name=${1%%--*} deadline=$((SECONDS + START_S)) one children

    if [ -n "${pid[$key]:-}" ] && [ -z "${outside[$name]:-}" ]; then
        children=$(pgrep -P "${pid[$key]}" || true)
        kill "${pid[$key]}" 2>/dev/null || true
        while kill -0 "${pid[$key]}" 2>/dev/null && [ $SECONDS -lt $deadline ]; do
            sleep 0.01
        done
        for one in ${pid[$key]} $children; do
            kill -KILL "$one" 2>/dev/null || true
        done
        wait "${pid[$key]}" 2>/dev/null || true
    fi
    unset "pid[$key]" "url[$key]"
}

stop_all()
{
    local key

    [ -z "$load_pid" ] || kill "$load_pid" 2>/dev/null || true
    for key in "${!url[@]}"; do
        stop "$key"
    done
    [ -z "$work" ] || rm -rf "$work"
}

# ---- runs ----

# run SEQ KEY PINNED SPEAK OPTIONS... - one JSON object, or what went wrong.
run()
{
    local seq=$1 key=$2 pinned=$3 how=$4 status=0 one options
    shift 4

    if [ -z "${url[$key]:-}" ]; then
        echo "the server did not start" >"$out/raw/$seq.err"
        failed=1
        return
    fi
    [ "$how" != - ] || how=${speak[$key]}
    options=(--url "${url[$key]}" --runs 1 --json --label "server=${key%%--*}")
    if [ -e "$how" ]; then options+=(--template "$how"); else options+=(--speak "$how"); fi
    for one in ${pid[$key]}; do
        options+=(--pid "$one")
    done
    [ -z "${metrics[$key]}" ] || options+=(--metrics "${metrics[$key]}")
    [ "$pinned" = no ] || options+=(--pin "$load_core")
    timeout -k 2 $RUN_S "$programs/load" "${options[@]}" "${@//capacity/$capacity}" \
        >"$out/raw/$seq.json" 2>"$out/raw/$seq.err" &
    load_pid=$!
    wait "$load_pid" || status=$?
    load_pid=""
    if [ $status != 0 ]; then
        echo "exit status $status" >>"$out/raw/$seq.err"
        echo "run.sh: run $seq of $key is not clean: $(head -n 1 "$out/raw/$seq.err")" >&2
        failed=1
    fi
}

# Makes the runs of the plan.
follow_plan()
{
    local verb rest capacity=0 total

    total=$(grep -c ^run "$out/raw/steps.tsv")
    while IFS=$'\t' read -r verb rest <&3; do
        set -- $rest
        case $verb in
        say) echo "run.sh: $((SECONDS)) s, $rest" >&2 ;;
        capacity) capacity=$(node bench/report/capacity.mjs "$out/raw/$1.json" "$2") || { capacity=1 && failed=1; } ;;
        start | run | stop) "$verb" "$@" ;;
        esac
    done 3<"$out/raw/steps.tsv"
    echo "run.sh: $total runs in $SECONDS s" >&2
}

describe()
{
    printf '%s\t%s\n' command "$command_line" commit "$commit" \
        date "$(date -u +%Y-%m-%dT%H:%MZ)" system "$(. /etc/os-release && echo "$PRETTY_NAME")" \
        cores "$(nproc)" server_core "$server_core" load_core "$load_core" nofile "$(ulimit -n)" \
        seconds "$SECONDS" >"$out/raw/run.tsv"
}

main()
{
    local name

    read_command_line "$@"
    work=$(mktemp -d)
    trap stop_all EXIT
    trap 'exit 130' INT TERM
    ulimit -n "$(ulimit -Hn)"
    build
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    [ ! -e "$out/raw" ] || [ -e "$out/raw/plan.json" ] || fail "--out '$out': what is in raw/ is no report of ours"
    rm -rf "$out/raw" "$out/results.json" "$out/report.md" "$out"/{cost-by-*,latency,memory-by-connections}.svg
    mkdir "$out/raw"
    touch "$out/raw/servers.tsv" "$out/raw/missing.tsv"
    choose_cores
    echo "run.sh: servers on core $server_core, load on core $load_core" >&2
    for name in "${wanted[@]}"; do
        prepare_peer "$name"
    done
    for name in "${!outside[@]}"; do
        servers+=("$name")
        printf '%s\tat %s\n' "$name" "${outside[$name]}" >>"$out/raw/servers.tsv"
    done
    node bench/report/plan.mjs "$out" "$profile" "${servers[@]}" >"$out/raw/steps.tsv"
    follow_plan
    describe
    node bench/report/report.mjs "$out" || failed=1
    exit $failed
}

# all of it is read before anything runs, so that an edit meanwhile does no harm
main "$@"
