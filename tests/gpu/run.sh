#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, tests, compute-sanitizer on our kernels, measurements. Under nine
# minutes; needs the CUDA toolkit and no network. Packages that the machine lacks come from tests/gpu/bundle.sh.
#
#   tests/gpu/run.sh [FOLDER]           default: build/gpu-results; gets results.json and the logs of every part
#
# BUNDLE names the archive of bundle.sh (default: build/gpu-bundle/bundle.tar.xz). PYTHON names an interpreter with torch for
# the comparison (default: python3; left out where it has none). SECONDS_MAX bounds the whole (default 530): parts that
# find no time left are named in results.json as not run. The exit status is 0 when all tests passed, sanitizers included.
set -u
cd "$(dirname "$0")/../.."
out=${1:-build/gpu-results}
bundle=${BUNDLE:-build/gpu-bundle/bundle.tar.xz}
python=${PYTHON:-python3}
limit=${SECONDS_MAX:-530}
rm -rf "$out"
mkdir -p "$out/figures"
out=$(realpath "$out")
failed=0
SECONDS=0

left() { echo $((limit - SECONDS)); }
say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
text() { printf '"%s"' "$(printf '%s' "$*" | tr -d '\n' | sed 's/[\\"]/\\&/g')"; }

parts=()
part() { # NAME MOST-SECONDS COMMAND...: into NAME.log; remembers how it ended
    local name=$1 most=$2 code=0 start=$SECONDS
    shift 2
    [ "$(left)" -gt "$most" ] || most=$(left)
    if [ "$most" -lt 5 ]; then
        parts+=("{\"name\": \"$name\", \"result\": \"not run: no time left\"}")
        say "$name: not run, no time left"
        failed=1
        return 1
    fi
    timeout "$most" "$@" >"$out/$name.log" 2>&1 || code=$?
    parts+=("{\"name\": \"$name\", \"seconds\": $((SECONDS - start)), \"exit_code\": $code}")
    say "$name: exit code $code"
    if [ $code -ne 0 ]; then
        tail -n 25 "$out/$name.log"
        failed=1
    fi
    return $code
}

results() { # results.json from what there is so far
    local figures="" comma="" f
    for f in "$out"/figures/*.json; do
        [ -s "$f" ] || continue
        figures+="$comma$(printf '{"name": "%s", "result": ' "$(basename "$f" .json)")$(cat "$f")}"
        comma=", "
    done
    local IFS=,
    printf '{"date": "%s", "commit": %s, "device": %s, "nvcc": %s, "system": %s, "seconds": %d, "parts": [%s], "figures": [%s]}\n' \
        "$(date -u +%Y-%m-%dT%H:%MZ)" "$(text "$(git rev-parse HEAD 2>/dev/null || echo unknown)")" \
        "$(text "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>&1 | head -n 1)")" \
        "$(text "$(nvcc --version 2>/dev/null | sed -n 's/^Build //p')")" "$(text "$(uname -srm)")" "$SECONDS" \
        "${parts[*]}" "$figures" >"$out/results.json"
}
trap results EXIT

nvidia-smi -L >"$out/devices.log" 2>&1 || { echo "tests/gpu/run.sh: no GPU: $(cat "$out/devices.log")" >&2; exit 4; }
cat "$out/devices.log"
export PATH=$PATH:/usr/local/cuda/bin
if ! pkg-config --exists yaml-0.1 jansson 2>/dev/null || ! command -v mpirun >/dev/null; then
    [ -f "$bundle" ] || { echo "tests/gpu/run.sh: libraries are missing, and there is no $bundle (tests/gpu/bundle.sh)" >&2; exit 4; }
    where=$(mktemp -d)
    xz -dc "$bundle" 2>/dev/null | tar -C "$where" -xf - || "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$bundle" "$where"
    # shellcheck disable=SC1091
    . "$where/bundle/env.sh"
fi

# cuDNN and NCCL may lie in a Python's packages only.
for folder in $("$python" -c 'import nvidia; print(*nvidia.__path__)' 2>/dev/null); do
    for library in cudnn nccl; do
        [ -d "$folder/$library/lib" ] || continue
        export CMAKE_INCLUDE_PATH=${CMAKE_INCLUDE_PATH:+$CMAKE_INCLUDE_PATH:}$folder/$library/include
        export CMAKE_LIBRARY_PATH=${CMAKE_LIBRARY_PATH:+$CMAKE_LIBRARY_PATH:}$folder/$library/lib
        export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder/$library/lib
    done
done

build=build/gpu
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
part configure 60 cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DEMOCLIM_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$architecture-real" || exit 1
part build 240 cmake --build $build || exit 1
emoclim=$PWD/$build/emoclim
part doctor 30 "$emoclim" doctor
part tests 150 ctest --test-dir $build -L gpu -j 2 --output-on-failure --no-tests=error

# Our kernels under the sanitizers; the libraries' are left alone. One test program after the other, the short ones first.
if command -v compute-sanitizer >/dev/null; then
    export EMOCLIM_MODULE_PATH=$PWD/$build/libemoclim_cuda.so
    for tool in memcheck racecheck; do
        for program in test_optim test_head test_head_leaf test_supcon; do
            [ -x "$build/tests/cuda_$program" ] || continue
            part "$tool-$program" 40 compute-sanitizer --tool $tool --error-exitcode 9 --kernel-name-exclude kns=cublas \
                --kernel-name-exclude kns=cutlass "$build/tests/cuda_$program"
        done
    done
    unset EMOCLIM_MODULE_PATH
else
    parts+=('{"name": "sanitizers", "result": "not run: no compute-sanitizer"}')
    failed=1
fi

# Figures of emoclim alone, then beside PyTorch by turns.
figure() { # NAME ARGUMENTS...
    local name=$1
    shift
    [ "$(left)" -gt 10 ] || { say "$name: no time left"; failed=1; return; }
    if timeout 60 "$emoclim" bench "$@" --device cuda --json >"$out/figures/$name.json" 2>"$out/figures/$name.err"; then
        say "$name: $(sed -n 's/ *"ms": *\([0-9.]*\).*/\1 ms/p' "$out/figures/$name.json")"
    else
        say "$name: failed: $(tail -n 1 "$out/figures/$name.err")"
        rm -f "$out/figures/$name.json"
        failed=1
    fi
}
for math in float32 tf32 bf16; do
    for dim in 128 768; do
        for rows in 4096 32768 131072; do figure "supcon-$math-D$dim-G$rows" supcon --math $math -d $dim -b $rows -r 5; done
    done
    for rows in 64 1024 16384; do figure "step-$math-B$rows" step --math $math -b $rows -m reproducible; done
done
figure supcon-bf16-D128-G1048576 supcon --math bf16 -d 128 -b 1048576 -r 1
figure step-fast-B64 step -b 64 -m fast
figure encode-bf16-B256 encode -p bf16 -b 256
figure encode-float32-B256 encode -p float32 -b 256
if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    part torch 150 "$python" tests/gpu/compare.py "$emoclim" "$out/figures/torch.json"
else
    parts+=('{"name": "torch", "result": "not run: no torch that sees the GPU"}')
fi
results
say "results: $out/results.json"
exit $failed
