#define _DEFAULT_SOURCE /* madvise */
#include "cache/embedding_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cache/checksum.h"
#include "core/file.h"

static const char program[] = "emoclim " EMOCLIM_VERSION;

/* Rows keep the length that rounding to float32 leaves them. */
static const double LENGTH_TOLERANCE = 1e-4;

/* In several sums side by side: a single one would wait for every addition, and a search for this check. */
static double squared_length(const float *x, int32_t width) {
    enum { SUMS = 8 };
    double sum[SUMS] = {0}, total = 0;
    int32_t k = 0;
    for (; k <= width - SUMS; k += SUMS)
        for (int32_t s = 0; s < SUMS; s++) sum[s] += (double)x[k + s] * (double)x[k + s];
    for (; k < width; k++) total += (double)x[k] * (double)x[k];
    for (int32_t s = 0; s < SUMS; s++) total += sum[s];
    return total;
}

static ec_status check_row(const char *path, const ec_embedding_content *x, int64_t row) {
    const double length2 = squared_length(x->embedding + row * x->width, x->width);
    if (!(fabs(sqrt(length2) - 1) <= LENGTH_TOLERANCE)) /* NaN too */
        return EC_ERROR(EC_ERR_DATA, "%s: embedding[%" PRId64 "] (%s) has length %g, expected 1", path, row,
                        x->id[row], sqrt(length2));
    if (x->label[row] < -1 || x->label[row] >= x->class_count)
        return EC_ERROR(EC_ERR_DATA, "%s: label[%" PRId64 "] is %d, expected -1 to %d (%s)", path, row, x->label[row],
                        x->class_count - 1, x->id[row]);
    return EC_OK;
}

static ec_status check(const char *path, const ec_embedding_content *x) {
    if (strcmp(x->modality, "image") != 0 && strcmp(x->modality, "music") != 0)
        return EC_ERROR(EC_ERR_DATA, "%s: modality is \"%.40s\", expected \"image\" or \"music\"", path, x->modality);
    if (strlen(x->checkpoint_digest) != 64 || strspn(x->checkpoint_digest, "0123456789abcdef") != 64)
        return EC_ERROR(EC_ERR_DATA, "%s: checkpoint_digest is \"%.80s\", expected 64 hex digits", path,
                        x->checkpoint_digest);
    if (x->rows < 1 || x->width < 1 || x->class_count < 0)
        return EC_ERROR(EC_ERR_DATA, "%s: %" PRId64 " embeddings of width %d", path, x->rows, x->width);
    for (int64_t row = 0; row < x->rows; row++) EC_RETURN_IF(check_row(path, x, row));
    return EC_OK;
}

static ec_status checksum(const ec_embedding_content *x, const char *created_by, char hex[EC_CHECKSUM_HEX]) {
    ec_checksum *sum = NULL;
    EC_RETURN_IF(ec__checksum_new(&sum));
    ec__checksum_text(sum, created_by);
    ec__checksum_text(sum, x->modality);
    ec__checksum_text(sum, x->checkpoint_digest);
    ec__checksum_number(sum, x->rows);
    ec__checksum_number(sum, x->width);
    ec__checksum_number(sum, x->class_count);
    ec__checksum_bytes(sum, x->embedding, (size_t)x->rows * (size_t)x->width * sizeof *x->embedding);
    ec__checksum_bytes(sum, x->label, (size_t)x->rows * sizeof *x->label);
    for (int64_t i = 0; i < x->rows; i++) ec__checksum_text(sum, x->id[i]);
    for (int32_t c = 0; c < x->class_count; c++) ec__checksum_text(sum, x->class_names[c]);
    ec__checksum_hex(ec__checksum_end(sum), hex);
    return EC_OK;
}

static ec_status write_all(ec_h5 *file, const ec_embedding_content *x) {
    char hex[EC_CHECKSUM_HEX];
    EC_RETURN_IF(checksum(x, program, hex));
    EC_RETURN_IF(ec__h5_set_text(file, "format", EC_EMBEDDING_FORMAT));
    EC_RETURN_IF(ec__h5_set_i64(file, "format_version", EC_EMBEDDING_VERSION));
    EC_RETURN_IF(ec__h5_set_text(file, "created_by", program));
    EC_RETURN_IF(ec__h5_set_text(file, "modality", x->modality));
    EC_RETURN_IF(ec__h5_set_text(file, "checkpoint_digest", x->checkpoint_digest));
    EC_RETURN_IF(ec__h5_set_text(file, "checksum", hex));
    EC_RETURN_IF(ec__h5_write(file, "embedding", EC_H5_F32, 2, (int64_t[]){x->rows, x->width}, x->embedding));
    EC_RETURN_IF(ec__h5_write(file, "label", EC_H5_I32, 1, &x->rows, x->label));
    EC_RETURN_IF(ec__h5_write_strings(file, "id", x->id, x->rows));
    return ec__h5_write_strings(file, "class_names", x->class_names, x->class_count);
}

ec_status ec__embedding_write(const char *path, const ec_embedding_content *content) {
    ec_status status = EC_OK;
    ec_atomic_file *target = NULL;
    ec_h5 *file = NULL;
    EC_TRY(check(path, content));
    EC_TRY(ec__atomic_open(path, &target));
    EC_TRY(ec__h5_create(ec__atomic_path(target), &file));
    EC_TRY(write_all(file, content));
    ec_h5 *written = file;
    file = NULL;
    EC_TRY(ec__h5_finish(written));
    ec_atomic_file *complete = target;
    target = NULL;
    EC_TRY(ec__atomic_commit(complete));
done:
    ec__h5_close(file);
    ec__atomic_discard(target);
    return status;
}

/* Room for the embeddings, to be freed as usual; NULL without memory. On large pages where the system has them: to get
 * small ones takes as long as to read 50 MB into them. */
static float *make_room(size_t bytes) {
    enum { LARGE = 2 << 20 };
    if (bytes < LARGE) return malloc(bytes + 1);
    void *room = NULL;
    if (posix_memalign(&room, LARGE, bytes) != 0) return NULL;
    madvise(room, bytes, MADV_HUGEPAGE); /* only a wish */
    return room;
}

static ec_status read_arrays(ec_h5 *file, ec_embeddings *e) {
    int64_t shape[2] = {-1, -1}, classes = -1;
    EC_RETURN_IF(ec__h5_shape(file, "embedding", 2, shape));
    EC_RETURN_IF(ec__h5_shape(file, "class_names", 1, &classes));
    EC_RETURN_IF(ec__h5_shape(file, "id", 1, (int64_t[]){shape[0]}));
    EC_RETURN_IF(ec__h5_shape(file, "label", 1, (int64_t[]){shape[0]}));
    if (shape[1] > INT32_MAX || classes > INT32_MAX)
        return EC_ERROR(EC_ERR_DATA, "%s: width %" PRId64 ", %" PRId64 " classes", e->path, shape[1], classes);
    /* Sizes lie inside the file: the shapes above were compared with its length. */
    e->embedding = make_room((size_t)shape[0] * (size_t)shape[1] * sizeof *e->embedding);
    e->label = malloc((size_t)shape[0] * sizeof *e->label + 1);
    e->texts = malloc((size_t)(shape[0] + classes + 1) * sizeof *e->texts);
    if (!e->embedding || !e->label || !e->texts)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for the %" PRId64 " embeddings of %s", shape[0], e->path);
    EC_RETURN_IF(ec__h5_read(file, "embedding", EC_H5_F32, 2, shape, e->embedding));
    EC_RETURN_IF(ec__h5_read(file, "label", EC_H5_I32, 1, shape, e->label));
    EC_RETURN_IF(ec__h5_read_strings(file, "id", &e->ids));
    EC_RETURN_IF(ec__h5_read_strings(file, "class_names", &e->classes));
    for (int64_t i = 0; i < shape[0]; i++) e->texts[i] = ec__h5_string(&e->ids, i);
    for (int64_t c = 0; c < classes; c++) e->texts[shape[0] + c] = ec__h5_string(&e->classes, c);
    e->content = (ec_embedding_content){
        .modality = e->modality, .checkpoint_digest = e->checkpoint_digest, .rows = shape[0],
        .width = (int32_t)shape[1], .class_count = (int32_t)classes, .embedding = e->embedding, .label = e->label,
        .id = e->texts, .class_names = e->texts + shape[0],
    };
    return EC_OK;
}

static ec_status check_sum(ec_h5 *file, const ec_embeddings *e) {
    ec_status status = EC_OK;
    char hex[EC_CHECKSUM_HEX], *stored = NULL;
    EC_TRY(ec__h5_get_text(file, "checksum", &stored));
    EC_TRY(checksum(&e->content, e->created_by, hex));
    if (strcmp(hex, stored) != 0)
        EC_FAIL(EC_ERR_DATA, "%s is corrupt: its contents have checksum %s, %.16s expected", e->path, hex, stored);
done:
    free(stored);
    return status;
}

ec_status ec__embedding_read(const char *path, ec_embeddings **out) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    ec_embeddings *e = calloc(1, sizeof *e);
    if (!e) EC_FAIL(EC_ERR_MEMORY, "no memory for embeddings");
    EC_TRY(ec__format(&e->path, "%s", path));
    EC_TRY(ec__h5_open(path, &file));
    EC_TRY(ec__h5_check_format(file, "a file of embeddings", EC_EMBEDDING_FORMAT, EC_EMBEDDING_VERSION));
    EC_TRY(ec__h5_get_text(file, "created_by", &e->created_by));
    EC_TRY(ec__h5_get_text(file, "modality", &e->modality));
    EC_TRY(ec__h5_get_text(file, "checkpoint_digest", &e->checkpoint_digest));
    EC_TRY(read_arrays(file, e));
    EC_TRY(check_sum(file, e));
    EC_TRY(check(path, &e->content));
    *out = e;
    e = NULL;
done:
    ec__h5_close(file);
    ec__embedding_free(e);
    return status;
}

void ec__embedding_free(ec_embeddings *e) {
    if (!e) return;
    ec__h5_strings_release(&e->ids);
    ec__h5_strings_release(&e->classes);
    free(e->texts);
    free(e->label);
    free(e->embedding);
    free(e->created_by);
    free(e->checkpoint_digest);
    free(e->modality);
    free(e->path);
    free(e);
}

ec_status ec__embedding_check_pair(const ec_embeddings *a, const ec_embeddings *b) {
    if (a->content.width != b->content.width)
        return EC_ERROR(EC_ERR_DATA, "%s has embeddings of width %d, %s of width %d", a->path, a->content.width,
                        b->path, b->content.width);
    if (strcmp(a->checkpoint_digest, b->checkpoint_digest) != 0)
        return EC_ERROR(EC_ERR_DATA, "%s and %s are of different models: checkpoint digests %.12s and %.12s", a->path,
                        b->path, a->checkpoint_digest, b->checkpoint_digest);
    return EC_OK;
}
