#!/usr/bin/env bash
# emoclim doctor, alone and on ranks. usage: test_doctor.sh PROGRAM WORK_FOLDER
set -eu
emoclim=$1
work=$2
mpirun=$(cd "$(dirname "$0")/.." && pwd)/support/mpirun.sh
mkdir -p "$work"
cd "$work"
wrong=0
says() { grep -qE -- "$2" "$1" || { echo "$1 does not say \"$2\" but: $(cat "$1")"; wrong=$((wrong + 1)); }; }

"$emoclim" doctor >out 2>err
says out '^processors  [1-9][0-9]* of [1-9][0-9]* usable'
says out '^memory      [0-9.]+ GiB, [0-9.]+ GiB free'
says out '^arithmetic  back end cpu, [1-9][0-9]* threads; oneDNN [0-9.]+, '
says out '^files       HDF5 [0-9.]+'
says out '^exchange    .*MPI [0-9]\.[0-9]'
says out '^ranks       1'
[ ! -s err ] || { echo "stderr: $(cat err)"; wrong=$((wrong + 1)); }

"$emoclim" doctor --json >out
says out '"sums_right": true'
says out '"launcher": null'

for ranks in 2 3; do
    "$mpirun" $ranks "$emoclim" doctor >out 2>err
    says out "^ranks       $ranks, started by mpirun"
    [ "$(grep -c 'host .*, process [0-9]*, processors [0-9]' out)" -eq $ranks ] || { echo "ranks: $(cat out)"; wrong=$((wrong + 1)); }
    says out 'barrier [0-9.]+ us, all-gather of 1 MiB a rank [0-9]+ us, sums right'
    # Rank 0 alone reports.
    [ "$(grep -c '^emoclim ' out)" -eq 1 ] || { echo "several reports: $(cat out)"; wrong=$((wrong + 1)); }
done

# One message for a mistake that every rank makes.
code=0
"$mpirun" 3 "$emoclim" doctor --jso >out 2>err || code=$?
[ $code -eq 2 ] || { echo "exit code $code instead of 2"; wrong=$((wrong + 1)); }
[ "$(grep -c 'did you mean --json' err)" -eq 1 ] || { echo "not one message: $(cat err)"; wrong=$((wrong + 1)); }

[ $wrong -eq 0 ] && echo "all as expected"
