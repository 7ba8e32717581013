/* The model of a run: heads, and the core that trains them, from the configuration. */
#include "train/run.h"

ec_heads_config ec__heads_config_of(const ec_config *config, int64_t image_dim, int64_t audio_dim) {
    const ec_config_full_model *m = &config->full_model;
    return (ec_heads_config){
        .multi_task = m->multi_task,
        .image_dim = (int32_t)image_dim,
        .audio_dim = (int32_t)audio_dim,
        .hidden_dim = (int32_t)m->hidden_dim,
        .output_dim = (int32_t)m->output_dim,
        .base_output_dim = (int32_t)m->base_output_dim,
        .dropout = (float)m->dropout,
        .normalize_inputs = m->normalize_inputs,
    };
}

static ec_optimizer_config optimizer_of(const ec_run *run) {
    const ec_config_training *t = &run->config->training;
    return (ec_optimizer_config){
        .kind = t->optimizer == EC_CONFIG_ADAM ? EC_ADAM : EC_ADAMW,
        .learning_rate = t->learning_rate,
        .beta1 = t->beta1,
        .beta2 = t->beta2,
        .eps = t->eps,
        .weight_decay = t->weight_decay,
        .clip_norm = t->gradient_clip,
        .schedule = t->schedule == EC_CONFIG_COSINE ? EC_SCHEDULE_COSINE : EC_SCHEDULE_CONSTANT,
        .warmup_steps = t->warmup_steps,
        .total_steps = run->total_steps,
        .final_fraction = t->final_fraction,
    };
}

static ec_supcon_gather gather_of(const ec_config *config) {
    switch (config->distributed.gather) {
        case EC_CONFIG_WHOLE: return EC_SUPCON_WHOLE;
        case EC_CONFIG_STREAMED: return EC_SUPCON_STREAMED;
        default: return EC_SUPCON_AUTO;
    }
}

ec_status ec__run_open_model(ec_run *run) {
    const ec_config_training *t = &run->config->training;
    const ec_heads_config heads =
        ec__heads_config_of(run->config, run->source[EC_IMAGE].width, run->source[EC_MUSIC].width);
    const ec_train_config train = {
        .plan = {.global_rows = t->batch_size,
                 .reproducible = run->config->distributed.reduction == EC_CONFIG_REPRODUCIBLE,
                 .shards = (int32_t)run->config->distributed.shards,
                 .accumulate = (int32_t)t->accumulate,
                 .seed = (uint64_t)t->seed},
        .optimizer = optimizer_of(run),
        .temperature = (float)t->loss_temperature,
        .weight = {[EC_IMAGE_TO_IMAGE] = (float)t->loss_weights.image2image,
                   [EC_MUSIC_TO_MUSIC] = (float)t->loss_weights.audio2audio,
                   [EC_IMAGE_TO_MUSIC] = (float)t->loss_weights.image2audio,
                   [EC_MUSIC_TO_IMAGE] = (float)t->loss_weights.audio2image},
        .classes = ec__cache_info(run->cache[EC_IMAGE])->class_count,
        .gather = gather_of(run->config),
    };
    EC_RETURN_IF(ec__heads_new(run->be, &heads, (uint64_t)t->seed, &run->heads));
    if (t->init) EC_RETURN_IF(ec__heads_load(run->heads, t->init));
    return ec__trainer_core_new(run->heads, run->comm, &train, &run->core);
}

void ec__run_close_model(ec_run *run) {
    ec__trainer_core_free(run->core);
    ec__heads_free(run->heads);
}
