# Sourced by bench/run.sh, with $peers_home set: how peers get onto the machine, and where they are
# then. Debian's packages of servers start them, now and at each boot, so they are unpacked under
# $peers_home instead: no service is started or touched.

debian=$peers_home/debian

# install_npm - what package-lock.json says.
install_npm()
{
    if [ bench/peers/package-lock.json -nt "$peers_home/node_modules/.package-lock.json" ]; then
        mkdir -p "$peers_home"
        cp bench/peers/package.json bench/peers/package-lock.json "$peers_home"
        npm ci --prefix "$peers_home" --no-audit --no-fund --ignore-scripts --loglevel=error >&2
    fi
}

# missing_debs NAME... - "package=version" of each that the system does not have, dependencies too.
missing_debs()
{
    LC_ALL=C apt-get install --simulate --no-install-recommends "$@" |
        sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p'
}

root()
{
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# unpack_debs NAME... - asks for new lists only where they know nothing of a package.
unpack_debs()
{
    local list="$debian/$1.list" folder missing

    [ ! -e "$list" ] || return 0
    if ! missing=$(missing_debs "$@" 2>/dev/null); then
        root apt-get -qq update >&2
        missing=$(missing_debs "$@")
    fi
    folder=$(mktemp -d)
    mkdir -p "$debian"
    if [ -n "$missing" ]; then
        echo "unpacking" $missing >&2
        (cd "$folder" && apt-get download -qq $missing >&2)
        find "$folder" -name '*.deb' -exec dpkg --extract {} "$debian" \;
    fi
    rm -r "$folder"
    echo "$missing" >"$list"
}

# install_peer PACKAGES
install_peer()
{
    case $1 in
    "") ;;
    npm) install_npm ;;
    *) unpack_debs $1 ;;
    esac
}

debian_file()
{
    local package=$1 path=$2 place

    for place in "$debian" ""; do
        [ ! -e "$place$path" ] || { echo "$place$path" && return; }
    done
    echo "package $package is there without $path" >&2
    return 1
}

debian_program()
{
    debian_file "$1" "/usr/sbin/$1"
}

debian_version()
{
    { dpkg-query --show --showformat='${db:Status-Status} ${Version}\n' "$1" 2>/dev/null |
        sed -n 's/^installed //p'; cat "$debian"/*.list 2>/dev/null | sed -n "s/^$1=//p"; } |
        sed -n 1p
}

npm_version()
{
    node -p 'require(process.argv[1]).version' "$peers_home/node_modules/$1/package.json"
}
