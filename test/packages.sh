# Sourced by examples/run.sh, test/run.sh and bench/run.sh: the Debian packages that they need, and how those get
# onto the machine.

# All that CMakeLists.txt asks for.
PACKAGES_BUILD="build-essential ccache cmake ninja-build pkg-config libh2o-evloop-dev libpcre2-dev
    libsodium-dev libssl-dev libjansson-dev zlib1g-dev libhiredis-dev libnats-dev libpq-dev
    libcmocka-dev"
# What some tests run: a browser (that can show text) and node to steer it.
PACKAGES_TEST="clang-format chromium fonts-dejavu-core ca-certificates"
PACKAGES_NODE="nodejs npm"
# The brokers that the bus runs on; tests start their own, and none runs as a service.
PACKAGES_BROKERS="redis-server nats-server postgresql-15"
PACKAGES_COVERAGE="gcovr"
# Debian's clang brings libFuzzer with it.
PACKAGES_FUZZ="clang libclang-rt-dev"

# Another node than Debian's will do, and would be in conflict with it.
have_node()
{
    command -v npm >/dev/null &&
        node -e 'process.exit(process.versions.node.split(".")[0] >= 18 ? 0 : 1)' 2>/dev/null
}

# without_services COMMAND... - runs it as root; what it installs is not started, now or at the next
# boot, and PostgreSQL makes no cluster of its own. Servers that were there before stay as they are.
without_services()
{
    $as_root sh -c '
        set -u
        policy=/usr/sbin/policy-rc.d
        cluster=/etc/postgresql-common/createcluster.conf
        before=$(cd /lib/systemd/system && ls redis-server.service nats-server.service 2>/dev/null)
        [ ! -e "$policy" ] || policy=
        [ ! -e "$cluster" ] || cluster=
        tidy()
        {
            [ -z "$policy" ] || rm -f "$policy"
            # the file that its package comes with, where that got so far
            [ -z "$cluster" ] || rm -f "$cluster"
            [ -z "$cluster" ] || cp "/usr/share/postgresql-common/${cluster##*/}" "$cluster" || true
            for service in redis-server nats-server; do
                case $before in *$service*) continue ;; esac
                rm -f /etc/systemd/system/multi-user.target.wants/$service.service
                [ ! -e /etc/init.d/$service ] || update-rc.d $service disable || true
            done
        } 2>/dev/null
        trap tidy EXIT
        trap "exit 1" HUP INT TERM
        if [ -n "$policy" ]; then
            printf "#!/bin/sh\nexit 101\n" >"$policy" && chmod 755 "$policy"
        fi
        if [ -n "$cluster" ]; then
            mkdir -p "${cluster%/*}" && echo "create_main_cluster = false" >"$cluster"
        fi
        "$@"' without_services "$@"
}

# install_packages NAME... - asks apt only for what is missing, and for new lists only when it does
# not find that. Everything is said on stderr.
install_packages()
{
    if ! command -v apt-get >/dev/null; then
        echo "not a Debian: make sure of these yourself: $*" >&2
        return 0
    fi
    installed=$(
        { dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "$@" || true; } \
            2>/dev/null | sed -n 's/ installed$//p'
    )
    missing=""
    for name in "$@"; do
        printf '%s\n' "$installed" | grep -qx "$name" || missing="$missing $name"
    done
    [ -n "$missing" ] || return 0

    as_root=""
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        if ! command -v sudo >/dev/null; then
            echo "please install as root: apt-get install$missing" >&2
            return 1
        fi
    fi
    echo "installing$missing" >&2
    apt="env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
        -o Dpkg::Use-Pty=0"
    install="$apt install --yes --no-install-recommends $missing"
    run=$as_root
    case $missing in
    *-server* | *postgresql*) run=without_services ;;
    esac
    $run $install >&2 2>/dev/null || { $as_root $apt update >&2 && $run $install >&2; }
}
