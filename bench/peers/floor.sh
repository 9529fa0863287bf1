# The machine's limit, bench/floor.c. Options: --mode single | batched.
packages=""
speaks=text

version()
{
    git describe --always --dirty
}

serve()
{
    local port=$1
    shift 2
    exec "$programs/floor" --port "$port" "$@"
}
