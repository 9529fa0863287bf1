# NATS over its websocket.
packages=nats-server
speaks=nats

version()
{
    debian_version nats-server
}

serve()
{
    local port=$1 folder=$2

    cat >"$folder/nats.conf" <<END
host: 127.0.0.1
port: -1
log_file: "$folder/log"
websocket {
    host: 127.0.0.1
    port: $port
    no_tls: true
    compression: false
}
END
    # as many as it has cores
    GOMAXPROCS=$(nproc) exec "$(debian_program nats-server)" --config "$folder/nats.conf"
}
