#!/usr/bin/env bash
# Installs what is missing and builds a preset, or one target of it: launch/build.sh [release|debug|asan|ubsan] [TARGET].
# Does nothing that is done.
set -eu
cd "$(dirname "$0")/.."
preset=${1:-release}
launch/setup.sh
if [ ! -f "build/$preset/build.ninja" ]; then
    cmake --preset "$preset" >"/tmp/emoclim-configure.$$" 2>&1 || { cat "/tmp/emoclim-configure.$$" >&2; exit 1; }
    rm -f "/tmp/emoclim-configure.$$"
fi
cmake --build --preset "$preset" ${2:+--target "$2"} -- --quiet
