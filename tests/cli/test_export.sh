#!/usr/bin/env bash
# emoclim export and import: heads out of a checkpoint and back in, encoder weights under canonical names; and a model that
# is used with other encoders than it was trained with is refused.
# usage: test_export.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
equal() { cmp -s "$1" "$2" || complain "$1 and $2 differ"; }
newest() { ls "$1"/checkpoints/step-*.h5 | tail -n 1; }

"$programs/make_caches" . 300 24 16
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 12, output_dim: 8, base_output_dim: 10}
training: {batch_size: 24, max_steps: 3, validation_batches: 1}
YAML

# Heads, of one task and of several.
for multi in false true; do
    run 0 train --quiet run.yaml full_model.multi_task=$multi logging.folder=$multi
    checkpoint=$(newest $multi)
    run 0 export -c "$checkpoint" -o $multi.safetensors
    says out "$multi.safetensors: $([ $multi = true ] && echo 54 || echo 18) tensors of step 3"
    cp out first
    run 0 export -c "$checkpoint" -o again.safetensors --json
    says out "\"checkpoint_digest\": \"$(sed 's/.*digest //' first)\""
    equal $multi.safetensors again.safetensors
    # Going on from the exported heads is going on from the checkpoint's.
    run 0 train --quiet run.yaml full_model.multi_task=$multi training.max_steps=1 logging.folder=a$multi training.init="$checkpoint"
    run 0 train --quiet run.yaml full_model.multi_task=$multi training.max_steps=1 logging.folder=b$multi training.init=$multi.safetensors
    run 0 checkpoint digest "$(newest a$multi)"
    cp out digest
    run 0 checkpoint digest "$(newest b$multi)"
    equal out digest
done
run 3 train --quiet run.yaml logging.folder=c training.init=true.safetensors
says err "true.safetensors has no tensor image_projector.0.weight"
run 3 export -c images.h5 -o x.safetensors
says err "is not a checkpoint"
run 4 export -c "$checkpoint" -o absent/x.safetensors
run 2 export -c "$checkpoint"
run 2 export -o x.safetensors

# Encoders: the same weights under other names make the same file.
"$programs/make_weights" .
run 0 import --weights openai.safetensors --out clip.safetensors
for line in "encoder: clip_vit" '"width": 64, "layers": 2' "embedding width: 24"; do says out "$line"; done
run 0 import --weights model.safetensors --kind clip_vit --out clip2.safetensors
equal clip.safetensors clip2.safetensors
run 0 import --weights clip.safetensors --out clip3.safetensors --json
equal clip.safetensors clip3.safetensors
says out '"encoder": "clip_vit"'
run 2 import --weights model.safetensors --out x.safetensors
says err "--kind"
run 0 import --weights model.safetensors --kind shortchunk --out music.safetensors
for line in "encoder: shortchunk" '"channels": 4' "embedding width: 16"; do says out "$line"; done
run 0 import --weights music.safetensors --out music2.safetensors
equal music.safetensors music2.safetensors
run 3 import --weights true.safetensors --out x.safetensors
says err "neither"
run 3 import --weights images.h5 --out x.safetensors
run 3 import --weights openai.safetensors --kind shortchunk --out x.safetensors
run 2 import --weights openai.safetensors
[ ! -e x.safetensors ] || complain "a failed command left its output behind"

# A checkpoint knows the encoders of its caches.
"$emoclim" demo --quiet --out data --images 12 --tracks 6 --seed 5 >/dev/null
cat >media.yaml <<'YAML'
dataset: {image_manifest: data/images.csv, audio_manifest: data/music.csv, image_cache: i.h5, audio_cache: m.h5}
image_backbone: {weights: used.safetensors}
audio_backbone: {weights: music.safetensors}
full_model: {hidden_dim: 12, output_dim: 8}
training: {batch_size: 8, max_steps: 2}
YAML
cp clip.safetensors used.safetensors
run 0 cache build --quiet media.yaml
run 0 train --quiet media.yaml logging.folder=run
checkpoint=$(newest run)
run 0 checkpoint show --json "$checkpoint"
says out '"music_features"'
run 0 checkpoint show "$checkpoint"
says out 'image features: {"encoder":"clip_vit","encoder_sha256":"'
picture=$(ls data/images/* | head -n 1)
run 0 embed -c "$checkpoint" --modality image -o index.h5 "$picture"
run 0 embed -c "$checkpoint" --cache m.h5 -o music-index.h5
run 0 eval retrieval -c "$checkpoint" --split all

"$programs/make_weights" . 7
run 0 import --weights model.safetensors --kind clip_vit --out used.safetensors
run 3 embed -c "$checkpoint" --modality image -o x.h5 "$picture"
says err "encoder_sha256 is"
run 3 search -c "$checkpoint" --image "$picture" --index music-index.h5
says err "encoder_sha256 is"
run 0 cache build --quiet media.yaml dataset.image_cache=i2.h5
run 3 eval retrieval -c "$checkpoint" --split all --images i2.h5
says err "i2.h5 does not fit the features that"
run 3 embed -c "$checkpoint" --cache i2.h5 -o x.h5
mv i2.h5 i.h5
run 3 train --quiet media.yaml logging.folder=run training.max_steps=4 --resume auto
says err "encoder_sha256 is"
# Other clips of the same recordings are no other encoder.
run 0 cache build --quiet media.yaml dataset.audio_cache=m2.h5 audio_augment.crop=all audio_augment.views=2
run 0 embed -c "$checkpoint" --cache m2.h5 -o music2-index.h5

finish
