#!/bin/sh
# examples/run.sh [options of the chat] - from a fresh checkout to a running chat: installs what is
# missing, builds, and becomes the chat, whose one line on stdout is the address to open. --help
# tells its options. With npm at hand it fetches phoenix.js for the page /phoenix.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/packages.sh"
modules=$root/build/examples/node_modules

# phoenix.js is for one page alone: without it the chat starts as well.
install_phoenix()
{
    # npm writes that file last
    if [ -e "$modules/.package-lock.json" ] &&
        [ ! "$root/examples/package-lock.json" -nt "$modules/.package-lock.json" ]; then
        return 0
    fi
    command -v npm >/dev/null || return 1
    mkdir -p "$root/build/examples"
    cp "$root/examples/package.json" "$root/examples/package-lock.json" "$root/build/examples"
    npm ci --prefix "$root/build/examples" --no-audit --no-fund --ignore-scripts --loglevel=silent \
        --fetch-retries=0 --fetch-timeout=20000
}

(
    install_packages $PACKAGES_BUILD
    cd "$root"
    cmake --preset release >/dev/null
    cmake --build --preset release --target chat -- --quiet
) >&2
if install_phoenix >&2; then
    set -- --phoenix "$modules/phoenix/priv/static/phoenix.mjs" "$@"
else
    echo "run.sh: no npm, or it could not fetch phoenix.js: /phoenix will only say so" >&2
fi
exec "$root/build/release/examples/chat" "$@"
