#!/usr/bin/env bash
# Kills at points spread over the steps of a training run and over the system calls that write its checkpoints and build a
# cache: of one rank, or of all, before a call or in the middle of a write. After each, nothing under a final name is
# incomplete, no process is left, and the run that goes on, on another number of ranks, ends with the SHA-256 (the cache:
# the bytes) of one that was never disturbed, and leaves the same files. FAULT_POINTS: how many points (default 12),
# FAULT_SEED: which (default 1).
# usage: test_points.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"
points=${FAULT_POINTS:-12}
seed=${FAULT_SEED:-1}
RANDOM=$seed

# Calls by which a program changes files, as far as they are known: those that the program makes are all seen.
seen=$(nm -D --defined-only "$programs/inject.so" | awk '{print $3}')
for call in $(nm -D --undefined-only "$emoclim" | awk '{sub("@.*", "", $2); print $2}' | grep -xE \
    '(open|openat|fopen|truncate|ftruncate|pwrite|pwritev|write|writev)(64)?|creat|freopen|fdopen|rename(at2?)?|link(at)?|symlink|unlink(at)?|rmdir|mkdir(at)?|fsync|fdatasync|f?close|fallocate|posix_fallocate|copy_file_range|sendfile|mkstemp|mkostemp|remove|fwrite'); do
    grep -qx "$call" <<<"$seen" || complain "the program calls $call, which inject.c does not see: define it there"
done

"$programs/make_caches" . 100 16 12
"$emoclim" demo --out data --images 64 --tracks 8 -q
cat >train.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 16, max_steps: 22, steps_per_epoch: 4, learning_rate: 0.01, validation_batches: 1}
distributed: {shards: 4, deadline_s: 60, threads: 1}
checkpoint: {every_steps: 3, keep_last: 2, keep_every: 9, best_metric: mrr}
logging: {every: 1}
YAML
cat >cache.yaml <<'YAML'
dataset: {image_manifest: data/images.csv, audio_manifest: data/music.csv, image_cache: built/images.h5, audio_cache: built/music.h5}
image_backbone: {layers: 1, width: 64, heads: 1, patch: 32, resolution: 32, output_dim: 16}
audio_backbone: {n_channels: 2}
distributed: {threads: 1}
YAML
last=step-000000000022.h5
run_ranks 1 old.log -- cache build cache.yaml --only image dataset.image_cache=old.h5 image_backbone.seed=5
digests() { "$emoclim" checkpoint digest "$1/checkpoints/$last" && "$emoclim" checkpoint digest "$1/checkpoints/best.h5"; }
files() { (cd "$1" && find . | sort); }

# What an undisturbed run does: its result, its files, and how often each rank makes which call.
what="undisturbed"
for ranks in 1 2 4; do
    rm -rf whole built
    run_ranks "$ranks" whole.log "FAULT_LOG=$work/calls-train-$ranks" FAULT_RANK=-1 "FAULT_UNDER=$work/whole/checkpoints" -- \
        train train.yaml logging.folder=whole
    [ "$code" -eq 0 ] || complain "training on $ranks ranks: exit code $code: $(tail -c 800 whole.log)"
    [ "$ranks" -eq 1 ] && digests whole >whole.sha && files whole >whole.files
    [ "$(digests whole)" = "$(cat whole.sha)" ] || complain "other weights on $ranks ranks"
    run_ranks "$ranks" built.log "FAULT_LOG=$work/calls-cache-$ranks" FAULT_RANK=-1 "FAULT_UNDER=$work/built" -- \
        cache build cache.yaml --only image
    [ "$code" -eq 0 ] || complain "a cache on $ranks ranks: exit code $code: $(tail -c 800 built.log)"
    [ "$ranks" -eq 1 ] && cp built/images.h5 whole.h5
    cmp -s built/images.h5 whole.h5 || complain "another cache on $ranks ranks"
    [ "$(files built)" = "$(printf '.\n./images.h5')" ] || complain "a cache build leaves $(files built)"
done
lines=$(grep -c . whole/metrics.jsonl)
for call in open write truncate close sync rename link unlink folder; do
    awk '{print $3}' calls-train-1 | grep -qx "$call" || complain "writing checkpoints, no $call was seen"
done

# A kill leaves what the system has in memory, a power cut does not: that a name is given only to what was flushed before,
# and the folder flushed after, shows in the order of the calls.
flushed() { # FILE NAMES: what is renamed to NAMES, a regular expression
    awk -v names="$2" '{folder = $4; sub("/[^/]*$", "", folder)}
        wait != "" && $3 == "sync" && $4 == wait {wait = ""}
        wait != "" && $3 != "close" {print "the folder is not flushed after " name; exit}
        $3 == "rename" && $4 ~ names {
            name = $4; wait = folder; temporary = ""
            for (path in last) if (index(path, name ".tmp") == 1 || path == name ".building/final.h5") temporary = path
            if (last[temporary] != "sync") print name " gets its name before it is flushed: " last[temporary] " was last"
            delete last[temporary]
            renamed++
        }
        $3 != "close" && $3 != "rename" {last[$4] = $3}
        $3 == "unlink" {delete last[$4]}
        END {if (!renamed) print "nothing is renamed"}' "$1"
}
for ranks in 1 2 4; do
    found=$(grep '^0 ' "calls-train-$ranks" >rank0 && flushed rank0 'h5$'; grep '^0 ' "calls-cache-$ranks" >rank0 && flushed rank0 'h5$')
    [ -z "$found" ] || complain "on $ranks ranks: $found"
done

# The number of one of RANK's calls that FILE lists: every second time a write, else one of the others, which are fewer
# and matter as much. SHARE in thousandths is how far down that list; $number is the answer.
pick() { # FILE RANK SHARE
    local kind='!='
    [ $((RANDOM % 2)) -eq 0 ] || kind='=='
    number=$(awk -v rank="$2" -v share="$3" '$1 == rank && ($3 '"$kind"' "write") {n[count++] = $2}
        END {print n[int(share * count / 1000)]}' "$1")
}

train_goes_on() { # FOLDER RANKS
    local found
    found=$(ls "$1"/checkpoints/*.h5 2>/dev/null || true)
    [ -z "$found" ] || "$emoclim" checkpoint verify $found >verify.log 2>&1 || complain "$(cat verify.log)"
    run_ranks "$2" on.log -- train train.yaml "logging.folder=$1" --resume auto
    [ "$code" -eq 0 ] || complain "going on ends with exit code $code: $(tail -c 800 on.log)"
    [ "$(digests "$1" 2>&1)" = "$(cat whole.sha)" ] || complain "other weights: $(digests "$1" 2>&1)"
    [ "$(files "$1")" = "$(cat whole.files)" ] || complain "other files: $(files "$1" | diff whole.files - | grep '[<>]')"
}

cache_goes_on() { # RANKS [--rebuild]
    local old=none
    [ "$#" -eq 1 ] || old=old.h5
    if [ -e built/images.h5 ]; then
        cmp -s built/images.h5 whole.h5 || cmp -s built/images.h5 "$old" || complain "a cache that looks complete and is not"
    else
        [ "$old" = none ] || complain "the cache before is gone, and no other in its place"
    fi
    run_ranks "$1" on.log -- cache build cache.yaml --only image "${@:2}"
    [ "$code" -eq 0 ] || complain "going on ends with exit code $code: $(tail -c 800 on.log)"
    cmp -s built/images.h5 whole.h5 || complain "another cache than in one piece"
    [ "$(files built)" = "$(printf '.\n./images.h5')" ] || complain "files are left: $(files built)"
}

# One point. TURN of TURNS goes through the calls, or the lines of metrics, from the first to the last.
point() { # steps|train|cache TURN TURNS
    local kind=$1 share=$(((2 * $2 + 1) * 500 / $3)) ranks after rank=0 victim do=kill number under kinds= rebuild=()
    ranks=$((1 << RANDOM % 3))
    after=$((1 << RANDOM % 3))
    victim=$((RANDOM % ranks))
    [ $((RANDOM % 2)) -eq 0 ] || victim=all
    [ $((RANDOM % 2)) -eq 0 ] || do=tear
    grace=$((RANDOM % 4 == 0))
    rm -rf disturbed built struck
    if [ "$kind" = cache ] && [ $((RANDOM % 3)) -eq 0 ]; then
        rebuild=(--rebuild)
        mkdir built
        cp old.h5 built/images.h5
    fi
    case $kind in
    steps)
        under=$work/disturbed/metrics.jsonl kinds=FAULT_KINDS=line
        number=$((share * lines / 1000 + 1))
        ;;
    train)
        under=$work/disturbed/checkpoints
        pick "calls-train-$ranks" 0 "$share"
        ;;
    cache)
        under=$work/built
        [ $((RANDOM % 3)) -gt 0 ] || rank=$((RANDOM % ranks))
        pick "calls-cache-$ranks" "$rank" "$share"
        ;;
    esac
    what="seed $seed, $kind $2 of $3: $do $victim of $ranks at call $number of rank $rank, grace $grace s, then $after ranks ${rebuild[*]}"
    local faults=("FAULT_UNDER=$under" ${kinds:+"$kinds"} "FAULT_RANK=$rank" "FAULT_AT=$number" "FAULT_DO=$do" "FAULT_VICTIM=$victim"
        "FAULT_LOG=$work/struck")
    case $kind in
    cache) run_ranks "$ranks" killed.log "${faults[@]}" -- cache build cache.yaml --only image "${rebuild[@]}" ;;
    *) run_ranks "$ranks" killed.log "${faults[@]}" -- train train.yaml logging.folder=disturbed ;;
    esac
    grace=0
    grep -qx struck struck || complain "the call was never made"
    [ "$code" -ne 0 ] || complain "exit code 0 although a rank was killed"
    no_orphans
    case $kind in
    cache) cache_goes_on "$after" "${rebuild[@]}" ;;
    *) train_goes_on disturbed "$after" ;;
    esac
    no_orphans
    what=
}

# Killed again and again, every time a little later in the run: nothing piles up.
chain() {
    local starts=0 ranks leftover
    rm -rf disturbed
    what="seed $seed, killed again and again"
    code=1
    while [ "$code" -ne 0 ] && [ "$starts" -lt 30 ]; do
        ranks=$((1 << RANDOM % 3))
        run_ranks "$ranks" chain.log "FAULT_UNDER=$work/disturbed/checkpoints" "FAULT_AT=$((150 + RANDOM % 100))" FAULT_DO=tear FAULT_VICTIM=all \
            -- train train.yaml logging.folder=disturbed --resume auto
        no_orphans
        starts=$((starts + 1))
        leftover=$(files disturbed | grep -c '\.tmp' || true)
        [ "$leftover" -le 3 ] || complain "after $starts starts $leftover temporary files are there"
    done
    if [ "$starts" -lt 4 ] || [ "$code" -ne 0 ]; then complain "$starts starts, the last with exit code $code: $(tail -c 400 chain.log)"; fi
    train_goes_on disturbed 1
}
chain

steps=$((points / 4)) cache=$((points * 7 / 20))
train=$((points - steps - cache))
for ((i = 0; i < steps; i++)); do point steps "$i" "$steps"; done
for ((i = 0; i < train; i++)); do point train "$i" "$train"; done
for ((i = 0; i < cache; i++)); do point cache "$i" "$cache"; done
echo "$points points (seed $seed): $steps between steps, $train in checkpoint writing, $cache in cache writing; $wrong complaints"
finish
