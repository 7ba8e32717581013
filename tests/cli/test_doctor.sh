#!/usr/bin/env bash
# emoclim doctor, alone and on ranks. usage: test_doctor.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$emoclim" doctor >out 2>err
matches out '^processors  [1-9][0-9]* of [1-9][0-9]* usable'
matches out '^memory      [0-9.]+ GiB, [0-9.]+ GiB free'
matches out '^arithmetic  back end cpu, [1-9][0-9]* threads; oneDNN [0-9.]+, '
matches out '^files       HDF5 [0-9.]+'
matches out '^exchange    .*MPI [0-9]\.[0-9]'
matches out '^ranks       1'
silent err

"$emoclim" doctor --json >out
matches out '"sums_right": true'
matches out '"launcher": null'

for ranks in 2 3; do
    "$mpirun" $ranks "$emoclim" doctor >out 2>err
    matches out "^ranks       $ranks, started by mpirun"
    [ "$(grep -c 'host .*, process [0-9]*, processors [0-9]' out)" -eq $ranks ] ||
        complain "ranks: $(cat out)"
    matches out 'barrier [0-9.]+ us, all-gather of 1 MiB a rank [0-9]+ us, sums right'
    # Rank 0 alone reports.
    [ "$(grep -c '^emoclim ' out)" -eq 1 ] || complain "several reports: $(cat out)"
done

# One message for a mistake that every rank makes.
code=0
"$mpirun" 3 "$emoclim" doctor --jso >out 2>err || code=$?
[ $code -eq 2 ] || complain "exit code $code instead of 2"
[ "$(grep -c 'did you mean --json' err)" -eq 1 ] || complain "not one message: $(cat err)"

finish
