#include "pipeline/build.h"

#include <stdlib.h>
#include <string.h>

#include "cache/cache_writer.h"
#include "cache/feature_cache.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/stop.h"
#include "pipeline/featurize.h"
#include "pipeline/samples.h"

/* What ranks tell each other after a round. */
typedef struct round_report {
    int64_t done, skipped;
    int32_t failed, stop;
} round_report;

/* A build on one rank. */
typedef struct build {
    const ec_config *config;
    ec_comm *comm;
    const ec_progress *progress;
    const char *what, *path;
    ec_samples samples;
    ec_featurizer *featurizer;
    ec_cache_spec spec;
    ec_cache_part *part;
    int64_t *todo; /* rows that no earlier run finished, the same list on every rank */
    int64_t todo_count;
    ec_build_summary summary;
    /* One round: */
    int32_t batch;
    float *features;
    ec_media_item *items;
    ec_media_failure *failures;
    round_report *reports; /* (ranks) */
} build;

static void make_spec(build *b) {
    b->spec = (ec_cache_spec){
        .identity = *ec__featurizer_identity(b->featurizer),
        .rows = b->samples.count,
        .id = (const char *const *)b->samples.id,
        .label = b->samples.label,
        .split = b->samples.split,
        .class_names = b->samples.class_name,
        .class_count = b->samples.class_count,
    };
    b->spec.identity.manifest_sha256 = b->samples.manifest->sha256;
}

/* Classes, labels and splits of a cache that was made from the same manifest: they also depend on the class list, the
 * label map and the other modality's manifest. Rows that were left out are missing in the cache. */
static ec_status check_labels(const build *b, const ec_cache_info *found) {
    const ec_samples *s = &b->samples;
    bool same = found->class_count == s->class_count && found->label;
    int64_t row = 0;
    for (int32_t c = 0; same && c < s->class_count; c++)
        same = strcmp(ec__h5_string(&found->class_names, c), s->class_name[c]) == 0;
    if (!same)
        return EC_ERROR(EC_ERR_DATA,
                        "%s was made with another list of classes: it has %d, the configuration and the manifests lead "
                        "to %d (\"emoclim cache info\" lists them)",
                        b->path, found->class_count, s->class_count);
    for (int64_t i = 0; i < s->count && row < found->rows; i++) {
        if (strcmp(ec__h5_string(&found->id, row), s->id[i]) != 0) continue;
        if (found->label[row] != s->label[i] || found->split[row] != s->split[i])
            return EC_ERROR(EC_ERR_DATA, "%s has %s as \"%s\", split %s; expected \"%s\", split %s", b->path, s->id[i],
                            s->class_name[found->label[row]], ec__split_name((ec_split)found->split[row]),
                            s->class_name[s->label[i]], ec__split_name((ec_split)s->split[i]));
        row++;
    }
    if (row < found->rows)
        return EC_ERROR(EC_ERR_DATA, "%s holds %s, which is not among the samples now", b->path,
                        ec__h5_string(&found->id, row));
    return EC_OK;
}

/* Is there a cache already? *current tells whether it is what would be built; one of another making is an error, unless
 * it is to be replaced. */
static ec_status look_at_existing(build *b, bool rebuild, bool *current) {
    ec_status status = EC_OK;
    ec_cache *cache = NULL;
    *current = false;
    if (!ec__file_exists(b->path)) return EC_OK;
    if (rebuild) return ec__cache_check_replaceable(b->path);
    if (ec__cache_open(b->path, NULL, &cache) != EC_OK) {
        ec__error_prefix("there is a file already, and it is no good cache; build with --rebuild to replace it: ");
        EC_TRY(ec_error_last()->code);
    }
    if (ec__cache_check_compatible(cache, &b->spec.identity) != EC_OK ||
        check_labels(b, ec__cache_info(cache)) != EC_OK) {
        ec__error_prefix("this cache was made in another way; build with --rebuild to replace it: ");
        EC_TRY(EC_ERR_DATA);
    }
    const ec_cache_info *info = ec__cache_info(cache);
    b->summary.skipped = info->skipped_id.count;
    *current = true;
done:
    ec__cache_close(cache);
    return status;
}

static ec_status list_todo(build *b) {
    b->todo = malloc(sizeof *b->todo * (size_t)b->samples.count);
    if (!b->todo) return EC_ERROR(EC_ERR_MEMORY, "no memory for %lld row numbers", (long long)b->samples.count);
    for (int64_t row = 0; row < b->samples.count; row++)
        if (!ec__cache_part_has(b->part, row)) b->todo[b->todo_count++] = row;
    b->summary.resumed = b->samples.count - b->todo_count;
    return EC_OK;
}

/* Encodes count rows and hands them to the part; *skipped counts broken ones. */
static ec_status encode_rows(build *b, const int64_t *rows, int32_t count, int64_t *skipped) {
    const ec_cache_identity *identity = &b->spec.identity;
    for (int32_t i = 0; i < count; i++) b->items[i] = b->samples.item[rows[i]];
    EC_RETURN_IF(ec__featurize(b->featurizer, b->items, count, b->features, b->failures));
    for (int32_t i = 0; i < count; i++) {
        const char *reason = b->failures[i].text;
        if (!*reason) {
            const float *values = b->features + (int64_t)i * identity->views * identity->width;
            if (ec__cache_part_append(b->part, rows[i], values) == EC_OK) continue;
            if (ec_error_last()->code != EC_ERR_DATA) return ec_error_last()->code;
            reason = ec_error_last()->text; /* features that are not finite: as good as a broken file */
        }
        if (!b->config->dataset.skip_broken)
            return EC_ERROR(EC_ERR_DATA, "%s (set dataset.skip_broken to leave such files out)", reason);
        EC_WARN("left out: %s", reason);
        EC_RETURN_IF(ec__cache_part_skip(b->part, rows[i], reason));
        ++*skipped;
    }
    return EC_OK;
}

/* Rounds of one batch a rank until all is done, one rank fails, or a signal came. All ranks leave in the same round. */
static ec_status run_rounds(build *b) {
    ec_status status = EC_OK, mine = EC_OK;
    round_report report;
    int32_t size = b->comm->size;
    int64_t per_round = (int64_t)b->batch * size;
    bool failed = false, stop = false;
    ec__progress(b->progress, b->what, b->summary.resumed, b->samples.count);
    for (int64_t first = 0; first < b->todo_count && !failed && !stop; first += per_round) {
        int64_t begin = first + (int64_t)b->batch * b->comm->rank;
        int64_t rest = begin < b->todo_count ? b->todo_count - begin : 0;
        memset(&report, 0, sizeof report);
        report.done = rest < b->batch ? rest : b->batch;
        if (report.done > 0) mine = encode_rows(b, b->todo + begin, (int32_t)report.done, &report.skipped);
        report.failed = mine != EC_OK;
        report.stop = ec__stop_requested() != 0;
        EC_TRY(ec__comm_all_gather(b->comm, &report, b->reports, sizeof report));
        for (int32_t r = 0; r < size; r++) {
            b->summary.encoded += b->reports[r].done - b->reports[r].skipped;
            b->summary.skipped += b->reports[r].skipped;
            failed |= b->reports[r].failed != 0;
            stop |= b->reports[r].stop != 0;
        }
        ec__progress(b->progress, b->what, b->summary.resumed + b->summary.encoded + b->summary.skipped,
                     b->samples.count);
    }
    EC_TRY(ec__comm_agree(b->comm, mine));
    if (stop) EC_FAIL(EC_STOPPED, "stopped by a signal; run again to go on with %s", b->path);
done:
    return status;
}

static ec_status prepare_rounds(build *b) {
    const ec_cache_identity *identity = &b->spec.identity;
    b->batch = ec__featurizer_batch(b->featurizer);
    b->features = malloc(sizeof *b->features * (size_t)b->batch * (size_t)identity->views * (size_t)identity->width);
    b->items = calloc((size_t)b->batch, sizeof *b->items);
    b->failures = calloc((size_t)b->batch, sizeof *b->failures);
    b->reports = calloc((size_t)b->comm->size, sizeof *b->reports);
    if (!b->features || !b->items || !b->failures || !b->reports)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for a batch of %d", b->batch);
    return list_todo(b);
}

/* From a work folder that rank 0 holds to the finished parts of all ranks. */
static ec_status run_part(build *b) {
    ec_error first; /* closing must not take its place */
    ec_status status = EC_OK, mine = ec__cache_part_open(b->path, &b->spec, b->comm->rank, &b->part);
    if (mine == EC_OK) mine = prepare_rounds(b);
    /* No rank may add rows before every rank has seen which ones are missing. */
    EC_TRY(ec__comm_agree(b->comm, mine));
    EC_TRY(run_rounds(b));
    mine = ec__cache_part_close(b->part);
    b->part = NULL;
    EC_TRY(ec__comm_agree(b->comm, mine));
done:
    first = *ec_error_last();
    if (ec__cache_part_close(b->part) != EC_OK) ec__error_adopt(&first);
    b->part = NULL;
    return status;
}

static ec_status build_file(build *b) {
    ec_status status = EC_OK, mine = EC_OK;
    ec_cache_build *hold = NULL;
    if (b->comm->rank == 0) mine = ec__cache_build_begin(b->path, &b->spec, &hold);
    EC_TRY(ec__comm_agree(b->comm, mine));
    EC_TRY(run_part(b));
    if (b->comm->rank == 0) {
        mine = ec__cache_build_finish(hold, NULL);
        hold = NULL;
    }
    EC_TRY(ec__comm_agree(b->comm, mine));
done:
    ec__cache_build_abandon(hold);
    return status;
}

static ec_status open_inputs(build *b, ec_backend *be, ec_modality modality, bool rebuild) {
    EC_RETURN_IF(ec__samples_read(b->config, modality, &b->samples));
    EC_RETURN_IF(ec__featurizer_open(be, b->config, modality, &b->featurizer));
    make_spec(b);
    b->summary.rows = b->samples.count;
    return look_at_existing(b, rebuild, &b->summary.up_to_date);
}

ec_status ec__build_cache(const ec_config *config, ec_backend *be, ec_comm *comm, ec_modality modality, bool rebuild,
                          const ec_progress *progress, ec_build_summary *out) {
    ec_status status = EC_OK;
    int64_t start = ec__now_ns();
    build b = {
        .config = config,
        .comm = comm,
        .progress = progress,
        .what = modality == EC_IMAGE ? "images" : "tracks",
        .path = modality == EC_IMAGE ? config->dataset.image_cache : config->dataset.audio_cache,
    };
    ec__comm_set_context(comm, -1, "building a cache");
    EC_TRY(ec__comm_agree(comm, open_inputs(&b, be, modality, rebuild)));
    /* File systems may show a new file to some ranks later than to others: what rank 0 sees counts. */
    EC_TRY(ec__comm_broadcast(comm, &b.summary.up_to_date, sizeof b.summary.up_to_date, 0));
    if (!b.summary.up_to_date) EC_TRY(build_file(&b));
    else if (comm->rank == 0) ec__cache_build_sweep(b.path, &b.spec);
    b.summary.seconds = ec__seconds_since(start);
    *out = b.summary;
done:
    free(b.reports);
    free(b.failures);
    free(b.items);
    free(b.features);
    free(b.todo);
    ec__featurizer_free(b.featurizer);
    ec__samples_release(&b.samples);
    return status;
}
