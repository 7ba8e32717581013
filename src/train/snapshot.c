/* Checkpoints of a run: its state as a list of named arrays, out to a file and back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/feature_origin.h"
#include "core/file.h"
#include "core/log.h"
#include "train/checkpoint_writer.h"
#include "train/run.h"

/* Where an array of the list comes from. */
typedef enum origin { PARAM, BUFFER, COUNTER, EXP_AVG, EXP_AVG_SQ } origin;

typedef struct place {
    origin origin;
    int32_t number; /* in its set */
} place;

struct ec_snapshots {
    ec_run *run;
    ec_checkpoint_array *array; /* (count) what a checkpoint of this model holds; data is NULL */
    char **name;                /* (count) */
    place *place;               /* (count) */
    int32_t count;
    float *flat[2];               /* (params.total) host copies of exp_avg and exp_avg_sq */
    char *config_text;
    char *features[EC_MODALITIES]; /* where they come from */
    ec_checkpoint_writer *writer; /* rank 0 */
    char *path;                   /* of the last save */
    char *from;                   /* what was resumed from, or NULL */
};

static ec_status add_array(ec_snapshots *s, const char *section, const ec_param *p, ec_h5_type type, place at) {
    ec_checkpoint_array *a = &s->array[s->count];
    EC_RETURN_IF(ec__format(&s->name[s->count], "%s/%s", section, p->name));
    *a = (ec_checkpoint_array){.name = s->name[s->count], .type = type, .rank = p->dims};
    for (int32_t d = 0; d < p->dims; d++) a->dim[d] = p->shape[d];
    s->place[s->count++] = at;
    return EC_OK;
}

static ec_status list_arrays(ec_snapshots *s) {
    const ec_heads *h = s->run->heads;
    size_t most = 3 * (size_t)h->params.count + (size_t)h->buffers.count + (size_t)h->counters.count;
    s->array = calloc(most, sizeof *s->array);
    s->name = calloc(most, sizeof *s->name);
    s->place = calloc(most, sizeof *s->place);
    if (!s->array || !s->name || !s->place) return EC_ERROR(EC_ERR_MEMORY, "no memory for a list of %zu arrays", most);
    for (int32_t i = 0; i < h->params.count; i++) {
        const ec_param *p = &h->params.items[i];
        EC_RETURN_IF(add_array(s, "params", p, EC_H5_F32, (place){PARAM, i}));
        EC_RETURN_IF(add_array(s, "optimizer/exp_avg", p, EC_H5_F32, (place){EXP_AVG, i}));
        EC_RETURN_IF(add_array(s, "optimizer/exp_avg_sq", p, EC_H5_F32, (place){EXP_AVG_SQ, i}));
    }
    for (int32_t i = 0; i < h->buffers.count; i++)
        EC_RETURN_IF(add_array(s, "buffers", &h->buffers.items[i], EC_H5_F32, (place){BUFFER, i}));
    for (int32_t i = 0; i < h->counters.count; i++)
        EC_RETURN_IF(add_array(s, "buffers", &h->counters.items[i], EC_H5_I64, (place){COUNTER, i}));
    return EC_OK;
}

static ec_checkpoint_keep keep_of(const ec_config *config) {
    return (ec_checkpoint_keep){.last = config->checkpoint.keep_last, .every = config->checkpoint.keep_every};
}

static ec_status open_all(ec_run *run, ec_snapshots *s) {
    s->run = run;
    EC_RETURN_IF(list_arrays(s));
    for (int i = 0; i < 2; i++) {
        s->flat[i] = calloc((size_t)run->heads->params.total, sizeof *s->flat[i]);
        if (!s->flat[i]) return EC_ERROR(EC_ERR_MEMORY, "no memory for a copy of the optimizer's state");
    }
    EC_RETURN_IF(ec__config_print(run->config, &s->config_text));
    for (int m = 0; m < EC_MODALITIES; m++)
        EC_RETURN_IF(ec__feature_origin(&ec__cache_info(run->cache[m])->identity, &s->features[m]));
    if (run->comm->rank != 0) return EC_OK;
    const ec_checkpoint_keep keep = keep_of(run->config);
    return ec__checkpoint_writer_new(run->config->checkpoint.folder, &keep,
                                     run->config->checkpoint.on_error == EC_CONFIG_ERROR_CONTINUE, s->array, s->count,
                                     &s->writer);
}

ec_status ec__snapshots_open(ec_run *run, ec_snapshots **out) {
    ec_snapshots *s = calloc(1, sizeof *s);
    if (!s) return EC_ERROR(EC_ERR_MEMORY, "no memory for checkpoints");
    *out = s; /* closed by the run, however this ends */
    return open_all(run, s);
}

ec_status ec__snapshots_close(ec_snapshots *s) {
    ec_status status = EC_OK;
    if (!s) return EC_OK;
    if (s->writer) status = ec__checkpoint_writer_wait(s->writer);
    ec__checkpoint_writer_free(s->writer);
    for (int32_t i = 0; i < s->count; i++) free(s->name[i]);
    free(s->name);
    free(s->array);
    free(s->place);
    free(s->flat[0]);
    free(s->flat[1]);
    for (int m = 0; m < EC_MODALITIES; m++) free(s->features[m]);
    free(s->config_text);
    free(s->path);
    free(s->from);
    free(s);
    return status;
}

static float *const *moments(const ec_run *run, origin of) {
    return of == EXP_AVG ? &run->core->optimizer->exp_avg : &run->core->optimizer->exp_avg_sq;
}

static ec_status fill(void *arg, int32_t k, const ec_checkpoint_array *array) {
    ec_snapshots *s = arg;
    ec_heads *h = s->run->heads;
    int32_t i = s->place[k].number;
    switch (s->place[k].origin) {
    case PARAM: return ec__heads_export_param(h, i, array->data);
    case BUFFER: return ec__heads_export_buffer(h, i, array->data);
    case COUNTER: memcpy(array->data, &h->counter[i], sizeof h->counter[i]); return EC_OK;
    case EXP_AVG: ec__param_export(&h->params.items[i], s->flat[0], array->data); return EC_OK;
    case EXP_AVG_SQ: ec__param_export(&h->params.items[i], s->flat[1], array->data); return EC_OK;
    }
    return EC_OK;
}

static ec_status write_snapshot(ec_snapshots *s, ec_run *run, int64_t step, bool best) {
    ec_backend *be = run->be;
    size_t bytes = sizeof(float) * (size_t)run->heads->params.total;
    const ec_checkpoint_meta meta = {
        .step = step,
        .epoch = step / run->steps_per_epoch,
        .sampler_position = step % run->steps_per_epoch,
        .seed = (uint64_t)run->config->training.seed,
        .ranks = run->comm->size,
        .shards = (int32_t)run->config->distributed.shards,
        .best_metric = run->best,
        .validation_due = run->validation_due,
        .config = s->config_text,
        .features = {s->features[EC_IMAGE], s->features[EC_MUSIC]},
    };
    for (int i = 0; i < 2; i++)
        EC_RETURN_IF(
            be->memory->download(be, be->main_stream(be), s->flat[i], *moments(run, i ? EXP_AVG_SQ : EXP_AVG), bytes));
    EC_RETURN_IF(be->synchronize(be));
    EC_RETURN_IF(ec__checkpoint_writer_save(s->writer, &meta, best, fill, s));
    free(s->path);
    s->path = NULL;
    return ec__checkpoint_step_path(run->config->checkpoint.folder, step, &s->path);
}

ec_status ec__snapshots_save(ec_snapshots *s, ec_run *run, int64_t step, bool best, const char **path) {
    ec_status mine = run->comm->rank == 0 ? write_snapshot(s, run, step, best) : EC_OK;
    EC_RETURN_IF(ec__comm_agree(run->comm, mine));
    if (path) *path = s->path;
    return EC_OK;
}

bool ec__snapshots_failed(ec_snapshots *s) { return s->writer && ec__checkpoint_writer_failed(s->writer); }

ec_status ec__snapshots_check(ec_snapshots *s) {
    return ec__snapshots_failed(s) ? ec__checkpoint_writer_wait(s->writer) : EC_OK;
}

/* Puts one array of the checkpoint where it belongs; moments go through their host copies. */
static ec_status restore_array(ec_snapshots *s, int32_t k, const ec_checkpoint_array *array) {
    ec_heads *h = s->run->heads;
    int32_t i = s->place[k].number;
    switch (s->place[k].origin) {
    case PARAM: return ec__heads_import_param(h, i, array->data);
    case BUFFER: return ec__heads_import_buffer(h, i, array->data);
    case COUNTER: memcpy(&h->counter[i], array->data, sizeof h->counter[i]); return EC_OK;
    case EXP_AVG: ec__param_import(&h->params.items[i], array->data, s->flat[0]); return EC_OK;
    case EXP_AVG_SQ: ec__param_import(&h->params.items[i], array->data, s->flat[1]); return EC_OK;
    }
    return EC_OK;
}

static ec_status check_features(const ec_run *run, const ec_checkpoint *checkpoint) {
    for (int m = 0; m < EC_MODALITIES; m++) {
        const ec_cache_info *info = ec__cache_info(run->cache[m]);
        if (!checkpoint->meta.features[m]) continue;
        EC_RETURN_IF(ec__feature_origin_check(checkpoint->path, checkpoint->meta.features[m], info->path,
                                              &info->identity, false));
    }
    return EC_OK;
}

static ec_status restore(ec_snapshots *s, ec_run *run, const ec_checkpoint *checkpoint) {
    ec_backend *be = run->be;
    size_t bytes = sizeof(float) * (size_t)run->heads->params.total;
    EC_RETURN_IF(ec__checkpoint_check_config(checkpoint, run->config));
    EC_RETURN_IF(ec__checkpoint_expect(checkpoint, s->array, s->count));
    EC_RETURN_IF(check_features(run, checkpoint));
    for (int32_t k = 0; k < s->count; k++)
        EC_RETURN_IF(restore_array(s, k, ec__checkpoint_find(checkpoint, s->array[k].name)));
    for (int i = 0; i < 2; i++)
        EC_RETURN_IF(
            be->memory->upload(be, be->main_stream(be), *moments(run, i ? EXP_AVG_SQ : EXP_AVG), s->flat[i], bytes));
    EC_RETURN_IF(be->synchronize(be));
    run->first_step = checkpoint->meta.step;
    run->best = checkpoint->meta.best_metric;
    run->validation_due = checkpoint->meta.validation_due;
    return EC_OK;
}

/* A run that begins after `step` steps must not mix its checkpoints with later ones of another run: the oldest would be
 * removed first, and --resume auto would choose the newest. */
static ec_status check_folder(const char *folder, int64_t step) {
    ec_status status = EC_OK;
    int64_t *steps = NULL;
    int32_t count = 0;
    EC_TRY(ec__checkpoint_list(folder, &steps, &count));
    if (count > 0 && steps[count - 1] > step)
        EC_FAIL(EC_ERR_USAGE,
                "%s holds checkpoints of an earlier run, up to step %lld; go on from there with --resume auto, or give "
                "another logging.folder",
                folder, (long long)steps[count - 1]);
done:
    free(steps);
    return status;
}

/* On rank 0: the checkpoint to go on from, or NULL. */
static ec_status choose(ec_run *run, const char *resume, ec_checkpoint **out) {
    const char *folder = run->config->checkpoint.folder;
    *out = NULL;
    if (resume && strcmp(resume, "auto") == 0) return ec__checkpoint_latest(folder, out);
    if (resume) EC_RETURN_IF(ec__checkpoint_load(resume, out));
    return check_folder(folder, *out ? (*out)->meta.step : 0);
}

/* Rank 0's file name on every rank: to s->from, or NULL. Collective. */
static ec_status share_name(ec_snapshots *s, ec_comm *comm, const char *name) {
    ec_status status = EC_OK;
    int64_t bytes = name ? (int64_t)strlen(name) + 1 : 0;
    EC_TRY(ec__comm_broadcast(comm->host, &bytes, sizeof bytes, 0));
    if (bytes == 0) goto done;
    s->from = calloc(1, (size_t)bytes);
    EC_TRY(ec__comm_agree(comm, s->from ? EC_OK : EC_ERROR(EC_ERR_MEMORY, "no memory for a file name")));
    if (name) memcpy(s->from, name, (size_t)bytes);
    EC_TRY(ec__comm_broadcast(comm->host, s->from, (size_t)bytes, 0));
done:
    return status;
}

/* What a kill in the last save left is removed now: the run may have nothing more to save. */
static ec_status tidy(const ec_run *run, const ec_checkpoint *checkpoint) {
    const ec_checkpoint_keep keep = keep_of(run->config);
    return ec__checkpoint_prune(run->config->checkpoint.folder, &keep, checkpoint ? checkpoint->meta.step : 0);
}

ec_status ec__snapshots_resume(ec_snapshots *s, ec_run *run, const char *resume, const char **from) {
    ec_status status = EC_OK, mine = EC_OK;
    ec_checkpoint *checkpoint = NULL;
    if (run->comm->rank == 0) {
        mine = choose(run, resume, &checkpoint);
        if (mine == EC_OK) mine = tidy(run, checkpoint);
    }
    EC_TRY(ec__comm_agree(run->comm, mine));
    EC_TRY(share_name(s, run->comm, checkpoint ? checkpoint->path : NULL));
    *from = s->from;
    if (!s->from) goto done;
    if (run->comm->rank != 0) mine = ec__checkpoint_load(s->from, &checkpoint);
    if (mine == EC_OK) mine = restore(s, run, checkpoint);
    EC_TRY(ec__comm_agree(run->comm, mine));
done:
    ec__checkpoint_free(checkpoint);
    return status;
}
