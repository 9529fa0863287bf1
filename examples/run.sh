#!/bin/sh
# examples/run.sh [options of the chat] - from a fresh checkout to a running chat: installs what is
# missing, builds, and becomes the chat, whose one line on stdout is the address to open. --help
# tells its options.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/packages.sh"

(
    install_packages $PACKAGES_BUILD
    cd "$root"
    cmake --preset release >/dev/null
    cmake --build --preset release --target chat -- --quiet
) >&2
exec "$root/build/release/examples/chat" "$@"
