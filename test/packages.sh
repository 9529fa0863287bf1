# Sourced by examples/run.sh, test/run.sh and bench/run.sh: the Debian packages that they need, and how those get
# onto the machine.

# All that CMakeLists.txt asks for.
PACKAGES_BUILD="build-essential ccache cmake ninja-build pkg-config libh2o-evloop-dev libpcre2-dev
    libsodium-dev libssl-dev libjansson-dev zlib1g-dev libcmocka-dev"
# What some tests run: a browser (that can show text) and node to steer it.
PACKAGES_TEST="clang-format chromium fonts-dejavu-core ca-certificates"
PACKAGES_NODE="nodejs npm"
PACKAGES_COVERAGE="gcovr"
# Debian's clang brings libFuzzer with it.
PACKAGES_FUZZ="clang libclang-rt-dev"

# Another node than Debian's will do, and would be in conflict with it.
have_node()
{
    command -v npm >/dev/null &&
        node -e 'process.exit(process.versions.node.split(".")[0] >= 18 ? 0 : 1)' 2>/dev/null
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
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
        -o Dpkg::Use-Pty=0"
    install="$apt install --yes --no-install-recommends $missing"
    $install >&2 2>/dev/null || { $apt update >&2 && $install >&2; }
}
