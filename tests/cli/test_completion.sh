#!/usr/bin/env bash
# What a shell offers after part of a command line, by the script of emoclim completion: bash always, zsh where it is.
# usage: test_completion.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"

mkdir -p configs/more data
touch configs/one.yaml configs/two.yml configs/note.txt data/photo.jpg
run 2 completion
run 2 completion fish
says err 'found "fish", expected one of the shells bash, zsh'
run 2 completion bash --json
run 0 completion bash
silent err
cp out emoclim.bash

# Every command and option of the help texts is offered, and nothing else. A value that is given keeps a line going.
. ./emoclim.bash
[ "$(complete -p emoclim)" = "complete -F _emoclim emoclim" ] || complain "registered as: $(complete -p emoclim)"
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
offered() { # WORD...: the last is what stands before the cursor
    COMP_WORDS=(emoclim "$@") COMP_CWORD=$# COMPREPLY=()
    _emoclim 2>complaints || true # compopt is for a shell that is completing
    [ ! -s complaints ] || complain "emoclim $*: $(cat complaints)"
    reply=$(printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ')
    reply=${reply# }
}
expect() { # REPLY WORD...
    local expected=$1
    shift
    offered "$@"
    [ "$reply" = "${expected:+$expected }" ] || complain "emoclim $*: offered \"$reply\", expected \"$expected\""
}
leaves=0
visit() { # COMMAND...
    local names name
    "$emoclim" "$@" --help >help
    names=$(awk '/^commands:$/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' help)
    if [ -n "$names" ]; then
        offered "$@" ''
        [ "$(tr ' ' '\n' <<<"$reply" | grep -v -e --)" = "$(sort <<<"$names")" ] || complain "emoclim $*: offers $reply"
        for name in $names; do visit "$@" "$name"; done
    else
        leaves=$((leaves + 1))
        names=$(grep -oE '^  (-.,|   ) --[a-z0-9-]+' help | grep -oE -e '--.*' | sort | tr '\n' ' ')
        expect "${names% }" "$@" --
    fi
}
visit
[ "$leaves" -gt 12 ] || complain "only $leaves commands were found"

expect 'cache checkpoint completion config' c
expect 'check' config ch
expect 'configs data' train ''
expect 'configs/more configs/one.yaml configs/two.yml' train configs/
expect 'configs/one.yaml' config check --ranks 4 configs/o
expect 'training.' train configs/one.yaml tra
expect 'training.learning_rate=' train configs/one.yaml training.batch_size=8 training.lear
expect 'adam adamw' train configs/one.yaml training.optimizer = ada
expect 'adam adamw' train configs/one.yaml training.optimizer =
expect 'false true' train configs/one.yaml distributed.shards = 4 full_model.multi_task = ''
expect 'data' train configs/one.yaml dataset.image_cache = da
expect '' train configs/one.yaml training.seed = ''
expect '' train configs/one.yaml training.nonsense = ''
expect 'auto' train --resume au
expect 'data/photo.jpg' search --image data/p
expect 'data/photo.jpg' search --image = data/p
expect 'data/photo.jpg' search -c data/p
expect 'warn' train --log-level = w
expect '' search -k ''
expect 'configs/more' demo --out configs/
expect 'data' cache verify configs/one.yaml da
expect '' cache info configs/one.yaml ''
expect '' version ''
expect 'bash zsh' completion ''
expect 'data' embed -c x --modality image -- da
COMP_WORDBREAKS=$' \t\n"\'><;|&(:' # "=" may be taken out: words come whole, and so do replies
expect 'training.optimizer=adam training.optimizer=adamw' train configs/one.yaml training.optimizer=ada
expect '--log-level=warn' train --log-level=w

# The sections and keys are those of the reference page.
offered train configs/one.yaml ''
[ "$reply" = "$(sed -nE 's/^## ([a-z_]+)$/\1./p' "$root/docs/configuration.md" | sort | tr '\n' ' ')" ] ||
    complain "the sections are: $reply"
keys=$(sed '/^## Names of the original/,$d' "$root/docs/configuration.md" | grep -c '^| `')
_emoclim_key_names
[ "$(wc -w <<<"$REPLY")" -eq "$keys" ] || complain "$(wc -w <<<"$REPLY") keys are offered, of $keys"

# zsh on a terminal of its own: what a line becomes when tab is pressed at its end.
run 0 completion zsh
if command -v zsh >/dev/null; then
    mkdir functions
    cp out functions/_emoclim
    zsh -f "$root/tests/support/complete.zsh" functions 'con' 'config ch' 'train configs/o' 'train a.yaml train' \
        'train a.yaml training.optim' 'train a.yaml training.optimizer=adamw' 'train a.yaml logging.folder=da' \
        'train --resume=au' 'search --image=data/p' 'train --log-level=w' >found 2>&1 || complain "zsh: $(cat found)"
    cat >expected <<'END'
config 
config check 
train configs/one.yaml 
train a.yaml training.
train a.yaml training.optimizer=
train a.yaml training.optimizer=adamw 
train a.yaml logging.folder=data/
train --resume=auto 
search --image=data/photo.jpg 
train --log-level=warn 
END
    diff expected found || complain "zsh completes otherwise"
else
    echo "zsh is not here: its completion was not tried"
fi
finish "$leaves commands"
