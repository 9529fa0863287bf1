# The hub, bench/hub_server.c. Options: its own.
packages=""
speaks=native
metrics_path=/metrics

version()
{
    git describe --always --dirty
}

serve()
{
    local port=$1
    shift 2
    exec "$programs/hub_server" --port "$port" "$@"
}
