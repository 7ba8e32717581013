#!/usr/bin/env bash
# ctest: slow
# The Debian packages: built, looked at by the rules, unpacked, and used from there: doctor, a small training, a program
# built against the library.
# usage: test_deb.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"
for tool in cmake cpack ninja file dpkg-deb dpkg-shlibdeps mpirun; do
    command -v $tool >/dev/null || skip "$tool is not here"
done

(cd "$root" && cmake --preset deb -B "$work/build") >log 2>&1 || { tail -n 20 log; exit 1; }
cmake --build build >log 2>&1 && (cd build && cpack) >>log 2>&1 || { tail -n 20 log; exit 1; }
version=$("$emoclim" --version | sed 's/emoclim //')
architecture=$(dpkg --print-architecture)
for package in emoclim libemoclim-dev; do
    file=build/${package}_${version}-1_$architecture.deb
    [ -f "$file" ] || { echo "no $file"; ls build/*.deb; exit 1; }
    dpkg -x "$file" unpacked
    dpkg-deb -f "$file" >$package.control
    for line in "Package: $package" "Version: $version-1" "Maintainer: " "Section: " "Description: "; do
        says $package.control "$line"
    done
    [ "$(grep -A 99 '^Description:' $package.control | grep -c '^ ')" -ge 2 ] || complain "$package: no long description"
    says "unpacked/usr/share/doc/$package/copyright" "Permission is hereby granted, free of charge"
    says "unpacked/usr/share/doc/$package/copyright" "License: Expat"
    zcat "unpacked/usr/share/doc/$package/changelog.Debian.gz" | grep -q "^emoclim ($version-1) " ||
        complain "$package: no changelog of this version"
    dpkg-deb -c "$file" | awk '$2 != "root/root" { print; bad = 1 } END { exit bad }' ||
        complain "$package: not owned by root"
    dpkg-deb -c "$file" | awk '$1 ~ /^.....w|^........w/ { print; bad = 1 } END { exit bad }' ||
        complain "$package: others may write"
done
if command -v lintian >/dev/null; then
    # It is no upload to Debian, so it closes no bug there; batch files are submitted, not executed.
    lintian --allow-root --fail-on warning --suppress-tags initial-upload-closes-no-bugs,script-not-executable \
        build/*.deb >lintian.log 2>&1 || complain "lintian: $(cat lintian.log)"
else
    echo "lintian is not here: its rules were not tried"
fi

# Every library that the program and its module name belongs to a package that is asked for.
emoclim=$work/unpacked/usr/bin/emoclim
module=$work/unpacked/usr/lib/emoclim/modules/libemoclim_ffmpeg.so
needed=0
[ ! -f "${programs%/*/*}/libemoclim_ffmpeg.so" ] || [ -f "$module" ] || complain "the module is not in the package"
# shellcheck disable=SC2086
for library in $(objdump -p "$emoclim" $(ls "$module" 2>/dev/null) | awk '$1 == "NEEDED" { print $2 }'); do
    path=$(ldconfig -p | awk -v name="$library" '$1 == name { print $NF; exit }')
    owner=$(dpkg -S "$path" 2>/dev/null || dpkg -S "/usr$path" 2>/dev/null || dpkg -S "${path#/usr}") || owner=
    owner=${owner%%:*}
    needed=$((needed + 1))
    grep '^Depends:' emoclim.control | grep -qE "[ ,]${owner:-nobody} ?[(,]|[ ,]${owner:-nobody}$" ||
        complain "$library of package $owner is not asked for: $(grep ^Depends: emoclim.control)"
done
[ "$needed" -gt 8 ] || complain "only $needed libraries"
says emoclim.control "Recommends: openmpi-bin"
! strings "$emoclim" $(ls "$module" 2>/dev/null) | grep -F "$root" || complain "the program names the folder that it was built in"
zcat unpacked/usr/share/man/man1/emoclim.1.gz | cmp -s - build/printed/emoclim.1 || complain "another manual page"

# Used from where it was unpacked.
cd unpacked/usr
run 0 doctor
cd "$work"
unpacked/usr/share/emoclim/launch/quickstart.sh quick >quick.log 2>&1 || complain "quickstart: $(tail -n 5 quick.log)"
says quick.log "  unpacked/usr/bin/emoclim search --checkpoint"
run 0 search --json -c quick/run/checkpoints/best.h5 --index quick/index.h5 -k 3 \
    --image "$(find quick/data/images -type f | sort | head -n 1)"
[ "$(grep -c '"rank"' out)" -eq 3 ] || complain "3 results expected: $(cat out)"
PKG_CONFIG_PATH=$(dirname "$(find unpacked -name emoclim.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
cc unpacked/usr/share/doc/emoclim/docs/examples/search.c $(pkg-config --cflags --libs emoclim) -o search
./search quick/run/checkpoints/best.h5 quick/index.h5 "$(find quick/data/images -type f | sort | head -n 1)" 3 >found
[ "$(awk '{ print $NF }' found)" = "$(sed -n 's/.*"id": "\(.*\)",/\1/p' out)" ] ||
    complain "found $(cat found), not $(cat out)"
finish "$needed libraries"
