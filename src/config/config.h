/* The configuration of a run: read from YAML, changed by "section.key=value" overrides, checked, all defaults filled
 * in.
 *
 * What a key means, its default and its legal values stand in one table, config/schema.c; docs/configuration.md is
 * printed from that table. Section and key names are the field names below. Everything is checked when a configuration
 * is loaded: whoever holds an ec_config may rely on the ranges in the comments.
 *
 * Paths. A relative path is relative to the folder of the file that names it, on the command line to the working
 * directory; in an ec_config every path is absolute. A path that was not given is NULL.
 *
 * Not collective: every rank loads the same file. */
#ifndef EC_CONFIG_CONFIG_H
#define EC_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"

typedef struct ec_text_list {
    char **item; /* owned by the configuration */
    int32_t count;
} ec_text_list;

/* Names of choices carry EC_CONFIG_: the floors above have kinds of their own. */
typedef enum ec_config_dtype { EC_CONFIG_FLOAT16, EC_CONFIG_FLOAT32 } ec_config_dtype;
typedef enum ec_config_corrupt { EC_CONFIG_CORRUPT_STOP, EC_CONFIG_CORRUPT_SKIP } ec_config_corrupt;
typedef enum ec_config_on_error { EC_CONFIG_ERROR_STOP, EC_CONFIG_ERROR_CONTINUE } ec_config_on_error;
typedef enum ec_config_crop {
    EC_CONFIG_CROP_FIRST,
    EC_CONFIG_CROP_CENTER,
    EC_CONFIG_CROP_RANDOM,
    EC_CONFIG_CROP_ALL, /* every whole clip, features pooled */
} ec_config_crop;
typedef enum ec_config_short {
    EC_CONFIG_SHORT_ERROR,
    EC_CONFIG_SHORT_ZERO,
    EC_CONFIG_SHORT_REPEAT,
    EC_CONFIG_SHORT_REPEAT_PAD, /* whole repetitions, then zeros */
} ec_config_short;
typedef enum ec_config_image_encoder { EC_CONFIG_CLIP_VIT } ec_config_image_encoder;
typedef enum ec_config_audio_encoder { EC_CONFIG_SHORTCHUNK } ec_config_audio_encoder;
typedef enum ec_config_precision { EC_CONFIG_PRECISION_FLOAT32, EC_CONFIG_PRECISION_BF16 } ec_config_precision;
typedef enum ec_config_pooling { EC_CONFIG_POOLING_MAX, EC_CONFIG_POOLING_AVERAGE } ec_config_pooling;
typedef enum ec_config_optimizer { EC_CONFIG_ADAM, EC_CONFIG_ADAMW } ec_config_optimizer;
typedef enum ec_config_schedule { EC_CONFIG_CONSTANT, EC_CONFIG_COSINE } ec_config_schedule;
typedef enum ec_config_sampling { EC_CONFIG_CLASS_BALANCED, EC_CONFIG_SHUFFLED } ec_config_sampling;
typedef enum ec_config_reduction { EC_CONFIG_REPRODUCIBLE, EC_CONFIG_FAST } ec_config_reduction;
typedef enum ec_config_comm {
    EC_CONFIG_COMM_AUTO,
    EC_CONFIG_COMM_SELF,
    EC_CONFIG_COMM_MPI,
    EC_CONFIG_COMM_MPI_PLAIN,
} ec_config_comm;
/* As ec_math in compute/backend.h. */
typedef enum ec_config_math { EC_CONFIG_MATH_FLOAT32, EC_CONFIG_MATH_TF32, EC_CONFIG_MATH_BF16 } ec_config_math;
typedef enum ec_config_gather { EC_CONFIG_GATHER_AUTO, EC_CONFIG_WHOLE, EC_CONFIG_STREAMED } ec_config_gather;
typedef enum ec_config_device { EC_CONFIG_DEVICE_AUTO, EC_CONFIG_DEVICE_CPU, EC_CONFIG_DEVICE_CUDA } ec_config_device;
typedef enum ec_config_metric {
    EC_CONFIG_BEST_LOSS, /* of the validation set; smaller is better, for all others larger */
    EC_CONFIG_BEST_PRECISION_1, /* this and the rest: mean of image to music and music to image */
    EC_CONFIG_BEST_PRECISION_5,
    EC_CONFIG_BEST_PRECISION_10,
    EC_CONFIG_BEST_MRR,
    EC_CONFIG_BEST_MAP,
} ec_config_metric;

typedef struct ec_config_dataset {
    char *image_manifest, *audio_manifest; /* CSV: what "cache build" reads */
    char *image_cache, *audio_cache;       /* HDF5: what "cache build" writes and "train" reads; never NULL */
    ec_text_list class_names;              /* empty: the labels of the manifests, sorted */
    ec_text_list image_label_map;          /* "from=to": classes that labels of images stand for */
    bool ignore_other_labels;              /* leave out a sample of a class that is not listed, instead of stopping */
    ec_config_dtype cache_dtype;           /* of the features in a cache that is built */
    bool skip_broken;                      /* leave out a file that cannot be decoded, instead of stopping */
    ec_config_corrupt on_corrupt;          /* what a corrupt block of a cache does to training */
} ec_config_dataset;

typedef struct ec_config_image_augment {
    int64_t views; /* >= 1 */
} ec_config_image_augment;

typedef struct ec_config_audio_augment {
    ec_config_crop crop;         /* which part of a recording that is longer than a clip */
    ec_config_short short_clips; /* what becomes of one that is shorter */
    double overlap;              /* crop all: part of a clip that the next one shares, in [0, 1) */
    int64_t views;               /* >= 1: clips of a recording; more than 1 only with crop random or all */
} ec_config_audio_augment;

typedef struct ec_config_image_backbone {
    ec_config_image_encoder name;
    char *weights; /* safetensors; NULL: random weights from seed */
    int64_t seed;
    ec_config_precision precision;
    /* The shape of a network with random weights; a weight file brings its own. heads * 64 = width. */
    int64_t layers, width, heads, patch, resolution, output_dim;
} ec_config_image_backbone;

typedef struct ec_config_audio_backbone {
    ec_config_audio_encoder name;
    char *weights;
    int64_t seed;
    int64_t n_channels;  /* width of the first layers of a network with random weights */
    int64_t sample_rate; /* Hz */
    int64_t clip_length; /* samples */
    ec_config_pooling pooling; /* of the last feature map */
} ec_config_audio_backbone;

typedef struct ec_config_full_model {
    bool multi_task;
    int64_t hidden_dim, base_output_dim, output_dim; /* base_output_dim: multi_task only */
    double dropout;                                  /* in [0, 1) */
    bool normalize_inputs;                           /* features to unit length before the heads */
} ec_config_full_model;

typedef struct ec_config_loss_weights {
    double image2image, audio2audio, image2audio, audio2image; /* >= 0, at least one > 0 */
} ec_config_loss_weights;

typedef struct ec_config_training {
    double loss_temperature; /* > 0 */
    ec_config_loss_weights loss_weights;
    int64_t batch_size;      /* G, over all ranks and accumulation pieces; see distributed.shards */
    int64_t max_epochs;      /* used where max_steps is 0 */
    int64_t max_steps;       /* 0: max_epochs * steps per epoch */
    int64_t steps_per_epoch; /* 0: one pass over the smaller modality */
    ec_config_optimizer optimizer;
    double learning_rate, beta1, beta2, eps;
    double weight_decay;  /* where it is not given: 0.01 with adamw, 0 with adam */
    double gradient_clip; /* largest norm of the whole gradient; 0: off */
    ec_config_schedule schedule;
    int64_t warmup_steps;
    double final_fraction; /* cosine: the last learning rate as a fraction of the first, in [0, 1] */
    int64_t accumulate; /* groups of a rank's part of the batch that share memory; see ec__config_check_ranks */
    ec_config_sampling sampling;
    char *indices; /* HDF5 file of the rows of every batch, in place of sampling; or NULL */
    int64_t seed;
    int64_t validate_every; /* epochs; 0: never */
    int64_t validation_batches; /* >= 1 */
    char *init;             /* HDF5 or safetensors of initial weights, or NULL */
} ec_config_training;

typedef struct ec_config_logging {
    char *folder;  /* of the run; never NULL */
    int64_t every; /* steps */
    ec_log_level level;
} ec_config_logging;

typedef struct ec_config_distributed {
    ec_config_reduction reduction;
    int64_t shards;    /* V; reproducible: training.batch_size is a multiple of it; fast: not used */
    ec_config_comm comm; /* kinds of dist/comm.h */
    ec_config_device device;
    ec_config_math precision; /* of products on a GPU */
    ec_config_gather gather; /* of embeddings, as ec_supcon_gather */
    int64_t threads;   /* of a rank; 0: all that it may use, shared between the ranks of a host */
    double deadline_s; /* as ec__comm_set_deadline takes them */
    double patience_s;
} ec_config_distributed;

typedef struct ec_config_checkpoint {
    char *folder;         /* never NULL; default: "checkpoints" inside logging.folder */
    int64_t every_steps;  /* 0: not by steps */
    int64_t every_epochs; /* 0: not by epochs; one is always written at the end */
    int64_t keep_last;    /* >= 1 */
    int64_t keep_every;   /* steps; the first checkpoint of each so many stays; 0: none does */
    ec_config_on_error on_error; /* what a checkpoint that cannot be written does to the run */
    bool best;            /* keep the best one besides */
    ec_config_metric best_metric;
} ec_config_checkpoint;

typedef struct ec_config_origin ec_config_origin; /* where each value came from, for messages */

typedef struct ec_config {
    ec_config_dataset dataset;
    ec_config_image_augment image_augment;
    ec_config_audio_augment audio_augment;
    ec_config_image_backbone image_backbone;
    ec_config_audio_backbone audio_backbone;
    ec_config_full_model full_model;
    ec_config_training training;
    ec_config_logging logging;
    ec_config_distributed distributed;
    ec_config_checkpoint checkpoint;
    ec_config_origin *origin;
} ec_config;

enum { EC_CONFIG_LARGEST = 1 << 20 }; /* bytes of a file */

/* Reads path, applies count overrides ("section.key=value", the value in YAML) in order, checks all. The caller owns
 * *out (ec__config_free). EC_ERR_CONFIG for everything that is wrong with the file or an override: the message starts
 * with "file:line:column: " or "command line: " and says what was found, what is legal, and the nearest legal name. */
ec_status ec__config_load(const char *path, const char *const *overrides, size_t count, ec_config **out);

/* The same for a text in memory (a configuration kept in a checkpoint). name stands in messages; paths are relative to
 * folder. bytes need not end with a NUL. */
ec_status ec__config_parse(const char *name, const char *folder, const char *text, size_t bytes,
                           const char *const *overrides, size_t count, ec_config **out);
void ec__config_free(ec_config *config); /* accepts NULL */

/* The whole resolved configuration as YAML, owned by the caller (free); parsing it gives an equal configuration. */
ec_status ec__config_print(const ec_config *config, char **out);

/* Can this many ranks run it? EC_ERR_CONFIG lists the legal numbers: those that divide distributed.shards (with
 * reduction fast: training.batch_size) and leave each rank at least training.accumulate of them. */
ec_status ec__config_check_ranks(const ec_config *config, int32_t ranks);

/* SHA-256 of what a training run computes: the resolved text without paths, logging, checkpoint, and the keys that
 * change only speed. Two runs with the same hash, data and code have the same weights. */
ec_status ec__config_hash(const ec_config *config, char hex[EC_SHA256_HEX]);

/* What a run that goes on from a checkpoint may change. */
typedef enum ec_config_change {
    EC_CHANGE_REFUSED, /* model, loss, optimizer, data order: the weights would not be those of an uninterrupted run */
    EC_CHANGE_ALLOWED, /* how long, how fast, where, how much is told */
} ec_config_change;

/* Calls visit for every key whose values differ, in the order of the schema; values are YAML text. */
ec_status ec__config_compare(const ec_config *then, const ec_config *now,
                             void (*visit)(void *arg, const char *key, const char *then_value, const char *now_value,
                                           ec_config_change change),
                             void *arg);

/* EC_ERR_CONFIG naming every refused difference (key, value in the checkpoint, value now) where there is one. */
ec_status ec__config_check_resume(const ec_config *then, const ec_config *now);

/* Fails unless key ("dataset.image_manifest") has a value; purpose says who needs it: "emoclim cache build". */
ec_status ec__config_require(const ec_config *config, const char *key, const char *purpose);

/* Keys and sections one by one, for who lists them (completion, the manual). All text is static. */
typedef struct ec_config_key {
    const char *name, *help;
    const char *const *words; /* the legal values where they are words, ends with NULL; else NULL */
    bool is_path;
} ec_config_key;

/* Key number i, in the order of the reference page; false past the last. */
bool ec__config_key(size_t i, ec_config_key *out);

/* The name of section number i and what it is about; NULL past the last. */
const char *ec__config_section(size_t i, const char **help);

/* The reference page of all keys, in Markdown, owned by the caller. */
ec_status ec__config_document(char **out);

#endif
