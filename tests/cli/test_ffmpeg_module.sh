#!/usr/bin/env bash
# FFmpeg is a module: the program starts without its libraries, finds the module in either of its places, and where it
# is missing or not the right one, says so for sound, and for nothing else.
# usage: test_ffmpeg_module.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
module=libemoclim_ffmpeg.so
built=$(dirname "$emoclim")/$module
[ -f "$built" ] || skip "this build has no FFmpeg"
! objdump -p "$emoclim" | grep -E 'NEEDED.*lib(av|sw)' || complain "the program needs FFmpeg's libraries to start"

mkdir -p alone/bin alone/lib/emoclim/modules
cp "$emoclim" alone/bin
emoclim=$work/alone/bin/emoclim
writes_sound() { # EXIT_CODE
    rm -rf data
    run "$1" demo --quiet --out data --images 1 --tracks 2
}
refused() { # TEXT...: sound cannot be written or read, and each of these is said of it
    local text
    writes_sound 4
    [ ! -e data ] || complain "demo wrote before it found that sound cannot be written: $(find data | head)"
    cp err err.demo
    says err "sound, and pictures other than JPEG and PNG, need FFmpeg, which cannot be loaded: "
    run 0 doctor
    says out "media       JPEG, PNG"
    ! grep -q 'WAV' out || complain "doctor offers WAV files: $(cat out)"
    for text; do
        says out "$text"
        says err.demo "$text"
    done
}
places=("$work/alone/bin/$module" "$work/alone/bin/../lib/emoclim/modules/$module")
run 0 --help
refused "${places[0]}: not there" "${places[1]}: not there"
echo "no library" >alone/bin/$module
refused "${places[0]}: file too short" "${places[1]}: not there"
cp "$(dirname "$built")/libemoclim_cuemu.so" alone/bin/$module
refused "${places[0]}: is another module"

# In either place; a variable that is there for the CUDA module changes nothing.
for place in "${places[@]}"; do
    rm -f alone/bin/$module
    cp "$built" "$place"
    EMOCLIM_MODULE_PATH='' writes_sound 0
    run 0 doctor
    says out "and what FFmpeg reads: "
    rm "$place"
done
finish
