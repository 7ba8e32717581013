/* The one table of all keys. Parsing, checks, printing, suggestions and docs/configuration.md derive from it. */
#include "config/schema.h"

#include <string.h>

#define AT(field) offsetof(ec_config, field)
#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* One macro a type: key, default as YAML text (NULL: required), legal range or choices, effect, meaning. */
#define COMMON(key, type_, standard_, effect_, help_) \
    .name = #key, .type = type_, .offset = AT(key), .standard = standard_, .effect = EC_KEY_##effect_, .help = help_
#define BOOL(key, standard_, effect_, help_) {COMMON(key, EC_KEY_BOOL, standard_, effect_, help_)}
#define PATH(key, standard_, effect_, help_) {COMMON(key, EC_KEY_PATH, standard_, effect_, help_)}
#define LIST(key, effect_, help_) {COMMON(key, EC_KEY_LIST, "[]", effect_, help_)}
#define CHOICE(key, standard_, choices_, effect_, help_) \
    {COMMON(key, EC_KEY_CHOICE, standard_, effect_, help_), .choices = choices_}
#define INT(key, standard_, low_, high_, effect_, help_) \
    {COMMON(key, EC_KEY_INT, standard_, effect_, help_), .low = low_, .high = high_}
#define REAL(key, standard_, low_, high_, effect_, help_) \
    {COMMON(key, EC_KEY_REAL, standard_, effect_, help_), .low = low_, .high = high_}
#define ABOVE(key, standard_, low_, high_, effect_, help_) /* low itself is illegal */ \
    {COMMON(key, EC_KEY_REAL, standard_, effect_, help_), .low = low_, .high = high_, .low_open = true}
#define BELOW(key, standard_, low_, high_, effect_, help_) /* high itself is illegal */ \
    {COMMON(key, EC_KEY_REAL, standard_, effect_, help_), .low = low_, .high = high_, .high_open = true}

#define LARGEST_SEED 9007199254740991.0 /* 2^53 - 1: exact as a double, and in JSON */
#define MOST_STEPS 4294967295.0         /* a step number keys the random numbers with 32 bits */
#define MOST_ROWS 16777216.0

const ec__key ec__schema[] = {
    PATH(dataset.image_manifest, "null", FREE, "CSV of pictures (path,label[,split]) that `cache build` reads"),
    PATH(dataset.audio_manifest, "null", FREE,
         "CSV of recordings (path,label[,split][,start_s,end_s]) that `cache build` reads"),
    PATH(dataset.image_cache, NULL, FREE, "HDF5 file of picture features: `cache build` writes it, `train` reads it"),
    PATH(dataset.audio_cache, NULL, FREE, "HDF5 file of music features: `cache build` writes it, `train` reads it"),
    LIST(dataset.class_names, DYNAMICS,
         "class names in the order of their numbers; empty: the labels of the manifests, sorted"),
    LIST(dataset.image_label_map, DYNAMICS,
         "translation of picture labels to classes, \"from=to\" each, where the two manifests use different words"),
    BOOL(dataset.ignore_other_labels, "false", DYNAMICS,
         "leave out samples whose label is none of class_names instead of stopping"),
    CHOICE(dataset.cache_dtype, "float16", NAMES("float16", "float32"), DYNAMICS,
         "element type of features in a cache"),
    BOOL(dataset.skip_broken, "true", DYNAMICS,
         "leave out files that cannot be decoded (each is named in the log and listed in the cache) instead of "
         "stopping"),
    CHOICE(dataset.on_corrupt, "stop", NAMES("stop", "skip"), FREE,
           "what training does about a block of a cache that does not have its checksum; `skip`: other rows of the "
           "same class take the place of its rows, the same ones on any number of ranks; a block that was sound when it "
           "was first read and cannot be read later ends the run all the same, for steps have used it; with "
           "training.indices always `stop`"),

    INT(image_augment.views, "1", 1, 64, DYNAMICS,
        "stored views of a picture, all alike as its encoder is not trained here; training draws one of them"),

    CHOICE(audio_augment.crop, "center", NAMES("first", "center", "random", "all"), DYNAMICS,
           "which clip of a longer recording; `all`: whole clips from the beginning, as many as views, spread evenly"),
    CHOICE(audio_augment.short_clips, "repeat", NAMES("error", "zero", "repeat", "repeat_pad"), DYNAMICS,
         "a recording shorter than a clip: refused, filled with zeros, repeated, or repeated whole and then zeros"),
    BELOW(audio_augment.overlap, "0", 0, 1, DYNAMICS, "crop `all`: share of a clip that the next one starts with"),
    INT(audio_augment.views, "1", 1, 64, DYNAMICS,
         "stored clips of a recording; training draws one of them, evaluation takes the mean of all; above 1 only "
         "with crop `random` or `all`"),

    CHOICE(image_backbone.name, "clip_vit", NAMES("clip_vit"), DYNAMICS, "picture encoder: CLIP's vision transformer"),
    PATH(image_backbone.weights, "null", DYNAMICS,
         "safetensors file, OpenAI or Hugging Face names; null: random weights"),
    INT(image_backbone.seed, "1", 0, LARGEST_SEED, DYNAMICS, "seed of random weights"),
    CHOICE(image_backbone.precision, "float32", NAMES("float32", "bf16"), DYNAMICS,
         "arithmetic of matrix products; `bf16` needs a processor with it"),
    INT(image_backbone.layers, "12", 1, 64, DYNAMICS,
         "transformer blocks; this and the next five describe random weights, a file brings its own"),
    INT(image_backbone.width, "768", 64, 4096, DYNAMICS, "width of a token: 64 times the number of heads"),
    INT(image_backbone.heads, "12", 1, 64, DYNAMICS, "attention heads"),
    INT(image_backbone.patch, "32", 4, 64, DYNAMICS, "side of a patch in pixels; divides the resolution"),
    INT(image_backbone.resolution, "224", 32, 1024, DYNAMICS, "side of the picture in pixels"),
    INT(image_backbone.output_dim, "512", 1, 4096, DYNAMICS, "width of the feature"),

    CHOICE(audio_backbone.name, "shortchunk", NAMES("shortchunk"), DYNAMICS,
         "music encoder: ShortChunkCNN with residual blocks"),
    PATH(audio_backbone.weights, "null", DYNAMICS, "safetensors file of the original's names; null: random weights"),
    INT(audio_backbone.seed, "2", 0, LARGEST_SEED, DYNAMICS, "seed of random weights"),
    INT(audio_backbone.n_channels, "128", 1, 1024, DYNAMICS,
         "channels of the first layers of random weights; a file brings its own"),
    INT(audio_backbone.sample_rate, "16000", 8000, 192000, DYNAMICS,
         "samples a second that recordings are converted to"),
    INT(audio_backbone.clip_length, "59049", 1024, 9600000, DYNAMICS, "samples of a clip (59049: 3.69 s at 16 kHz)"),
    CHOICE(audio_backbone.pooling, "max", NAMES("max", "average"), DYNAMICS,
         "of the last feature map over time and frequency"),

    BOOL(full_model.multi_task, "false", DYNAMICS,
         "separate embeddings for the intra-modal and the cross-modal losses"),
    INT(full_model.hidden_dim, "256", 1, 65536, DYNAMICS, "hidden width of the projection heads"),
    INT(full_model.base_output_dim, "128", 1, 65536, DYNAMICS,
         "output width of the shared projectors (multi_task only)"),
    INT(full_model.output_dim, "128", 1, 4096, DYNAMICS, "width of the embeddings"),
    BELOW(full_model.dropout, "0.2", 0, 1, DYNAMICS, "share of hidden units dropped in training"),
    BOOL(full_model.normalize_inputs, "true", DYNAMICS, "scale features to unit length before the heads"),

    ABOVE(training.loss_temperature, "0.07", 0, 100, DYNAMICS, "temperature of the contrastive losses"),
    REAL(training.loss_weights.image2image, "0.25", 0, 1e6, DYNAMICS, "weight of the loss between pictures"),
    REAL(training.loss_weights.audio2audio, "0.25", 0, 1e6, DYNAMICS, "weight of the loss between recordings"),
    REAL(training.loss_weights.image2audio, "0.25", 0, 1e6, DYNAMICS, "weight of the loss from pictures to recordings"),
    REAL(training.loss_weights.audio2image, "0.25", 0, 1e6, DYNAMICS, "weight of the loss from recordings to pictures"),
    INT(training.batch_size, "64", 2, MOST_ROWS, DYNAMICS,
         "rows of the global batch, per modality, over all ranks; see distributed.shards"),
    INT(training.max_epochs, "30", 0, MOST_STEPS, LENGTH, "epochs to train, where max_steps is 0"),
    INT(training.max_steps, "0", 0, MOST_STEPS, LENGTH, "steps to train; 0: max_epochs decides"),
    INT(training.steps_per_epoch, "100", 0, MOST_STEPS, DYNAMICS,
         "steps of an epoch; 0: one pass over the modality with fewer rows"),
    CHOICE(training.optimizer, "adamw", NAMES("adam", "adamw"), DYNAMICS, "as torch.optim defines them"),
    ABOVE(training.learning_rate, "0.0001", 0, 100, DYNAMICS, "learning rate after warm-up"),
    REAL(training.weight_decay, "0.01", 0, 100, DYNAMICS,
         "decoupled with adamw, added to the gradient with adam; not given with adam: 0"),
    BELOW(training.beta1, "0.9", 0, 1, DYNAMICS, "decay of the mean of gradients"),
    BELOW(training.beta2, "0.999", 0, 1, DYNAMICS, "decay of the mean of squared gradients"),
    ABOVE(training.eps, "1e-08", 0, 1, DYNAMICS, "added to the denominator of an update"),
    REAL(training.gradient_clip, "0", 0, 1e12, DYNAMICS, "largest norm of the whole gradient; 0: no clipping"),
    CHOICE(training.schedule, "constant", NAMES("constant", "cosine"), DYNAMICS, "learning rate after warm-up"),
    INT(training.warmup_steps, "0", 0, MOST_STEPS, DYNAMICS, "steps in which the learning rate rises linearly"),
    REAL(training.final_fraction, "0", 0, 1, DYNAMICS, "cosine: the last learning rate as a fraction of the highest"),
    INT(training.accumulate, "1", 1, 4096, FREE,
         "pieces that a rank's part of the batch is encoded in, to save memory; the loss is of the whole batch"),
    CHOICE(training.sampling, "class_balanced", NAMES("class_balanced", "shuffled"), DYNAMICS,
           "a class uniformly and then a member of it, or all rows in random order"),
    PATH(training.indices, "null", DYNAMICS, "HDF5 file of the rows of every batch, in place of sampling"),
    INT(training.seed, "42", 0, LARGEST_SEED, DYNAMICS, "seed of initial weights, sampling and dropout"),
    INT(training.validate_every, "1", 0, MOST_STEPS, FREE, "epochs between validations; 0: none"),
    INT(training.validation_batches, "10", 1, 1000000, FREE, "batches that the validation loss is the mean of"),
    PATH(training.init, "null", DYNAMICS, "HDF5 or safetensors file of initial weights of the heads; null: random"),

    PATH(logging.folder, "runs/emoclim", FREE, "folder of the run: metrics.jsonl, config.yaml (as resolved), checkpoints"),
    INT(logging.every, "20", 1, MOST_STEPS, FREE, "steps between two lines of metrics"),
    CHOICE(logging.level, "info", NAMES("debug", "info", "warn", "error"), FREE, "lowest level that is logged"),

    CHOICE(distributed.reduction, "reproducible", NAMES("reproducible", "fast"), DYNAMICS,
           "sums over ranks in a fixed order (bits do not depend on the number of ranks), or as the library likes"),
    INT(distributed.shards, "8", 1, 4096, DYNAMICS,
         "virtual shards of the batch: divides batch_size, and the number of ranks divides it; not used with `fast`"),
    CHOICE(distributed.comm, "auto", NAMES("auto", "self", "mpi", "mpi-plain"), FREE,
           "how ranks exchange: `auto`: mpi where a launcher started several, else self; `mpi-plain`: without shared "
           "memory"),
    CHOICE(distributed.device, "auto", NAMES("auto", "cpu", "cuda"), FREE, "where the arithmetic is done"),
    CHOICE(distributed.precision, "float32", NAMES("float32", "tf32", "bf16"), DYNAMICS,
           "what a GPU may round the factors of matrix products to; sums, weights and the optimizer stay float32, and "
           "so does all that a CPU computes"),
    CHOICE(distributed.gather, "auto", NAMES("auto", "whole", "streamed"), FREE,
           "embeddings of all ranks, on GPUs: `whole`: gathered and held; `streamed`: passed along in blocks, twice; "
           "`auto`: streamed where a rank's loss would else hold more than 1 GiB; same results; CPUs hold all"),
    INT(distributed.threads, "0", 0, 4096, FREE,
         "CPU threads of a rank; 0: the processors of the host shared by its ranks; with a GPU up to 8 of them "
         "read batches"),
    ABOVE(distributed.deadline_s, "60", 0, 86400, FREE,
          "seconds without a sign of life after which ranks that wait for another end the run"),
    ABOVE(distributed.patience_s, "3600", 0, 8640000, FREE,
          "seconds after which they also end it where the other is alive, and busy with something else"),

    PATH(checkpoint.folder, "null", FREE, "folder of the checkpoints; null: `checkpoints` inside logging.folder"),
    INT(checkpoint.every_steps, "0", 0, MOST_STEPS, FREE, "steps between checkpoints; 0: not by steps"),
    INT(checkpoint.every_epochs, "1", 0, MOST_STEPS, FREE,
         "epochs between checkpoints; 0: not by epochs; one is always written at the end"),
    INT(checkpoint.keep_last, "3", 1, 1000000, FREE, "checkpoints kept, the youngest"),
    INT(checkpoint.keep_every, "0", 0, MOST_STEPS, FREE,
        "the first checkpoint of every so many steps is kept besides, for good; 0: none"),
    CHOICE(checkpoint.on_error, "stop", NAMES("stop", "continue"), FREE,
           "what the run does when a checkpoint cannot be written (full disk, quota): stops within a step, or goes on "
           "with an error in the log and tries again at the next one; the last one of a run must be written in any "
           "case"),
    BOOL(checkpoint.best, "true", FREE,
         "keep the best checkpoint besides (needs validation; without it, off unless given)"),
    CHOICE(checkpoint.best_metric, "loss", NAMES("loss", "precision_at_1", "precision_at_5", "precision_at_10", "mrr",
         "map"),
           FREE,
         "what the best one is best in, on the validation set; all but `loss`: mean of both cross-modal directions"),
};
const size_t ec__schema_count = sizeof ec__schema / sizeof ec__schema[0];

const ec__section ec__sections[] = {
    {"dataset", "What is trained on."},
    {"image_augment", "How pictures are stored when a cache is built."},
    {"audio_augment", "How clips are cut from recordings when a cache is built."},
    {"image_backbone", "The frozen picture encoder."},
    {"audio_backbone", "The frozen music encoder."},
    {"full_model", "The projection heads."},
    {"training", "The losses, the optimizer, the batches."},
    {"logging", "What is told, and where."},
    {"distributed", "How the work is cut."},
    {"checkpoint", "What is kept."},
};
const size_t ec__section_count = sizeof ec__sections / sizeof ec__sections[0];

const ec__key_rename ec__renames[] = {
    {"dataset.image_dataset_dir", "dataset.image_manifest"},
    {"dataset.audio_dataset_dir", "dataset.audio_manifest"},
    {"dataset.train_n_batches", "training.steps_per_epoch"},
    {"dataset.val_n_batches", "training.validation_batches"},
    {"dataset.sample_rate", "audio_backbone.sample_rate"},
    {"dataset.random_seed", "training.seed"},
    {"audio_backbone.model_name", "audio_backbone.name"},
    {"audio_backbone.pretrained_model_paths", "audio_backbone.weights"},
    {"audio_backbone.pool_type", "audio_backbone.pooling"},
    {"audio_backbone.last_layer_embed", "not needed: the last feature map is used"},
    {"full_model.output_embed_dim", "full_model.output_dim"},
    {"full_model.base_proj_hidden_dim", "full_model.hidden_dim"},
    {"full_model.base_proj_output_dim", "full_model.base_output_dim"},
    {"full_model.base_proj_dropout", "full_model.dropout"},
    {"full_model.task_proj_dropout", "full_model.dropout"},
    {"full_model.normalize_image_embeds", "full_model.normalize_inputs"},
    {"full_model.normalize_audio_embeds", "full_model.normalize_inputs"},
    {"full_model.freeze_image_backbone", "not needed: the encoders are frozen"},
    {"full_model.freeze_audio_backbone", "not needed: the encoders are frozen"},
    {"training.learn_rate", "training.learning_rate"},
    {"training.val_check_interval", "training.validate_every"},
    {"training.n_workers", "distributed.threads"},
    {"training.gpu", "distributed.device"},
    {"logging.log_dir", "logging.folder"},
    {"logging.experiment_name", "logging.folder"},
    {"logging.experiment_version", "logging.folder"},
    {"logging.log_every_n_steps", "logging.every"},
};
const size_t ec__rename_count = sizeof ec__renames / sizeof ec__renames[0];

const ec__key *ec__key_find(const char *name) {
    for (size_t i = 0; i < ec__schema_count; i++)
        if (strcmp(ec__schema[i].name, name) == 0) return &ec__schema[i];
    return NULL;
}

bool ec__key_is_prefix(const char *name) {
    size_t length = strlen(name);
    if (length == 0) return true;
    for (size_t i = 0; i < ec__schema_count; i++)
        if (strncmp(ec__schema[i].name, name, length) == 0 && ec__schema[i].name[length] == '.') return true;
    return false;
}

size_t ec__key_number(const ec__key *key) { return (size_t)(key - ec__schema); }
