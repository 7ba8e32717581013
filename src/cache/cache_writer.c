/* Taking and giving back the work folder of a build. */
#define _GNU_SOURCE
#include "cache/cache_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/cache_build.h"
#include "core/file.h"
#include "core/sha256.h"
#include "core/utf8.h"

/* Is the file behind fd still the one of that name? Another builder may have ended and removed it. */
static bool still_named(int fd, const char *path) {
    struct stat held, named;
    return fstat(fd, &held) == 0 && stat(path,
                                         &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static ec_status take_lock(ec_cache_build *build) {
    ec_status status = EC_OK;
    char *path = NULL;
    EC_TRY(ec__path_join(build->folder, "lock", &path));
    for (int attempt = 0; attempt < 100; attempt++) {
        EC_TRY(ec__make_folders(build->folder));
        build->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (build->lock < 0 && errno == ENOENT) continue; /* its owner has just ended and removed the folder */
        if (build->lock < 0) EC_FAIL(EC_ERR_IO, "cannot create %s: %s", path, strerror(errno));
        if (flock(build->lock, LOCK_EX | LOCK_NB) != 0)
            EC_FAIL(EC_ERR_ENV, "another process is building %s (%s is locked: %s)", build->path, path,
                    strerror(errno));
        if (still_named(build->lock, path)) goto done;
        close(build->lock);
        build->lock = -1;
    }
    EC_FAIL(EC_ERR_IO, "cannot lock %s: it keeps being removed", path);
done:
    free(path);
    return status;
}

static ec_status check_spec(const char *path, const ec_cache_spec *spec) {
    EC_RETURN_IF(ec__cache_check_identity(path, &spec->identity));
    if (spec->rows < 1) return EC_ERROR(EC_ERR_DATA, "%s: no samples to build it from", path);
    if (!spec->label == !spec->tags) return EC_ERROR(EC_ERR_BUG, "%s: either labels or tags", path);
    if (spec->class_count < 1 || spec->class_count > EC_CACHE_CLASSES)
        return EC_ERROR(EC_ERR_DATA, "%s: %d classes; 1 to %d are expected", path, spec->class_count, EC_CACHE_CLASSES);
    for (int64_t i = 0; i < spec->rows; i++) {
        size_t length = strlen(spec->id[i]);
        if (length < 1 || length > EC_CACHE_ID)
            return EC_ERROR(EC_ERR_DATA, "%s: the id of sample %lld has %zu bytes; 1 to %d are expected", path,
                            (long long)i, length, EC_CACHE_ID);
        if (!ec__utf8(spec->id[i]))
            return EC_ERROR(EC_ERR_DATA, "%s: the id of sample %lld is not UTF-8", path, (long long)i);
        if (spec->split[i] >= EC_SPLITS)
            return EC_ERROR(EC_ERR_DATA, "%s: split %d of %s", path, spec->split[i], spec->id[i]);
        if (spec->label && (spec->label[i] < 0 || spec->label[i] >= spec->class_count))
            return EC_ERROR(EC_ERR_DATA, "%s: label %d of %s, expected 0 to %d", path, spec->label[i], spec->id[i],
                            spec->class_count - 1);
    }
    return EC_OK;
}

/* SHA-256 of all samples: ids, labels, splits, class names. */
static ec_status hash_samples(const ec_cache_spec *spec, char hex[EC_SHA256_HEX]) {
    ec_status status = EC_OK;
    ec_sha256 *hash = NULL;
    EC_TRY(ec__sha256_new(&hash));
    for (int64_t i = 0; i < spec->rows; i++) EC_TRY(ec__sha256_update(hash, spec->id[i], strlen(spec->id[i]) + 1));
    for (int32_t c = 0; c < spec->class_count; c++)
        EC_TRY(ec__sha256_update(hash, spec->class_names[c], strlen(spec->class_names[c]) + 1));
    EC_TRY(ec__sha256_update(hash, spec->split, (size_t)spec->rows));
    if (spec->label) EC_TRY(ec__sha256_update(hash, spec->label, (size_t)spec->rows * sizeof *spec->label));
    else EC_TRY(ec__sha256_update(hash, spec->tags, (size_t)spec->rows * (size_t)spec->class_count));
    EC_TRY(ec__sha256_hex(hash, hex));
done:
    ec__sha256_free(hash);
    return status;
}

static ec_status describe(const ec_cache_spec *spec, json_t **out) {
    ec_status status = EC_OK;
    json_t *root = NULL;
    char hex[EC_SHA256_HEX];
    EC_TRY(hash_samples(spec, hex));
    EC_TRY(ec__cache_identity_json(&spec->identity, &root));
    if (json_object_set_new(root, "format_version", json_integer(EC_CACHE_VERSION)) |
        json_object_set_new(root, "samples", json_integer(spec->rows)) |
        json_object_set_new(root, "samples_sha256", json_string(hex)))
        EC_FAIL(EC_ERR_MEMORY, "no memory for the description of a build");
    *out = json_incref(root);
done:
    json_decref(root);
    return status;
}

/* The description in the folder is written when a build begins, and compared when it goes on. */
static ec_status check_description(const ec_cache_build *build) {
    ec_status status = EC_OK;
    char *path = NULL, *text = NULL;
    json_t *here = NULL, *there = NULL;
    json_error_t error;
    char differences[EC_ERROR_TEXT / 2];
    EC_TRY(ec__path_join(build->folder, "build.json", &path));
    EC_TRY(describe(build->spec, &here));
    if (!ec__file_exists(path)) {
        text = json_dumps(here, JSON_INDENT(2));
        if (!text) EC_FAIL(EC_ERR_MEMORY, "no memory for the description of a build");
        EC_TRY(ec__file_write(path, text, strlen(text)));
        goto done;
    }
    there = json_load_file(path, 0, &error);
    if (!there)
        EC_FAIL(EC_ERR_DATA, "%s: line %d: %s (remove %s to begin again)", path, error.line, error.text, build->folder);
    if (ec__json_differences(there, here, differences, sizeof differences) > 0)
        EC_FAIL(EC_ERR_DATA, "%s was begun with other settings: %s (remove the folder to begin again)", build->folder,
                differences);
done:
    json_decref(there);
    json_decref(here);
    free(text);
    free(path);
    return status;
}

static ec_status repair(const ec_cache_build *build) {
    ec_status status = EC_OK;
    ec_part_list list = {0};
    EC_TRY(ec__part_list_read(build->folder, build->spec, true, &list));
    for (int32_t i = 0; i < list.count; i++)
        EC_TRY(ec__part_repair(build->folder, &list.part[i], ec__cache_row_bytes(&build->spec->identity)));
done:
    ec__part_list_release(&list);
    return status;
}

ec_status ec__cache_build_begin(const char *path, const ec_cache_spec *spec, ec_cache_build **out) {
    ec_status status = EC_OK;
    ec_cache_build *build = NULL;
    EC_TRY(check_spec(path, spec));
    build = calloc(1, sizeof *build);
    if (!build) EC_FAIL(EC_ERR_MEMORY, "no memory for a build");
    build->lock = -1;
    build->spec = spec;
    EC_TRY(ec__format(&build->path, "%s", path));
    EC_TRY(ec__cache_work_folder(path, &build->folder));
    EC_TRY(take_lock(build));
    EC_TRY(check_description(build));
    EC_TRY(repair(build));
    *out = build;
    build = NULL;
done:
    ec__cache_build_abandon(build);
    return status;
}

void ec__cache_build_abandon(ec_cache_build *build) {
    if (!build) return;
    if (build->lock >= 0) close(build->lock);
    free(build->folder);
    free(build->path);
    free(build);
}

void ec__cache_build_sweep(const char *path, const ec_cache_spec *spec) {
    char *folder = NULL;
    ec_cache_build *build = NULL;
    if (ec__cache_work_folder(path, &folder) == EC_OK && ec__file_exists(folder) &&
        ec__cache_build_begin(path, spec, &build) == EC_OK)
        ec__cache_folder_remove(folder);
    ec_error_clear();
    ec__cache_build_abandon(build);
    free(folder);
}
