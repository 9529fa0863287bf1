# Sourced by examples/cluster.sh and bench/bus.sh: a broker of Debian's packages on a free port of
# 127.0.0.1, with its data in a folder that the caller takes away again.

postgres_bin=/usr/lib/postgresql/15/bin

# broker_package KIND - the Debian package, or status 1 for what is none.
broker_package()
{
    case $1 in
    redis) echo redis-server ;;
    nats) echo nats-server ;;
    postgres) echo postgresql-15 ;;
    *) return 1 ;;
    esac
}

# PostgreSQL refuses to run as root.
as_postgres()
{
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --clear-groups --pdeathsig=TERM "$@"
    fi
    exec "$@"
}

# broker_run KIND PORT FOLDER - becomes the broker; its lines go to FOLDER/log.
broker_run()
{
    case $1 in
    redis) exec redis-server --bind 127.0.0.1 --port "$2" --save "" --dir "$3" >"$3/log" 2>&1 ;;
    nats) exec nats-server --addr 127.0.0.1 --port "$2" -js -sd "$3" >"$3/log" 2>&1 ;;
    postgres)
        as_postgres "$postgres_bin/postgres" -D "$3/db" -c listen_addresses=127.0.0.1 \
            -c port="$2" -c unix_socket_directories= >"$3/log" 2>&1
        ;;
    esac
}

# broker_is_up PORT - whether it accepts connections.
broker_is_up()
{
    bash -c ": </dev/tcp/127.0.0.1/$1" 2>/dev/null
}

# broker_start KIND FOLDER - starts one in the background; sets broker_pid and broker_url. Status 1:
# it did not come up within 30 s, and its last lines are on stderr.
broker_start()
{
    if [ "$1" = postgres ]; then
        [ "$(id -u)" != 0 ] || chown postgres "$2"
        (as_postgres "$postgres_bin/initdb" --pgdata="$2/db" --auth=trust --username=postgres \
            --no-sync >"$2/initdb") || return 1
    fi
    broker_tries=5 # another one may take the port meanwhile
    while [ "$broker_tries" != 0 ]; do
        broker_tries=$((broker_tries - 1))
        broker_port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        ! broker_is_up "$broker_port" || continue
        (broker_run "$1" "$broker_port" "$2") &
        broker_pid=$!
        broker_url=$1://127.0.0.1:$broker_port
        [ "$1" != postgres ] || broker_url=postgres://postgres@127.0.0.1:$broker_port/postgres
        broker_waits=300
        while kill -0 "$broker_pid" 2>/dev/null && [ "$broker_waits" != 0 ]; do
            ! broker_is_up "$broker_port" || return 0
            broker_waits=$((broker_waits - 1))
            sleep 0.1
        done
    done
    tail -n 5 "$2/log" >&2
    return 1
}
