/* One rank's part of a build. */
#define _GNU_SOURCE
#include "cache/cache_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/half.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/utf8.h"

/* A power loss costs at most what was computed since the last flush. */
enum { FLUSH_BYTES = 64 << 20, FLUSH_SECONDS = 5 };

struct ec_cache_part {
    const ec_cache_spec *spec;
    char *rows_path, *journal_path;
    int rows_fd, journal_fd;
    int64_t slots, records, row_bytes;
    bool *done; /* (spec->rows) */
    void *row;  /* the row as it is stored */
    int64_t unflushed;
    int64_t flushed_at; /* ns */
    bool broken;        /* a write failed: the end of the files is unknown until the next begin repairs them */
};

static ec_status part_free(ec_cache_part *part) {
    ec_status status = EC_OK;
    if (!part) return EC_OK;
    int failed = 0;
    if (part->rows_fd >= 0 && close(part->rows_fd) != 0) failed = errno;
    if (part->journal_fd >= 0 && close(part->journal_fd) != 0) failed = errno;
    if (failed) status = EC_ERROR(EC_ERR_IO, "cannot close %s: %s", part->rows_path, strerror(failed));
    free(part->rows_path);
    free(part->journal_path);
    free(part->done);
    free(part->row);
    free(part);
    return status;
}

/* Marks what all parts hold, and finds the end of this one. */
static ec_status take_stock(const char *folder, int32_t rank, ec_cache_part *part) {
    ec_status status = EC_OK;
    ec_part_list list = {0};
    EC_TRY(ec__part_list_read(folder, part->spec, false, &list));
    for (int32_t i = 0; i < list.count; i++) {
        const ec_part_scan *scan = &list.part[i];
        for (int64_t k = 0; k < scan->count; k++) part->done[scan->record[k].row] = true;
        if (scan->number != rank) continue;
        part->slots = scan->slots;
        part->records = scan->count;
    }
done:
    ec__part_list_release(&list);
    return status;
}

static ec_status open_file(const char *path, int *fd) {
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0) return EC_ERROR(EC_ERR_IO, "cannot create %s: %s", path, strerror(errno));
    return EC_OK;
}

ec_status ec__cache_part_open(const char *path, const ec_cache_spec *spec, int32_t rank, ec_cache_part **out) {
    ec_status status = EC_OK;
    char *folder = NULL;
    ec_cache_part *part = calloc(1, sizeof *part);
    if (!part) EC_FAIL(EC_ERR_MEMORY, "no memory for a part of a cache");
    part->rows_fd = part->journal_fd = -1;
    part->spec = spec;
    part->row_bytes = ec__cache_row_bytes(&spec->identity);
    part->flushed_at = ec__now_ns();
    part->done = calloc((size_t)spec->rows, sizeof *part->done);
    part->row = malloc((size_t)part->row_bytes);
    if (!part->done || !part->row) EC_FAIL(EC_ERR_MEMORY, "no memory for a part of %lld rows", (long long)spec->rows);
    EC_TRY(ec__cache_work_folder(path, &folder));
    EC_TRY(take_stock(folder, rank, part));
    EC_TRY(ec__part_path(folder, rank, "rows", &part->rows_path));
    EC_TRY(ec__part_path(folder, rank, "journal", &part->journal_path));
    EC_TRY(open_file(part->rows_path, &part->rows_fd));
    EC_TRY(open_file(part->journal_path, &part->journal_fd));
    *out = part;
    part = NULL;
done:
    part_free(part);
    free(folder);
    return status;
}

bool ec__cache_part_has(const ec_cache_part *part, int64_t row) {
    return row >= 0 && row < part->spec->rows && part->done[row];
}

static ec_status write_exact(ec_cache_part *part, int fd, const char *path, const void *data, int64_t bytes,
                             int64_t offset) {
    const char *from = data;
    while (bytes > 0) {
        ssize_t put = pwrite(fd, from, (size_t)bytes, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            part->broken = true;
            return EC_ERROR(EC_ERR_IO, "cannot write %s: %s", path, strerror(put < 0 ? errno : ENOSPC));
        }
        from += put;
        offset += put;
        bytes -= put;
    }
    return EC_OK;
}

static ec_status flush(ec_cache_part *part) {
    if (fdatasync(part->rows_fd) != 0 || fdatasync(part->journal_fd) != 0) {
        part->broken = true;
        return EC_ERROR(EC_ERR_IO, "cannot flush %s to disk: %s", part->rows_path, strerror(errno));
    }
    part->unflushed = 0;
    part->flushed_at = ec__now_ns();
    return EC_OK;
}

static ec_status add_record(ec_cache_part *part, ec_part_record *record) {
    ec__part_seal(record);
    EC_RETURN_IF(write_exact(part, part->journal_fd, part->journal_path, record, sizeof *record,
                             part->records * (int64_t)sizeof *record));
    part->records++;
    part->done[record->row] = true;
    part->unflushed += (int64_t)sizeof *record;
    if (part->unflushed >= FLUSH_BYTES || ec__seconds_since(part->flushed_at) >= FLUSH_SECONDS) return flush(part);
    return EC_OK;
}

static ec_status check_new(const ec_cache_part *part, int64_t row) {
    if (part->broken) return EC_ERROR(EC_ERR_USAGE, "%s: an earlier write failed", part->rows_path);
    if (row < 0 || row >= part->spec->rows)
        return EC_ERROR(EC_ERR_USAGE, "row %lld of a manifest of %lld", (long long)row, (long long)part->spec->rows);
    if (part->done[row])
        return EC_ERROR(EC_ERR_USAGE, "row %lld (%s) is finished already", (long long)row, part->spec->id[row]);
    return EC_OK;
}

/* Converts to the stored type. */
static ec_status encode(ec_cache_part *part, int64_t row, const void *values) {
    const ec_cache_identity *x = &part->spec->identity;
    const int64_t count = x->views * x->width;
    if (x->dtype == EC_H5_F16) ec__float_to_half(values, part->row, count);
    else memcpy(part->row, values, (size_t)part->row_bytes);
    const uint16_t *half = part->row;
    const uint32_t *single = part->row;
    for (int64_t i = 0; i < count; i++) {
        bool bad = (x->dtype == EC_H5_F16 && (half[i] & 0x7c00) == 0x7c00) ||
                   (x->dtype == EC_H5_F32 && (single[i] & 0x7f800000) == 0x7f800000);
        if (bad)
            return EC_ERROR(EC_ERR_DATA, "%s: feature %lld of view %lld is %g, which no %s can hold",
                            part->spec->id[row], (long long)(i % x->width), (long long)(i / x->width),
                            (double)((const float *)values)[i], ec__h5_type_name(x->dtype));
    }
    return EC_OK;
}

ec_status ec__cache_part_append(ec_cache_part *part, int64_t row, const void *values) {
    EC_RETURN_IF(check_new(part, row));
    EC_RETURN_IF(encode(part, row, values));
    EC_RETURN_IF(write_exact(part, part->rows_fd, part->rows_path, part->row, part->row_bytes,
                             part->slots * part->row_bytes));
    ec_part_record record = {.kind = EC_PART_ROW, .row = row, .slot = part->slots,
                             .data_sum = ec__checksum_of(part->row, (size_t)part->row_bytes)};
    part->slots++;
    part->unflushed += part->row_bytes;
    return add_record(part, &record);
}

/* A text is cut before a character of several bytes that would not fit whole, and made UTF-8 of one line. size bytes of
 * into are 0. */
static void copy_text(char *into, size_t size, const char *text) {
    size_t length = strlen(text);
    if (length >= size) {
        length = size - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) length--;
    }
    memcpy(into, text, length);
    bool utf8 = ec__utf8(into);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)into[i] < ' ') into[i] = ' ';
        if (!utf8 && (unsigned char)into[i] >= 0x80) into[i] = '?';
    }
}

ec_status ec__cache_part_skip(ec_cache_part *part, int64_t row, const char *reason) {
    EC_RETURN_IF(check_new(part, row));
    ec_part_record record = {.kind = EC_PART_SKIP, .row = row, .slot = -1};
    copy_text(record.reason, sizeof record.reason, reason);
    return add_record(part, &record);
}

ec_status ec__cache_part_close(ec_cache_part *part) {
    if (!part) return EC_OK;
    ec_status status = part->broken ? EC_OK : flush(part);
    if (status != EC_OK) {
        ec_error first = *ec_error_last();
        part_free(part);
        return ec__error_adopt(&first);
    }
    return part_free(part);
}
