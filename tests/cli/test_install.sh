#!/usr/bin/env bash
# cmake --install: what lies where, after the installed folder was moved. A program is built against the library by
# pkg-config and by find_package, and finds what "emoclim search" finds; launchers and batch files find the program.
# usage: test_install.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"

build=$(dirname "$emoclim")
cmake --install "$build" --prefix "$work/first" >log || { cat log; exit 1; }
mv first prefix
prefix=$work/prefix
share=$prefix/share/emoclim
lib=$(dirname "$(dirname "$(find "$prefix" -name emoclim.pc)")")
emoclim=$prefix/bin/emoclim
export PKG_CONFIG_PATH=$lib/pkgconfig

run 0 --version
version=$(sed 's/emoclim //' out)
for file in share/man/man1/emoclim.1 share/bash-completion/completions/emoclim share/zsh/site-functions/_emoclim \
    share/doc/emoclim/README.md share/doc/emoclim/LICENSE share/doc/emoclim/docs/cluster.md \
    share/doc/emoclim/docs/examples/search.c; do
    [ -s "$prefix/$file" ] || complain "$file is not installed"
done
run 0 manual
cmp -s out "$prefix/share/man/man1/emoclim.1" || complain "the manual page is not that of the program"
run 0 completion bash
cmp -s out "$prefix/share/bash-completion/completions/emoclim" || complain "completion is not that of the program"
for file in $(find "$prefix" -type f -name '*.cmake') "$lib/pkgconfig/emoclim.pc" "$share"/*/*.sh; do
    ! grep -nE "$build|$work/first|$root/src" "$file" || complain "$file names a folder of the build"
done

# Launchers, batch files and configurations beside each other.
for config in "$share"/configs/*.yaml; do run 0 config check "$config"; done
"$share/launch/single-node.sh" --ranks 1 --dry-run doctor >out 2>err || complain "single-node.sh: $(cat err)"
says out " $emoclim doctor"
printf 'a\nb\n' >hosts
"$share/launch/multi-node.sh" --hostfile hosts --dry-run doctor >out 2>err || complain "multi-node.sh: $(cat err)"
says out " $emoclim doctor"
cp -r "$share/cluster" .
export PATH=$prefix/bin:$PATH
(. cluster/job.sh && echo "$emoclim") >out 2>err || complain "job.sh: $(cat err)"
says out "$emoclim"
(EMOCLIM_ROOT=$share && cd / && . "$share/cluster/job.sh" && echo "$emoclim") >out 2>err || complain "job.sh: $(cat err)"
says out "$emoclim"

# The library, in two ways.
sanitize=$(sed -n 's/^EMOCLIM_SANITIZE:STRING=//p' "$build/CMakeCache.txt")
flags=${sanitize:+-fsanitize=$sanitize}
cp "$prefix/share/doc/emoclim/docs/examples/search.c" .
[ "$(pkg-config --modversion emoclim)" = "$version" ] || complain "pkg-config: version $(pkg-config --modversion emoclim)"
# shellcheck disable=SC2046,SC2086
${CC:-cc} $flags search.c $(pkg-config --cflags --libs emoclim) -o by-pkg-config >log 2>&1 ||
    complain "by pkg-config: $(tail -n 5 log)"
mkdir by-cmake
cat >by-cmake/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.24)
project(example LANGUAGES C)
find_package(emoclim 99 QUIET)
if(emoclim_FOUND)
  message(FATAL_ERROR "version 99 was found")
endif()
find_package(emoclim ${VERSION} REQUIRED)
add_executable(search ../search.c)
target_link_libraries(search PRIVATE emoclim::emoclim)
END
cmake -S by-cmake -B by-cmake/build -DCMAKE_PREFIX_PATH="$prefix" -DVERSION="$version" -DCMAKE_C_FLAGS="$flags" \
    >log 2>&1 && cmake --build by-cmake/build >>log 2>&1 || complain "by CMake: $(tail -n 20 log)"

run 0 demo --quiet --out data --images 12 --tracks 12 --seed 5
cat >run.yaml <<'END'
dataset:
  {image_manifest: data/images.csv, audio_manifest: data/music.csv, image_cache: images.h5, audio_cache: music.h5}
image_backbone: {layers: 1, width: 64, heads: 1, output_dim: 32}
audio_backbone: {n_channels: 4}
full_model: {hidden_dim: 12, output_dim: 8, base_output_dim: 10}
training: {batch_size: 8, max_steps: 3}
logging: {folder: run}
END
run 0 cache build --quiet run.yaml
run 0 train --quiet run.yaml
run 0 embed --quiet -c run/checkpoints/best.h5 --cache music.h5 -o index.h5
picture=$(find data/images -type f | sort | head -n 1)
run 0 search -c run/checkpoints/best.h5 --image "$picture" --index index.h5 -k 5
sed '1d;$d' out >expected
[ "$(wc -l <expected)" -eq 5 ] || complain "5 results expected: $(cat expected)"
for program in ./by-pkg-config by-cmake/build/search; do
    "$program" run/checkpoints/best.h5 index.h5 "$picture" 5 >found 2>err || complain "$program: $(cat err)"
    cmp -s expected found || complain "$program: expected $(cat expected), found $(cat found)"
    # A module that is loaded at run time takes what it needs from the program.
    [ ! -f "$prefix/lib/emoclim/libemoclim_cuda.so" ] || nm -D "$program" | grep -q ' T ec__error_raise$' ||
        complain "$program does not offer the library to modules"
done
[ ! -f "$build/libemoclim_cuda.so" ] || [ -f "$prefix/lib/emoclim/libemoclim_cuda.so" ] || complain "no CUDA module"
[ ! -f "$build/libemoclim_ffmpeg.so" ] || [ -f "$prefix/lib/emoclim/modules/libemoclim_ffmpeg.so" ] ||
    complain "no module of FFmpeg"
finish
