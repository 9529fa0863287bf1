#!/bin/sh
# run.sh WAY SOURCE BUILD CC - installs BUILD into a folder of its own, then builds and runs programs
# against that copy alone. WAY is headers (each one compiles on its own, in C and C++), cmake or
# pkg-config (both of them against the shared and the static library).
set -eu
way=$1 source=$2 build=$3 cc=$4
here=$source/test/install
work=$build/test/install/$way
prefix=$work/prefix
example=$source/examples/echo.c
cxx=$(case $cc in *clang*) echo clang++ ;; *) echo g++ ;; esac)
warnings="-Wall -Wextra -Werror"

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$prefix" >"$work/install.log"
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig:$(echo "$prefix"/lib/*/pkgconfig)"
shared_dir=$(dirname "$(find "$prefix" -name libsockethub.so)")

try_programs() # FOLDER: runs the three, the example only far enough to see it start
{
    LD_LIBRARY_PATH=$shared_dir "$1/consumer_c"
    LD_LIBRARY_PATH=$shared_dir "$1/consumer_cpp"
    LD_LIBRARY_PATH=$shared_dir "$1/example" --help >"$work/help.log"
}

with_cmake() # shared|static
{
    cmake -S "$here" -B "$work/$1" -DWITH="$1" -DEXAMPLE="$example" -DCMAKE_PREFIX_PATH="$prefix" \
        -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_FLAGS="$warnings" \
        -DCMAKE_CXX_FLAGS="$warnings" >"$work/$1.log"
    cmake --build "$work/$1" >>"$work/$1.log" || { cat "$work/$1.log"; exit 1; }
    try_programs "$work/$1"
}

with_pkg_config() # shared|static
{
    mkdir -p "$work/$1"
    libs=$(pkg-config --libs $([ "$1" = shared ] || echo --static) sockethub)
    if [ "$1" = static ]; then # a linker given both takes the shared one
        libs=$(echo "$libs" | sed 's/-lsockethub/-l:libsockethub.a/')
    fi
    cflags="$warnings $(pkg-config --cflags sockethub)"
    "$cc" $cflags -o "$work/$1/consumer_c" "$here/consumer.c" $libs
    "$cxx" $cflags -o "$work/$1/consumer_cpp" "$here/consumer.cpp" $libs
    "$cc" $cflags -o "$work/$1/example" "$example" $libs
    try_programs "$work/$1"
}

each_header()
{
    cflags="$warnings -fsyntax-only $(pkg-config --cflags sockethub)"
    cd "$prefix/include/sockethub"
    for header in */*.h; do
        printf '#include <%s>\n' "$header" >"$work/header.c"
        "$cc" $cflags -std=c11 -D_GNU_SOURCE -pedantic "$work/header.c"
        "$cxx" $cflags -x c++ "$work/header.c"
    done
}

case $way in
headers) each_header ;;
cmake) with_cmake shared; with_cmake static ;;
pkg-config) with_pkg_config shared; with_pkg_config static ;;
*) echo "unknown way: $way"; exit 2 ;;
esac
