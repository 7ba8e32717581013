# emoclim bench encode: a result on stdout, the warning about random weights on stderr, exit codes of what cannot be.
set -eu
program=$1 work=$2
rm -rf "$work" && mkdir -p "$work" && cd "$work"

fail() { echo "FAILED: $*" >&2; exit 1; }

"$program" bench encode --encoder shortchunk --batch 2 --threads 1 --repeats 5 --json >out.json 2>err || fail "exit code $?"
grep -q '"encoder": "shortchunk"' out.json || fail "no encoder in $(cat out.json)"
grep -q '"random_weights": true' out.json || fail "no word about random weights"
grep -q 'RANDOM weights' err || fail "no warning: $(cat err)"

expect() { # code text command...
    local code=$1 text=$2 got=0
    shift 2
    "$program" "$@" >out 2>err || got=$?
    [ "$got" = "$code" ] || fail "$*: exit code $got, not $code"
    grep -q -- "$text" err || fail "$*: no \"$text\" in $(cat err)"
}
expect 3 'cannot open missing.safetensors' bench encode --weights missing.safetensors
expect 2 'float32 only' bench encode --encoder shortchunk --precision bf16
expect 2 'encoder' bench encode --encoder vgg
printf '\002\000\000\000\000\000\000\000{}' >empty.safetensors
expect 3 'empty.safetensors: visual.conv1.weight is missing' bench encode --weights empty.safetensors
expect 3 'empty.safetensors: layer1.conv_1.weight is missing' bench encode --encoder shortchunk --weights empty.safetensors
