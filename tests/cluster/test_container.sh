#!/usr/bin/env bash
# ctest: slow
# cluster/emoclim.def without Apptainer: its stages one after the other in copies of a Debian root, and its %test.
# Wants root, and in EMOCLIM_DEBIAN_ROOT a folder with a bare Debian 12 in which apt-get works (debootstrap makes one).
# usage: test_container.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"
[ "$(id -u)" -eq 0 ] || skip "not root"
[ -n "${EMOCLIM_DEBIAN_ROOT:-}" ] && [ -x "$EMOCLIM_DEBIAN_ROOT/usr/bin/apt-get" ] || skip "EMOCLIM_DEBIAN_ROOT names no Debian root"

definition=$root/cluster/emoclim.def
section() { "$root/tests/support/definition.sh" "$definition" "$@"; } # STAGE SECTION
release() {
    local stage mounted
    for stage in build final; do
        for mounted in proc dev; do umount "$work/$stage/$mounted" 2>/dev/null || true; done
    done
}
trap release EXIT

copy_files() { # FROM TO: lines "SOURCE DESTINATION" of standard input
    local source destination
    while read -r source destination; do
        mkdir -p "$2$(dirname "$destination")"
        cp -rT "$1/$source" "$2$destination"
    done
}
in_stage() { # STAGE SECTION: as Apptainer does, by /bin/sh as root
    section "$1" "$2" >"$1/section.sh"
    chroot "$1" /bin/sh /section.sh >"$1.$2.log" 2>&1 || { tail -n 30 "$1.$2.log"; exit 1; }
}
for stage in build final; do
    cp -a "$EMOCLIM_DEBIAN_ROOT" $stage
    mount --bind /proc $stage/proc
    mount --bind /dev $stage/dev
    if [ $stage = build ]; then section build files | copy_files "$root" "$work/build"
    else section final 'files from build' | copy_files "$work/build" "$work/final"; fi
    in_stage $stage post
done
in_stage final test
grep -q 'all is well' final.test.log || complain "doctor: $(head -n 20 final.test.log)"
grep -qE '^ +5 +0\.[0-9]+ ' final.test.log || complain "no five results: $(tail -n 12 final.test.log)"
section final runscript >final/run.sh
chroot final /bin/sh /run.sh --version >version
[ "$(cat version)" = "$("$emoclim" --version)" ] || complain "the version is $(cat version)"
[ ! -e final/packages ] && [ ! -e final/source ] || complain "sources or packages were left"
release
finish "$(du -sh final | cut -f1) in the final stage"
