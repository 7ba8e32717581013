/* What is finished in a work folder. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/cache_part.h"
#include "core/file.h"

enum { MAGIC = 0x65634a31, LARGEST_PART = 99999 };

int64_t ec__cache_row_bytes(const ec_cache_identity *identity) {
    return identity->views * identity->width * (int64_t)ec__h5_type_bytes(identity->dtype);
}

ec_status ec__cache_work_folder(const char *path, char **out) { return ec__format(out, "%s.building", path); }

ec_status ec__part_path(const char *folder, int32_t number, const char *extension, char **out) {
    return ec__format(out, "%s/part-%04d.%s", folder, number, extension);
}

static uint64_t record_sum(const ec_part_record *record) {
    return ec__checksum_of(record, offsetof(ec_part_record, record_sum));
}

void ec__part_seal(ec_part_record *record) {
    record->magic = MAGIC;
    record->record_sum = record_sum(record);
}

static bool plausible(const ec_part_record *r, const ec_cache_spec *spec, int64_t slots) {
    if (r->magic != MAGIC || r->record_sum != record_sum(r) || r->row < 0 || r->row >= spec->rows) return false;
    if (memchr(r->reason, '\0', EC_PART_REASON) == NULL) return false;
    return r->kind == EC_PART_ROW ? r->slot == slots : r->kind == EC_PART_SKIP && r->slot == -1;
}

/* Keeps the records up to the first whose row does not have the sum it should have. */
static ec_status check_rows(const char *path, int64_t row_bytes, ec_part_scan *scan) {
    ec_status status = EC_OK;
    char *row = NULL;
    int64_t bytes = 0, slots = 0, good = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd >= 0 && fstat(fd, &info) != 0) EC_FAIL(EC_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    if (fd >= 0) bytes = info.st_size;
    row = malloc((size_t)row_bytes);
    if (!row) EC_FAIL(EC_ERR_MEMORY, "no memory for a row of %lld bytes", (long long)row_bytes);
    for (; good < scan->count; good++) {
        const ec_part_record *r = &scan->record[good];
        if (r->kind != EC_PART_ROW) continue;
        if (slots >= bytes / row_bytes) break;
        EC_TRY(ec__pread_exact(fd, path, row, (size_t)row_bytes, slots * row_bytes));
        if (ec__checksum_of(row, (size_t)row_bytes) != r->data_sum) break;
        slots++;
    }
    scan->count = good;
    scan->slots = slots;
done:
    free(row);
    if (fd >= 0) close(fd);
    return status;
}

static ec_status scan_part(const char *folder, int32_t number, const ec_cache_spec *spec, bool rows,
                           ec_part_scan *out) {
    ec_status status = EC_OK;
    char *path = NULL, *bytes = NULL;
    size_t size = 0;
    ec_part_scan scan = {.number = number};
    EC_TRY(ec__part_path(folder, number, "journal", &path));
    EC_TRY(ec__file_read(path, PTRDIFF_MAX - 1, &bytes, &size));
    scan.record = (ec_part_record *)bytes; /* malloc aligns enough for any type */
    int64_t records = (int64_t)(size / sizeof *scan.record);
    while (scan.count < records && plausible(&scan.record[scan.count], spec, scan.slots))
        scan.slots += scan.record[scan.count++].kind == EC_PART_ROW;
    if (rows) {
        free(path);
        path = NULL;
        EC_TRY(ec__part_path(folder, number, "rows", &path));
        EC_TRY(check_rows(path, ec__cache_row_bytes(&spec->identity), &scan));
    }
    *out = scan;
    bytes = NULL;
done:
    free(bytes);
    free(path);
    return status;
}

static int compare_numbers(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* Numbers of the parts in a folder, ascending; owned by the caller. */
static ec_status list_numbers(const char *folder, int32_t **out, int32_t *count) {
    ec_status status = EC_OK;
    int32_t *number = NULL, used = 0;
    struct dirent *entry;
    DIR *stream = opendir(folder);
    if (!stream) EC_FAIL(EC_ERR_IO, "cannot list the folder %s: %s", folder, strerror(errno));
    while ((entry = readdir(stream))) {
        int value, length = 0;
        if (sscanf(entry->d_name, "part-%d.journal%n", &value, &length) != 1 || entry->d_name[length] || length == 0)
            continue;
        if (value < 0 || value > LARGEST_PART) continue;
        int32_t *larger = realloc(number, ((size_t)used + 1) * sizeof *number);
        if (!larger) EC_FAIL(EC_ERR_MEMORY, "no memory for the parts of %s", folder);
        number = larger;
        number[used++] = value;
    }
    if (used) qsort(number, (size_t)used, sizeof *number, compare_numbers);
    *out = number;
    *count = used;
    number = NULL;
done:
    free(number);
    if (stream) closedir(stream);
    return status;
}

ec_status ec__part_list_read(const char *folder, const ec_cache_spec *spec, bool rows, ec_part_list *out) {
    ec_status status = EC_OK;
    int32_t *number = NULL, count = 0;
    ec_part_list list = {0};
    EC_TRY(list_numbers(folder, &number, &count));
    list.part = calloc((size_t)count + 1, sizeof *list.part);
    if (!list.part) EC_FAIL(EC_ERR_MEMORY, "no memory for the parts of %s", folder);
    for (; list.count < count; list.count++)
        EC_TRY(scan_part(folder, number[list.count], spec, rows, &list.part[list.count]));
    *out = list;
    list = (ec_part_list){0};
done:
    ec__part_list_release(&list);
    free(number);
    return status;
}

void ec__part_list_release(ec_part_list *list) {
    for (int32_t i = 0; i < list->count; i++) free(list->part[i].record);
    free(list->part);
    *list = (ec_part_list){0};
}

static ec_status cut(const char *path, int64_t bytes) {
    if (truncate(path, (off_t)bytes) == 0 || (errno == ENOENT && bytes == 0)) return EC_OK;
    return EC_ERROR(EC_ERR_IO, "cannot cut %s to %lld bytes: %s", path, (long long)bytes, strerror(errno));
}

ec_status ec__part_repair(const char *folder, const ec_part_scan *scan, int64_t row_bytes) {
    ec_status status = EC_OK;
    char *journal = NULL, *rows = NULL;
    EC_TRY(ec__part_path(folder, scan->number, "journal", &journal));
    EC_TRY(ec__part_path(folder, scan->number, "rows", &rows));
    EC_TRY(cut(journal, scan->count * (int64_t)sizeof *scan->record));
    EC_TRY(cut(rows, scan->slots * row_bytes));
done:
    free(rows);
    free(journal);
    return status;
}
