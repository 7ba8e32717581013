#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, tests, measurements beside PyTorch, compute-sanitizer on our kernels.
# Under nine minutes; needs the CUDA toolkit and no network. Packages that the machine lacks come from tests/gpu/bundle.sh.
#
#   tests/gpu/run.sh [FOLDER]           default: build/gpu-results; gets results.json, summary.txt and logs.tar.gz
#
# What is most worth knowing comes first. Every part has a time limit of its own, its failure ends no other, and the three
# files are written anew after each of them: whatever stops this script, what was found until then is there.
#
# BUNDLE names the archive of bundle.sh (default: build/gpu-bundle/bundle.tar.xz). PYTHON names an interpreter with torch
# (default: python3; the comparison is left out where it has none). SECONDS_MAX bounds the whole (default 530). PARTS says
# what to do (default: all, "build tests figures torch nccl sanitizers"): what found no time is for a second call, soon enough
# that the machine is still there, as PARTS="nccl sanitizers".
# SMALL=1 tries the script itself out, where there need be no GPU: tiny sizes, and the module of EMOCLIM_MODULE_PATH.
# The exit status is 0 when all tests ran and passed, sanitizers included; parts without time left count as failed.
set -u
cd "$(dirname "$0")/../.."
out=${1:-build/gpu-results}
bundle=${BUNDLE:-build/gpu-bundle/bundle.tar.xz}
python=${PYTHON:-python3}
limit=${SECONDS_MAX:-530}
wanted=${PARTS:-build tests figures torch nccl sanitizers}
small=${SMALL:-}
sizes="4096 32768 131072"
batch=256
[ -z "$small" ] || { sizes=256 batch=2; }
build=build/gpu
work=build/gpu-work
caches=$PWD/build/gpu-caches # not among the logs
rm -rf "$work" "$caches"
mkdir -p "$out" "$work/figures"
out=$(realpath "$out")
work=$(realpath "$work")
failed=0
SECONDS=0

left() { echo $((limit - SECONDS)); }
say() { printf '[%3d s] %s\n' "$SECONDS" "$*" | tee -a "$work/summary.txt"; }
text() { printf '"%s"' "$(printf '%s' "$*" | tr -d '\n' | sed 's/[\\"]/\\&/g')"; }
wants() { [[ " $wanted " == *" $1 "* ]]; }

parts=()
record() { # NAME RESULT SECONDS
    parts+=("{\"name\": \"$1\", \"result\": $(text "$2"), \"seconds\": $3}")
    say "$1: $2"
    [ "$2" = passed ] || failed=1
    results
}

results() { # the three files, from what there is so far
    local figures="" comma="" f
    for f in "$work"/figures/*.json; do
        [ -s "$f" ] || continue
        figures+="$comma$(printf '{"name": "%s", "result": ' "$(basename "$f" .json)")$(cat "$f")}"
        comma=", "
    done
    local IFS=,
    printf '{"date": "%s", "commit": %s, "device": %s, "nvcc": %s, "system": %s, "seconds": %d, "parts": [%s], "figures": [%s]}\n' \
        "$(date -u +%Y-%m-%dT%H:%MZ)" "$(text "$(git rev-parse HEAD 2>/dev/null || echo unknown)")" \
        "$(text "$device")" "$(text "$(nvcc --version 2>/dev/null | sed -n 's/^Build //p')")" "$(text "$(uname -srm)")" \
        "$SECONDS" "${parts[*]:-}" "$figures" >"$work/results.json"
    cp "$work/summary.txt" "$work/results.json" "$out/"
    tar -C "$work" -czf "$out/logs.tar.gz" . 2>/dev/null
}

part() { # NAME MOST-SECONDS COMMAND...: output into NAME.log
    local name=$1 most=$2 code=0 start=$SECONDS
    shift 2
    [ "$(left)" -gt "$most" ] || most=$(left)
    if [ "$most" -lt 5 ]; then
        record "$name" "not run: no time left" 0
        return 1
    fi
    timeout -k 5 "$most" "$@" >"$work/$name.log" 2>&1 </dev/null || code=$?
    case $code in
    0) record "$name" passed $((SECONDS - start)) ;;
    124 | 137) record "$name" "ran out of its $most s" $((SECONDS - start)) ;;
    *) record "$name" "exit code $code" $((SECONDS - start)) ;;
    esac
    [ $code -eq 0 ] || tail -n "${lines:-12}" "$work/$name.log" | cut -c1-200
    return $code
}

tests() { # NAME MOST-SECONDS CTEST-ARGUMENTS...: a test that was skipped did not pass here
    local name=$1 most=$2
    shift 2
    part "$name" "$most" ctest --test-dir $build -L gpu --output-on-failure --no-tests=error "$@"
    grep -E 'Passed|Failed|Timeout|Skipped|tests passed' "$work/$name.log" 2>/dev/null | grep -E '[0-9]/[0-9]|passed' | cut -c1-90
    if [ -z "$small" ] && grep -q 'Skipped' "$work/$name.log" 2>/dev/null; then record "$name-skipped" "tests were skipped" 0; fi
}

device=none
touch "$work/summary.txt"
if [ -z "$small" ]; then
    nvidia-smi -L >"$work/devices.log" 2>&1 || { echo "tests/gpu/run.sh: no GPU: $(cat "$work/devices.log")" >&2; exit 4; }
    device=$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>&1 | head -n 1)
fi
say "$device"
export PATH=$PATH:/usr/local/cuda/bin
if ! pkg-config --exists yaml-0.1 jansson 2>/dev/null || ! command -v mpirun >/dev/null; then
    [ -f "$bundle" ] || { echo "tests/gpu/run.sh: libraries are missing, and there is no $bundle (tests/gpu/bundle.sh)" >&2; exit 4; }
    where=$PWD/build/gpu-packages # kept: what is built has its address
    if [ ! -d "$where/bundle" ]; then
        mkdir -p "$where"
        xz -dc "$bundle" 2>/dev/null | tar -C "$where" -xf - ||
            "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$bundle" "$where"
    fi
    # shellcheck disable=SC1091
    . "$where/bundle/env.sh"
fi

# The CUDA libraries may lie in a Python's packages only: those that the toolkit lacks come from there.
toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")")
for folder in $("$python" -c 'import nvidia; print(*nvidia.__path__)' 2>/dev/null); do
    for pair in cudnn:cudnn nccl:nccl cu13:cublasLt cu13:cufft; do
        library=${pair%:*}
        ! ls "$toolkit"/{lib,lib64,targets/x86_64-linux/lib}/lib"${pair#*:}".so* >/dev/null 2>&1 || continue
        [ -d "$folder/$library/lib" ] || continue
        export CMAKE_INCLUDE_PATH=${CMAKE_INCLUDE_PATH:+$CMAKE_INCLUDE_PATH:}$folder/$library/include
        export CMAKE_LIBRARY_PATH=${CMAKE_LIBRARY_PATH:+$CMAKE_LIBRARY_PATH:}$folder/$library/lib
        export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder/$library/lib
    done
done

# Open MPI and NCCL talk through it, and Open MPI's compiler complains without.
grep -q up /sys/class/net/lo/operstate 2>/dev/null || ip link set lo up 2>/dev/null || true

emoclim=$PWD/$build/emoclim
if wants build; then
    architecture=90
    [ -n "$small" ] || architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
    lines=40
    part configure 60 cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DEMOCLIM_CUDA=ON \
        "-DCMAKE_CUDA_ARCHITECTURES=$architecture-real" || exit 1
    part build 240 cmake --build $build --target gpu || exit 1
    lines=12
fi
part doctor 30 "$emoclim" doctor
grep -E '^(gpu|exchange|warning)' "$work/doctor.log" | cut -c1-200
if [ -z "$small" ] && grep -q '^gpu  *none' "$work/doctor.log"; then
    record device "the program finds no GPU" 0
    exit 1
fi

# A back end in bf16 tries the kernels of wgmma when it opens. Should they hang, or take the GPU from a process, the rest is
# still to be had with the portable ones.
if ! part wgmma 40 "$emoclim" bench supcon --math bf16 -b 256 -d 128 -r 1 || grep -q 'kernels.*are not used' "$work/wgmma.log"; then
    say "wgmma: not used: EMOCLIM_SUPCON=portable from here on"
    failed=1
    export EMOCLIM_SUPCON=portable
fi

# Several ranks on one GPU take turns on it, and may hang: they come later.
several='comm_nccl|train'
if wants tests; then tests tests 110 -E "$several" -j 4; fi

figure() { # NAME MOST-SECONDS ARGUMENTS...
    local name=$1 most=$2
    shift 2
    [ "$(left)" -gt "$most" ] || most=$(left)
    if [ "$SECONDS" -ge "$figures_end" ] || [ "$most" -lt 10 ]; then
        late+=("$name")
        return
    fi
    if timeout -k 5 "$most" "$emoclim" bench "$@" --json >"$work/$name.new" 2>"$work/$name.err" </dev/null; then
        mv "$work/$name.new" "$work/figures/$name.json"
        say "$name: $(awk -F'[":, ]+' '$2 ~ /^(ms|held_mb|gflops|per_second)$/ { printf "%s %.4g  ", $2, $3 }' "$work/figures/$name.json")"
    else
        say "$name: failed ($?): $(tail -n 1 "$work/$name.err" | cut -c1-200)"
        failed=1
    fi
    results
}

supcon() { # MATH DIM
    local rows
    for rows in $sizes; do
        figure "supcon-$1-D$2-G$rows" 60 supcon --math "$1" -d "$2" -b "$rows" -r 5
    done
}

# Training from float16 caches on disk: a step, and what of it the host waited for the loader, at most so long the GPU did.
training() { # NAME PRECISION
    local name=$1 rows=60000 width=512 rows_of_batch=8192 steps=600 every=200 most ms wait
    [ -z "$small" ] || { rows=700 width=48 rows_of_batch=64 steps=4 every=2; }
    most=$(left)
    [ "$most" -lt 60 ] || most=60
    if [ "$SECONDS" -ge "$figures_end" ] || [ "$most" -lt 20 ]; then
        late+=("$name")
        return
    fi
    if [ ! -f "$caches/music.h5" ]; then
        mkdir -p "$caches"
        "$build/tests/programs/make_caches" "$caches" $rows $width $width float16 >"$work/caches.log" 2>&1
        cat >"$caches/run.yaml" <<YAML
dataset: {image_cache: images.h5, audio_cache: music.h5}
training: {batch_size: $rows_of_batch, max_steps: $steps, steps_per_epoch: $steps, validate_every: 0}
logging: {every: $every}
YAML
    fi
    timeout -k 5 "$most" "$emoclim" train "$caches/run.yaml" distributed.device=cuda "distributed.precision=$2" \
        "logging.folder=$caches/run-$name" >"$work/$name.log" 2>&1 </dev/null
    read -r ms wait < <(sed -nE 's/.*"event":"step".*"step_ms":([0-9.e+-]+).*"wait_ms":([0-9.e+-]+).*/\1 \2/p' \
        "$caches/run-$name/metrics.jsonl" 2>/dev/null | tail -n 1)
    if [ -z "${wait:-}" ]; then
        say "$name: failed: $(tail -n 1 "$work/$name.log" | cut -c1-200)"
        failed=1
    else
        awk -v batch=$rows_of_batch -v precision="$2" -v ms="$ms" -v wait="$wait" 'BEGIN {
            printf "{\"bench\": \"train\", \"batch\": %d, \"precision\": \"%s\", \"ms\": %s, \"wait_ms\": %s, \"wait_share\": %.5f}\n",
                batch, precision, ms, wait, wait / ms }' >"$work/figures/$name.json"
        say "$name: step $ms ms, of which waiting for the loader $wait ms"
    fi
    results
}

if wants figures; then
    late=()
    figures_end=$((SECONDS + 120))
    figure step-float32-B64 40 step --math float32 -b 64 -m reproducible
    supcon bf16 128
    figure "encode-bf16-B$batch" 40 encode -p bf16 -b $batch
    training train-float32 float32
    training train-bf16 bf16
    if [ -z "$small" ]; then
        for of in 1024 8192; do figure "loader-B$of" 40 loader -t float16 --half -b "$of" -r 5; done
        figure step-float32-B8192 40 step --math float32 -b 8192 -m reproducible # the same step without a loader
        for dim in 128 768; do # the kernels for any card, beside those of wgmma where it has them
            ! grep -q 'by wgmma kernels' "$work/doctor.log" ||
                EMOCLIM_SUPCON=portable figure "supcon-portable-bf16-D$dim-G131072" 60 supcon --math bf16 -d $dim -b 131072 -r 5
        done
        EMOCLIM_SUPCON_GRADIENT=pieces figure supcon-pieces-bf16-D128-G131072 60 supcon --math bf16 -d 128 -b 131072 -r 5
        supcon bf16 768
        figure step-float32-B1024 40 step --math float32 -b 1024 -m reproducible
        figure step-float32-B16384 40 step --math float32 -b 16384 -m reproducible
        figure supcon-bf16-D128-G1048576 90 supcon --math bf16 -d 128 -b 1048576 -r 1
        supcon tf32 128
        supcon float32 128
        for math in bf16 tf32; do figure "step-$math-B64" 40 step --math $math -b 64 -m reproducible; done
        # What the same bits every time cost: once more as the libraries like.
        figure step-fast-B64 40 step -b 64 -m fast
        figure encode-fast-bf16-B256 40 encode -p bf16 -b 256 -m fast
        figure step-fast-B1024 40 step -b 1024 -m fast
        figure step-fast-B16384 40 step -b 16384 -m fast
        for mode in reproducible fast; do figure "encode-$mode-shortchunk-B128" 40 encode -e shortchunk -b 128 -m $mode; done
        supcon tf32 768
        supcon float32 768
        for math in bf16 tf32; do figure "step-$math-B16384" 40 step --math $math -b 16384 -m reproducible; done
        figure encode-bf16-B1024 40 encode -p bf16 -b 1024
        figure encode-float32-B256 40 encode -p float32 -b 256
        figure encode-fast-float32-B256 40 encode -p float32 -b 256 -m fast
    fi
    rm -rf "$caches"
    [ ${#late[@]} -eq 0 ] || record figures "no time left for ${late[*]}" 0
fi

if wants torch; then
    if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null || [ -n "$small" ]; then
        part torch 140 "$python" tests/gpu/compare.py "$work/figures" "$work/figures/torch.json" --seconds 130 \
            ${small:+--small --device cpu}
        cut -c1-200 "$work/torch.log" | tee -a "$work/summary.txt"
    else
        record torch "no torch that sees the GPU" 0
    fi
fi

if wants nccl; then
    tests nccl 60 -R 'comm_nccl.*[0123s]$' -j 2
    tests nccl-train 75 -R train -j 2
    tests nccl-8 40 -R 'comm_nccl.8'
fi

# Our kernels under the sanitizers; the libraries' are left alone.
if wants sanitizers; then
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer "${CUDA_HOME:-/usr}"/bin/compute-sanitizer 2>/dev/null | head -n 1)
    if [ -n "$sanitizer" ]; then
        [ -n "$small" ] || export EMOCLIM_MODULE_PATH=$PWD/$build/libemoclim_cuda.so
        for tool in memcheck racecheck; do
            for program in test_optim test_head test_head_leaf test_encoder test_spectra test_supcon; do
                part "$tool-$program" 60 "$sanitizer" --tool $tool --error-exitcode 9 --print-limit 10 \
                    --kernel-name-exclude kns=cublas --kernel-name-exclude kns=cutlass --kernel-name-exclude kns=nvjet \
                    --kernel-name-exclude kns=gemm --kernel-name-exclude kns=cudnn --kernel-name-exclude kns=fft "$build/tests/cuda_$program"
            done
        done
    else
        record sanitizers "no compute-sanitizer" 0
    fi
fi

results
echo
cat "$work/summary.txt"
say "results: $out/results.json; $([ $failed -eq 0 ] && echo 'all passed' || echo 'NOT all passed')"
exit $failed
