/* From the parts of a build to the final file. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache_build.h"
#include "core/file.h"

typedef struct assembly {
    const ec_cache_build *build;
    ec_part_list parts;
    int *fd;                       /* of every part's rows */
    const ec_part_record **record; /* (spec->rows) what became of each sample */
    int32_t *part_of;              /* (spec->rows) index into parts */
    int64_t *kept;                 /* (info.rows) samples that have a row, in manifest order */

    /* the file's contents besides the features */
    ec_cache_info info;
    int32_t *label;
    uint8_t *tags, *split;
    uint64_t *checksum;
    const char **text; /* (spec->rows) scratch to write strings from */
    char *temporary;
} assembly;

static void assembly_release(assembly *a) {
    for (int32_t i = 0; a->fd && i < a->parts.count; i++)
        if (a->fd[i] >= 0) close(a->fd[i]);
    free(a->fd);
    ec__part_list_release(&a->parts);
    free(a->record);
    free(a->part_of);
    free(a->kept);
    free(a->label);
    free(a->tags);
    free(a->split);
    free(a->checksum);
    free(a->text);
    ec__h5_strings_release(&a->info.id);
    ec__h5_strings_release(&a->info.class_names);
    ec__h5_strings_release(&a->info.skipped_id);
    ec__h5_strings_release(&a->info.skipped_reason);
    if (a->temporary) unlink(a->temporary);
    free(a->temporary);
}

/* Where a sample is in two parts (which no run does), the first part counts. */
static ec_status find_samples(assembly *a) {
    const ec_cache_spec *spec = a->build->spec;
    size_t rows = (size_t)spec->rows;
    a->record = calloc(rows, sizeof *a->record);
    a->part_of = calloc(rows, sizeof *a->part_of);
    a->kept = calloc(rows, sizeof *a->kept);
    a->text = calloc(rows, sizeof *a->text);
    if (!a->record || !a->part_of || !a->kept || !a->text)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for %zu samples", rows);
    for (int32_t i = 0; i < a->parts.count; i++)
        for (int64_t k = 0; k < a->parts.part[i].count; k++) {
            const ec_part_record *r = &a->parts.part[i].record[k];
            if (a->record[r->row]) continue;
            a->record[r->row] = r;
            a->part_of[r->row] = i;
        }
    int64_t missing = 0, first = -1;
    for (int64_t row = 0; row < spec->rows; row++) {
        if (!a->record[row]) {
            if (missing++ == 0) first = row;
        } else if (a->record[row]->kind == EC_PART_ROW) {
            a->kept[a->info.rows++] = row;
        }
    }
    if (missing)
        return EC_ERROR(EC_ERR_DATA, "%s: %lld of %lld samples are not built yet, the first is %s", a->build->path,
                        (long long)missing, (long long)spec->rows, spec->id[first]);
    if (a->info.rows == 0)
        return EC_ERROR(EC_ERR_DATA,
                        "%s: every sample was left out, the first because of: %s (remove %s to try them again)",
                        a->build->path, a->record[0]->reason, a->build->folder);
    return EC_OK;
}

/* The strings in a->text (count of them) as the reader will see them. */
static ec_status own_strings(const assembly *a, int64_t count, ec_h5_strings *out) {
    size_t stride = 1;
    for (int64_t k = 0; k < count; k++)
        if (strlen(a->text[k]) + 1 > stride) stride = strlen(a->text[k]) + 1;
    *out = (ec_h5_strings){.data = calloc((size_t)count + 1, stride), .stride = stride, .count = count};
    if (!out->data) return EC_ERROR(EC_ERR_MEMORY, "no memory for %lld strings", (long long)count);
    for (int64_t k = 0; k < count; k++) memcpy(out->data + (size_t)k * stride, a->text[k], strlen(a->text[k]));
    return EC_OK;
}

static ec_status gather_strings(assembly *a) {
    const ec_cache_spec *spec = a->build->spec;
    ec_cache_info *x = &a->info;
    for (int64_t k = 0; k < x->rows; k++) a->text[k] = spec->id[a->kept[k]];
    EC_RETURN_IF(own_strings(a, x->rows, &x->id));
    int64_t used = 0;
    for (int64_t row = 0; row < spec->rows; row++)
        if (a->record[row]->kind == EC_PART_SKIP) a->text[used++] = spec->id[row];
    EC_RETURN_IF(own_strings(a, used, &x->skipped_id));
    used = 0;
    for (int64_t row = 0; row < spec->rows; row++)
        if (a->record[row]->kind == EC_PART_SKIP) a->text[used++] = a->record[row]->reason;
    EC_RETURN_IF(own_strings(a, used, &x->skipped_reason));
    assembly names = {.text = (const char **)spec->class_names};
    return own_strings(&names, spec->class_count, &x->class_names);
}

static ec_status gather_rows(assembly *a) {
    const ec_cache_spec *spec = a->build->spec;
    ec_cache_info *x = &a->info;
    size_t rows = (size_t)x->rows, classes = (size_t)spec->class_count;
    x->identity = spec->identity;
    x->path = a->build->path;
    x->created_by = "emoclim " EMOCLIM_VERSION;
    x->class_count = spec->class_count;
    x->row_bytes = ec__cache_row_bytes(&spec->identity);
    x->block_rows = ec__cache_block_rows(x->row_bytes);
    x->blocks = (x->rows + x->block_rows - 1) / x->block_rows;
    a->label = spec->label ? malloc(rows * sizeof *a->label) : NULL;
    a->tags = spec->tags ? malloc(rows * classes) : NULL;
    a->split = malloc(rows);
    a->checksum = calloc((size_t)x->blocks, sizeof *a->checksum);
    if ((spec->label ? !a->label : !a->tags) || !a->split || !a->checksum)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for the index of %zu rows", rows);
    for (int64_t k = 0; k < x->rows; k++) {
        a->split[k] = spec->split[a->kept[k]];
        if (a->label) a->label[k] = spec->label[a->kept[k]];
        else memcpy(a->tags + (size_t)k * classes, spec->tags + (size_t)a->kept[k] * classes, classes);
    }
    x->label = a->label;
    x->tags = a->tags;
    x->split = a->split;
    x->checksum = a->checksum;
    EC_RETURN_IF(gather_strings(a));
    return ec__cache_check_rows(x);
}

static ec_status write_strings(ec_h5 *file, const char *name, const assembly *a, const ec_h5_strings *strings) {
    for (int64_t k = 0; k < strings->count; k++) a->text[k] = ec__h5_string(strings, k);
    return ec__h5_write_strings(file, name, a->text, strings->count);
}

static ec_status write_attributes(ec_h5 *file, const ec_cache_info *x) {
    EC_RETURN_IF(ec__h5_set_text(file, "format", EC_CACHE_FORMAT));
    EC_RETURN_IF(ec__h5_set_i64(file, "format_version", EC_CACHE_VERSION));
    EC_RETURN_IF(ec__h5_set_text(file, "created_by", x->created_by));
    EC_RETURN_IF(ec__h5_set_text(file, "modality", x->identity.modality));
    EC_RETURN_IF(ec__h5_set_text(file, "encoder", x->identity.encoder));
    EC_RETURN_IF(ec__h5_set_text(file, "encoder_sha256", x->identity.encoder_sha256));
    EC_RETURN_IF(ec__h5_set_i64(file, "random_weights", x->identity.random_weights));
    EC_RETURN_IF(ec__h5_set_text(file, "preprocessing", x->identity.preprocessing));
    EC_RETURN_IF(ec__h5_set_text(file, "manifest_sha256", x->identity.manifest_sha256));
    EC_RETURN_IF(ec__h5_set_text(file, "dtype", ec__h5_type_name(x->identity.dtype)));
    return ec__h5_set_i64(file, "block_rows", x->block_rows);
}

static ec_status write_index(ec_h5 *file, const assembly *a) {
    const ec_cache_info *x = &a->info;
    EC_RETURN_IF(write_attributes(file, x));
    EC_RETURN_IF(write_strings(file, "id", a, &x->id));
    EC_RETURN_IF(write_strings(file, "skipped/id", a, &x->skipped_id));
    EC_RETURN_IF(write_strings(file, "skipped/reason", a, &x->skipped_reason));
    EC_RETURN_IF(ec__h5_write_strings(file, "class_names", a->build->spec->class_names, x->class_count));
    EC_RETURN_IF(ec__h5_write(file, "split", EC_H5_U8, 1, &x->rows, x->split));
    if (x->label) return ec__h5_write(file, "label", EC_H5_I32, 1, &x->rows, x->label);
    return ec__h5_write(file, "tags", EC_H5_U8, 2, (int64_t[]){x->rows, x->class_count}, x->tags);
}

static ec_status open_parts(assembly *a) {
    ec_status status = EC_OK;
    char *path = NULL;
    a->fd = malloc(((size_t)a->parts.count + 1) * sizeof *a->fd);
    if (!a->fd) EC_FAIL(EC_ERR_MEMORY, "no memory for %d parts", a->parts.count);
    for (int32_t i = 0; i < a->parts.count; i++) a->fd[i] = -1;
    for (int32_t i = 0; i < a->parts.count; i++) {
        free(path);
        path = NULL;
        EC_TRY(ec__part_path(a->build->folder, a->parts.part[i].number, "rows", &path));
        a->fd[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (a->fd[i] < 0) EC_FAIL(EC_ERR_IO, "cannot open %s: %s", path, strerror(errno));
    }
done:
    free(path);
    return status;
}

static ec_status read_row(const assembly *a, int64_t sample, char *into) {
    const ec_part_record *r = a->record[sample];
    size_t bytes = (size_t)a->info.row_bytes;
    EC_RETURN_IF(ec__pread_exact(a->fd[a->part_of[sample]], a->build->folder, into, bytes,
                                 r->slot * a->info.row_bytes));
    if (ec__checksum_of(into, bytes) != r->data_sum)
        return EC_ERROR(EC_ERR_DATA,
                        "%s: the row of %s changed since it was computed (build again: it will be computed anew)",
                        a->build->folder, a->build->spec->id[sample]);
    return EC_OK;
}

/* Copies the rows in manifest order to their place in the file, a block at a time, and sums the blocks. */
static ec_status copy_features(assembly *a, int64_t offset, const ec_progress *progress) {
    ec_status status = EC_OK;
    const ec_cache_info *x = &a->info;
    FILE *stream = fopen(a->temporary, "r+e");
    char *block = malloc((size_t)(x->block_rows * x->row_bytes));
    if (!stream) EC_FAIL(EC_ERR_IO, "cannot open %s: %s", a->temporary, strerror(errno));
    if (!block) EC_FAIL(EC_ERR_MEMORY, "no memory for a block of %lld rows", (long long)x->block_rows);
    if (fseeko(stream, (off_t)offset, SEEK_SET) != 0)
        EC_FAIL(EC_ERR_IO, "cannot seek in %s: %s", a->temporary, strerror(errno));
    for (int64_t b = 0; b < x->blocks; b++) {
        int64_t first = b * x->block_rows, count = x->rows - first < x->block_rows ? x->rows - first : x->block_rows;
        for (int64_t k = 0; k < count; k++) EC_TRY(read_row(a, a->kept[first + k], block + k * x->row_bytes));
        size_t bytes = (size_t)(count * x->row_bytes);
        a->checksum[b] = ec__checksum_of(block, bytes);
        if (fwrite(block, 1, bytes, stream) != bytes)
            EC_FAIL(EC_ERR_IO, "cannot write %s: %s", a->temporary, strerror(errno));
        ec__progress(progress, "rows", first + count, x->rows);
    }
    int failed = fclose(stream);
    stream = NULL;
    if (failed) EC_FAIL(EC_ERR_IO, "cannot write %s: %s", a->temporary, strerror(errno));
done:
    if (stream) fclose(stream);
    free(block);
    return status;
}

static ec_status write_file(assembly *a, const ec_progress *progress) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    ec_h5_info features;
    char sum[EC_CHECKSUM_HEX];
    const ec_cache_identity *id = &a->info.identity;
    int64_t bytes = a->info.rows * a->info.row_bytes;
    EC_TRY(ec__h5_create_aligned(a->temporary, bytes < EC_H5_ALIGN ? bytes : EC_H5_ALIGN, &file));
    EC_TRY(write_index(file, a));
    EC_TRY(ec__h5_write(file, "features", id->dtype, 3, (int64_t[]){a->info.rows, id->views, id->width}, NULL));
    EC_TRY(ec__h5_info(file, "features", &features));
    EC_TRY(ec__h5_flush(file)); /* makes the file long enough, so that the library's own end and ours agree */
    EC_TRY(copy_features(a, features.offset, progress));
    EC_TRY(ec__h5_write(file, "checksum", EC_H5_U64, 1, &a->info.blocks, a->checksum));
    EC_TRY(ec__cache_index_checksum(&a->info, sum));
    EC_TRY(ec__h5_set_text(file, "index_checksum", sum));
    ec_h5 *complete = file;
    file = NULL;
    EC_TRY(ec__h5_finish(complete));
done:
    ec__h5_close(file);
    return status;
}

static bool is_ours(const char *name) {
    return strncmp(name, "part-", 5) == 0 || strncmp(name, "build.json", 10) == 0 || strcmp(name, "final.h5") == 0;
}

/* After the final file has its name, nothing of ours in the folder is of use; what cannot be removed does no harm. */
void ec__cache_folder_remove(const char *folder) {
    struct dirent *entry;
    char path[4096];
    DIR *stream = opendir(folder);
    while (stream && (entry = readdir(stream)))
        if (is_ours(entry->d_name) && (size_t)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < sizeof path)
            unlink(path);
    if (stream) closedir(stream);
    /* The lock goes last: until then nobody else may begin in here. */
    if ((size_t)snprintf(path, sizeof path, "%s/lock", folder) < sizeof path) unlink(path);
    rmdir(folder);
}

ec_status ec__cache_build_finish(ec_cache_build *build, const ec_progress *progress) {
    ec_status status = EC_OK;
    assembly a = {.build = build};
    EC_TRY(ec__part_list_read(build->folder, build->spec, false, &a.parts));
    EC_TRY(find_samples(&a));
    EC_TRY(gather_rows(&a));
    EC_TRY(open_parts(&a));
    EC_TRY(ec__path_join(build->folder, "final.h5", &a.temporary));
    EC_TRY(write_file(&a, progress));
    EC_TRY(ec__file_publish(a.temporary, build->path));
    ec__cache_folder_remove(build->folder);
done:
    assembly_release(&a);
    ec__cache_build_abandon(build);
    return status;
}
