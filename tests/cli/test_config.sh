#!/usr/bin/env bash
# emoclim config check | print, as a user meets them: exit codes, messages, what goes to stdout.
# usage: test_config.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"
mkdir sub

for example in "$root"/configs/*.yaml; do
    run 0 config check "$example" --ranks 8
    says out "$example: valid"
    silent err
    run 2 config check "$example" --ranks 3
    says err "legal numbers of ranks: 1, 2, 4, 8"
    silent out
done

cat >sub/train.yaml <<'END'
dataset:
  image_cache: ../images.h5
  audio_cache: music.h5
full_model:
  output_dim: 96
END
run 0 config check sub/train.yaml
silent err
run 0 config check --json sub/train.yaml
grep -qE '"hash": "[0-9a-f]{64}"' out || complain "no hash in: $(cat out)"

# What is printed is complete, reads back, and carries overrides and absolute paths.
run 0 config print sub/train.yaml training.batch_size=128 logging.folder=here 'training.loss_weights={image2image: 0}'
cp out printed.yaml
says out "  image_cache: $PWD/images.h5"
says out "  audio_cache: $PWD/sub/music.h5"
says out "  folder: $PWD/here"
says out "  batch_size: 128"
says out "    image2image: 0"
says out "  output_dim: 96"
run 0 config print printed.yaml
cmp -s out printed.yaml || complain "the printed configuration does not print the same: $(diff out printed.yaml | head -5)"

run 0 config print --schema
cmp -s out "$root/docs/configuration.md" || complain "docs/configuration.md is out of date: emoclim config print --schema"

# Errors: file, line, column, the nearest legal name; nothing on stdout.
sed -i 's/output_dim/ouput_dim/' sub/train.yaml
run 2 config check sub/train.yaml
says err "emoclim config check: sub/train.yaml:5:3: unknown key full_model.ouput_dim; did you mean output_dim?"
silent out
run 2 config print sub/train.yaml
silent out
sed -i 's/ouput_dim/output_dim/' sub/train.yaml
run 2 config check sub/train.yaml trianing.seed=1
says err "command line: unknown section trianing.seed"
run 2 config check sub/train.yaml training.batch_size=1e3
says err "command line: training.batch_size: found \"1e3\", expected a whole number"
run 2 config check sub/train.yaml --ranks 0
says err "--ranks: found 0, expected a whole number from 1 to 1000000"
run 2 config check sub/train.yaml --ranks=many
says err "--ranks: found \"many\", expected a whole number"
run 2 config check sub/train.yaml --ranks
says err "option --ranks needs a value"
run 2 config check sub/train.yaml --rnaks 2
says err "did you mean --ranks?"
run 2 config check
says err "missing arguments"
says err 'hint: "emoclim config check --help" tells more'
run 2 config print
says err "missing arguments"
run 2 config check missing.yaml
says err "missing.yaml: No such file"
run 2 config check sub
says err "sub is not a regular file"
: >empty.yaml
run 2 config check empty.yaml
says err "empty.yaml:1:1: nothing stands here"
head -c 1048577 /dev/zero | tr '\0' '#' >large.yaml
run 2 config check large.yaml
says err "1048577 bytes"
head -c 1000 /dev/zero >zeros.yaml
run 2 config check zeros.yaml
# The chain of callers only where it is asked for.
! grep -q ' in ec__' err || complain "a chain of callers without --verbose"
run 2 config check zeros.yaml --verbose
says err "  from "

# Aliases cannot blow a small text up.
{
    echo 'a0: &a0 [x, x, x, x, x, x, x, x, x]'
    for i in 1 2 3 4 5 6 7 8 9; do
        p=$((i - 1))
        echo "a$i: &a$i [*a$p, *a$p, *a$p, *a$p, *a$p, *a$p, *a$p, *a$p, *a$p]"
    done
} >bomb.yaml
run 2 config check bomb.yaml
# Nor nesting.
{
    printf 'dataset: '
    head -c 100000 /dev/zero | tr '\0' '['
} >deep.yaml
run 2 config check deep.yaml

finish
