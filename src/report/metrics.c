#define _GNU_SOURCE
#include "report/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/json_text.h"
#include "core/clock.h"
#include "core/file.h"

/* A step's line that comes this long after the last flush brings itself and all before it to the file. */
static const int64_t FLUSH_NS = 2000000000;

struct ec_metrics {
    FILE *stream;
    char *path;
    int64_t flushed_ns;
    int failed; /* errno of the first write that failed, or 0 */
};

static const char *const direction_names[EC_DIRECTIONS] = {
    [EC_IMAGE_TO_IMAGE] = "image2image",
    [EC_MUSIC_TO_MUSIC] = "audio2audio",
    [EC_IMAGE_TO_MUSIC] = "image2audio",
    [EC_MUSIC_TO_IMAGE] = "audio2image",
};

static const char *const metric_names[EC_METRICS] = {[EC_P_AT_1] = "precision@1", [EC_P_AT_5] = "precision@5",
                                                     [EC_P_AT_10] = "precision@10", [EC_MRR] = "MRR", [EC_MAP] = "MAP"};

/* A run that was killed may have left half a line, which the next must not go on in: the file ends with a whole one. */
static ec_status cut_half_line(const char *path) {
    ec_status status = EC_OK;
    char block[4096];
    const char *newline = NULL;
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return EC_OK; /* not there yet, or fopen says why not */
    const int64_t bytes = lseek(fd, 0, SEEK_END);
    int64_t end = bytes;
    while (end > 0 && !newline) {
        const int64_t count = end < (int64_t)sizeof block ? end : (int64_t)sizeof block;
        EC_TRY(ec__pread_exact(fd, path, block, (size_t)count, end - count));
        newline = memrchr(block, '\n', (size_t)count);
        end = newline ? end - count + (newline - block) + 1 : end - count;
    }
    if (end < bytes && ftruncate(fd, end) != 0) EC_FAIL(EC_ERR_IO, "cannot cut %s: %s", path, strerror(errno));
done:
    close(fd);
    return status;
}

ec_status ec__metrics_open(const char *path, ec_metrics **out) {
    ec_status status = EC_OK;
    ec_metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics) EC_FAIL(EC_ERR_MEMORY, "no memory for the metrics file");
    EC_TRY(ec__format(&metrics->path, "%s", path));
    EC_TRY(cut_half_line(path));
    metrics->stream = fopen(path, "ae");
    if (!metrics->stream) EC_FAIL(EC_ERR_IO, "cannot open %s: %s", path, strerror(errno));
    metrics->flushed_ns = ec__now_ns();
    *out = metrics;
    metrics = NULL;
done:
    if (metrics) {
        free(metrics->path);
        free(metrics);
    }
    return status;
}

ec_status ec__metrics_close(ec_metrics *metrics) {
    if (!metrics) return EC_OK;
    if (fclose(metrics->stream) != 0 && !metrics->failed) metrics->failed = errno;
    ec_status status = EC_OK;
    if (metrics->failed) status = EC_ERROR(EC_ERR_IO, "cannot write %s: %s", metrics->path, strerror(metrics->failed));
    free(metrics->path);
    free(metrics);
    return status;
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

/* Writes one object as a line and releases it. A failed allocation loses the line and is remembered. */
static void write_line(ec_metrics *metrics, json_t *line, bool flush) {
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (!text && !metrics->failed) metrics->failed = ENOMEM;
    if (text && (fputs(text, metrics->stream) == EOF || fputc('\n', metrics->stream) == EOF) && !metrics->failed)
        metrics->failed = errno;
    int64_t now = ec__now_ns();
    if (flush || now - metrics->flushed_ns > FLUSH_NS) {
        if (fflush(metrics->stream) != 0 && !metrics->failed) metrics->failed = errno;
        metrics->flushed_ns = now;
    }
    free(text);
    json_decref(line);
}

static json_t *losses_object(const double losses[EC_DIRECTIONS]) {
    json_t *object = json_object();
    for (int d = 0; d < EC_DIRECTIONS; d++) json_object_set_new(object, direction_names[d], number(losses[d]));
    return object;
}

static json_t *retrieval_object(const double metrics[EC_METRICS]) {
    json_t *object = json_object();
    for (int m = 0; m < EC_METRICS; m++) json_object_set_new(object, metric_names[m], number(metrics[m]));
    return object;
}

void ec__metrics_start(ec_metrics *metrics, const ec_train_start *start) {
    json_t *line = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:o?}", "event", "start", "step",
                             (json_int_t)start->first_step, "total_steps", (json_int_t)start->total_steps,
                             "steps_per_epoch", (json_int_t)start->steps_per_epoch, "parameters",
                             (json_int_t)start->parameters, "images", (json_int_t)start->images, "tracks",
                             (json_int_t)start->tracks, "classes", start->classes, "resumed_from",
                             ec__json_text(start->resumed_from));
    write_line(metrics, line, true);
}

void ec__metrics_step(ec_metrics *metrics, const ec_train_record *r) {
    json_t *line = json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "event", "step", "step",
                             (json_int_t)r->step, "epoch", number(r->epoch), "loss", number(r->result.total), "losses",
                             losses_object(r->result.losses), "grad_norm", number(r->result.grad_norm), "learning_rate",
                             number(r->result.learning_rate), "step_ms", number(r->step_ms), "wait_ms",
                             number(r->wait_ms), "samples_per_s", number(r->samples_per_s));
    write_line(metrics, line, false);
}

void ec__metrics_validation(ec_metrics *metrics, const ec_validation_record *r) {
    json_t *line = json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "event", "validation", "step",
                             (json_int_t)r->step, "epoch", number(r->epoch), "loss", number(r->total), "losses",
                             losses_object(r->losses), "image2music", retrieval_object(r->image2music), "music2image",
                             retrieval_object(r->music2image), "seconds", number(r->seconds), "best", r->best);
    write_line(metrics, line, true);
}

void ec__metrics_checkpoint(ec_metrics *metrics, int64_t step, const char *path) {
    json_t *line = json_pack("{s:s, s:I, s:o}", "event", "checkpoint", "step", (json_int_t)step, "path",
                             ec__json_text(path));
    write_line(metrics, line, true);
}
