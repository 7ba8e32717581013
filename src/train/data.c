/* The data of a run: two caches that fit each other, and the rows that may be drawn. */
#include <stdlib.h>
#include <string.h>

#include "dist/share.h"
#include "train/run.h"

static const char *const names[EC_MODALITIES] = {[EC_IMAGE] = "images", [EC_MUSIC] = "music"};

/* Rows that an indices file names have no others to take their place. */
static bool skips(const ec_run *run) {
    return run->config->dataset.on_corrupt == EC_CONFIG_CORRUPT_SKIP && !run->config->training.indices;
}

static ec_status open_cache(ec_run *run, ec_modality modality) {
    const ec_config_dataset *dataset = &run->config->dataset;
    const char *path = modality == EC_IMAGE ? dataset->image_cache : dataset->audio_cache;
    const char *wanted = modality == EC_IMAGE ? "image" : "music";
    const ec_cache_options options = {.skip_corrupt = skips(run)};
    if (ec__cache_open(path, &options, &run->cache[modality]) != EC_OK) {
        ec_status code = ec_error_last()->code;
        ec__error_prefix("the cache of %s (\"emoclim cache build\" makes it): ", names[modality]);
        return code;
    }
    const ec_cache_info *info = ec__cache_info(run->cache[modality]);
    if (strcmp(info->identity.modality, wanted) != 0)
        return EC_ERROR(EC_ERR_DATA, "%s holds features of modality %s; %s was expected (dataset.%s_cache)", path,
                        info->identity.modality, wanted, modality == EC_IMAGE ? "image" : "audio");
    EC_RETURN_IF(ec__row_source_cache(run->cache[modality], &run->source[modality]));
    if (!skips(run)) return EC_OK;
    ec__row_source_skip_corrupt(&run->source[modality]);
    run->agreed[modality] = calloc((size_t)info->blocks, 1);
    return run->agreed[modality] ? EC_OK : EC_ERROR(EC_ERR_MEMORY, "no memory for the state of %s", path);
}

ec_status ec__split_rows_list(const ec_run *run, ec_split split, ec_split_rows *out) {
    ec_split_rows rows = {0};
    for (int m = 0; m < EC_MODALITIES; m++) {
        const ec_cache_info *info = ec__cache_info(run->cache[m]);
        rows.row[m] = malloc(sizeof *rows.row[m] * (size_t)info->rows);
        if (!rows.row[m]) {
            ec__split_rows_release(&rows);
            return EC_ERROR(EC_ERR_MEMORY, "no memory for %lld row numbers", (long long)info->rows);
        }
        for (int64_t r = 0; r < info->rows; r++)
            if (info->split[r] == split) rows.row[m][rows.count[m]++] = r;
    }
    *out = rows;
    return EC_OK;
}

void ec__split_rows_release(ec_split_rows *rows) {
    for (int m = 0; m < EC_MODALITIES; m++) free(rows->row[m]);
    memset(rows, 0, sizeof *rows);
}

/* Without a class that both modalities have, the cross-modal losses have no positives at all. */
static ec_status check_training_rows(const ec_run *run) {
    const ec_cache_info *info[EC_MODALITIES];
    ec_status status = EC_OK;
    int32_t shared = 0;
    uint8_t *seen = NULL;
    for (int m = 0; m < EC_MODALITIES; m++) {
        info[m] = ec__cache_info(run->cache[m]);
        if (run->train.count[m] == 0)
            EC_FAIL(EC_ERR_DATA, "%s has no row of split \"train\"", info[m]->path);
        if (!info[m]->label)
            EC_FAIL(EC_ERR_DATA, "%s has tags and no labels: contrastive training needs one label a row",
                    info[m]->path);
    }
    seen = calloc((size_t)info[EC_IMAGE]->class_count, 1);
    if (!seen) EC_FAIL(EC_ERR_MEMORY, "no memory for %d classes", info[EC_IMAGE]->class_count);
    for (int m = 0; m < EC_MODALITIES; m++)
        for (int64_t i = 0; i < run->train.count[m]; i++)
            seen[info[m]->label[run->train.row[m][i]]] |= (uint8_t)(1 << m);
    for (int32_t c = 0; c < info[EC_IMAGE]->class_count; c++) shared += seen[c] == 3;
    const ec_config_loss_weights *w = &run->config->training.loss_weights;
    if (shared == 0 && (w->image2audio > 0 || w->audio2image > 0))
        EC_FAIL(EC_ERR_DATA,
                "no class has both images (%s) and music (%s) for training: the losses between them have no positives",
                info[EC_IMAGE]->path, info[EC_MUSIC]->path);
done:
    free(seen);
    return status;
}

static ec_status open_sampler(ec_run *run) {
    const ec_config_training *t = &run->config->training;
    ec_sample_pool pool[EC_MODALITIES];
    for (int m = 0; m < EC_MODALITIES; m++) {
        const ec_cache_info *info = ec__cache_info(run->cache[m]);
        pool[m] = (ec_sample_pool){
            .rows = info->rows, .count = run->train.count[m], .candidate = run->train.row[m], .label = info->label};
    }
    const ec_sampler_config config = {
        .global_rows = t->batch_size,
        .sampling = t->sampling == EC_CONFIG_SHUFFLED ? EC_SAMPLE_SHUFFLED : EC_SAMPLE_CLASS_BALANCED,
        .indices = t->indices,
        .seed = (uint64_t)t->seed,
    };
    if (ec__sampler_new(&config, pool, &run->sampler) == EC_OK) return EC_OK;
    ec_status code = ec_error_last()->code;
    if (code == EC_ERR_CONFIG && !t->indices)
        ec__error_prefix("training.batch_size = %lld with training.sampling: shuffled on %s and %s: ",
                         (long long)t->batch_size, run->config->dataset.image_cache, run->config->dataset.audio_cache);
    return code;
}

ec_status ec__run_open_data(ec_run *run) {
    for (int m = 0; m < EC_MODALITIES; m++) EC_RETURN_IF(open_cache(run, (ec_modality)m));
    EC_RETURN_IF(ec__cache_check_classes(ec__cache_info(run->cache[EC_IMAGE]), ec__cache_info(run->cache[EC_MUSIC])));
    EC_RETURN_IF(ec__split_rows_list(run, EC_SPLIT_TRAIN, &run->train));
    EC_RETURN_IF(ec__split_rows_list(run, EC_SPLIT_VALID, &run->valid));
    EC_RETURN_IF(check_training_rows(run));
    for (int m = 0; m < EC_MODALITIES; m++)
        if (ec__cache_fits_memory(run->cache[m])) EC_RETURN_IF(ec__cache_load(run->cache[m], NULL));
    return open_sampler(run);
}

/* Keeps the rows of one modality that can be read, in their order. good: scratch (count). Collective. */
static ec_status keep_good(ec_run *run, ec_modality m, uint8_t *good) {
    int64_t *row = run->valid.row[m], count = run->valid.count[m], kept = 0;
    const ec_share share = ec__share_of(run->comm->rank, run->comm->size, count);
    for (int64_t i = share.first; i < share.last; i++) good[i] = ec__cache_good(run->cache[m], row[i]);
    EC_RETURN_IF(ec__share_rows(run->comm->host, good, count, 1));
    for (int64_t i = 0; i < count; i++)
        if (good[i]) row[kept++] = row[i];
    run->valid.count[m] = kept;
    return EC_OK;
}

ec_status ec__run_drop_corrupt(ec_run *run) {
    ec_status status = EC_OK;
    uint8_t *good[EC_MODALITIES] = {0};
    if (!skips(run) || run->config->training.validate_every == 0) return EC_OK;
    for (int m = 0; m < EC_MODALITIES; m++) {
        good[m] = malloc((size_t)run->valid.count[m] + 1);
        if (!good[m] && status == EC_OK) status = EC_ERROR(EC_ERR_MEMORY, "no memory to check the rows for validation");
    }
    EC_TRY(ec__comm_agree(run->comm, status));
    for (int m = 0; m < EC_MODALITIES; m++) EC_TRY(keep_good(run, (ec_modality)m, good[m]));
done:
    for (int m = 0; m < EC_MODALITIES; m++) free(good[m]);
    return status;
}

void ec__run_close_data(ec_run *run) {
    ec__sampler_free(run->sampler);
    ec__split_rows_release(&run->train);
    ec__split_rows_release(&run->valid);
    for (int m = 0; m < EC_MODALITIES; m++) {
        free(run->agreed[m]);
        ec__cache_close(run->cache[m]);
    }
}
