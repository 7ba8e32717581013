#define _GNU_SOURCE
#include "train/checkpoint_folder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "train/checkpoint_internal.h"

ec_status ec__checkpoint_step_path(const char *folder, int64_t step, char **out) {
    return ec__format(out, "%s/step-%012" PRId64 ".h5", folder, step);
}

ec_status ec__checkpoint_best_path(const char *folder, char **out) { return ec__format(out, "%s/best.h5", folder); }

/* The step of "step-000000001200.h5" (rest: ""), or of a name that begins like that; false for any other. */
static bool parse_name(const char *name, int64_t *step, const char **rest) {
    int length = 0;
    char digits[20];
    if (sscanf(name, "step-%18[0-9].h5%n", digits, &length) != 1 || length == 0 || strlen(digits) < 12) return false;
    *step = strtoll(digits, NULL, 10);
    *rest = name + length;
    return true;
}

static int compare_steps(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

ec_status ec__checkpoint_list(const char *folder, int64_t **steps, int32_t *count) {
    ec_status status = EC_OK;
    int64_t *list = NULL, step;
    int32_t used = 0;
    const char *rest;
    struct dirent *entry;
    DIR *stream = opendir(folder);
    if (!stream && errno != ENOENT) EC_FAIL(EC_ERR_IO, "cannot list the folder %s: %s", folder, strerror(errno));
    while (stream && (entry = readdir(stream))) {
        if (!parse_name(entry->d_name, &step, &rest) || *rest) continue;
        int64_t *larger = realloc(list, ((size_t)used + 1) * sizeof *list);
        if (!larger) EC_FAIL(EC_ERR_MEMORY, "no memory for the checkpoints of %s", folder);
        list = larger;
        list[used++] = step;
    }
    if (used) qsort(list, (size_t)used, sizeof *list, compare_steps);
    *steps = list;
    *count = used;
    list = NULL;
done:
    free(list);
    if (stream) closedir(stream);
    return status;
}

/* Temporary files of a save that was killed: nobody else saves into the folder while this is called. */
static void remove_leftovers(const char *folder) {
    char path[4096];
    struct dirent *entry;
    const char *rest;
    int64_t step;
    DIR *stream = opendir(folder);
    while (stream && (entry = readdir(stream))) {
        bool step_file = parse_name(entry->d_name, &step, &rest) && strncmp(rest, ".tmp.", 5) == 0;
        if (!step_file && strncmp(entry->d_name, "best.h5.tmp", 11) != 0) continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < sizeof path) unlink(path);
    }
    if (stream) closedir(stream);
}

/* Is step k the first of its stretch of `every` steps? Older ones of the stretch are only ever removed if it is the
 * stretch before `every`, so the answer is the same however often it is asked. */
static bool opens_stretch(const int64_t *steps, int32_t k, int64_t every) {
    if (every == 0 || steps[k] < every) return false;
    return k == 0 || steps[k - 1] / every != steps[k] / every;
}

ec_status ec__checkpoint_prune(const char *folder, const ec_checkpoint_keep *keep, int64_t newest) {
    ec_status status = EC_OK;
    int64_t *steps = NULL;
    int32_t count = 0;
    char *path = NULL;
    EC_TRY(ec__checkpoint_list(folder, &steps, &count));
    while (count > 0 && steps[count - 1] > newest) count--;
    for (int32_t k = 0; k < count - keep->last; k++) {
        if (opens_stretch(steps, k, keep->every)) continue;
        free(path);
        path = NULL;
        EC_TRY(ec__checkpoint_step_path(folder, steps[k], &path));
        if (unlink(path) != 0 && errno != ENOENT) EC_FAIL(EC_ERR_IO, "cannot remove %s: %s", path, strerror(errno));
    }
    remove_leftovers(folder);
done:
    free(path);
    free(steps);
    return status;
}

static ec_status copy(const char *from, const char *to) {
    ec_status status = EC_OK;
    char *bytes = NULL;
    size_t count = 0;
    EC_TRY(ec__file_read(from, PTRDIFF_MAX - 1, &bytes, &count));
    EC_TRY(ec__file_write(to, bytes, count));
done:
    free(bytes);
    return status;
}

ec_status ec__checkpoint_mark_best(const char *folder, const char *from) {
    ec_status status = EC_OK;
    char *best = NULL, *temporary = NULL;
    EC_TRY(ec__checkpoint_best_path(folder, &best));
    EC_TRY(ec__format(&temporary, "%s.tmp", best));
    unlink(temporary);
    /* A link is as good as a copy: neither file is ever changed in place. */
    if (link(from, temporary) != 0) {
        if (errno == ENOENT) EC_FAIL(EC_ERR_IO, "cannot keep %s as the best: it does not exist", from);
        EC_TRY(copy(from, best));
    } else {
        status = ec__file_publish(temporary, best);
        unlink(temporary); /* on error; and a rename between two links of one file does nothing */
    }
done:
    free(temporary);
    free(best);
    return status;
}

ec_status ec__checkpoint_save_step(const char *folder, const ec_checkpoint_meta *meta,
                                   const ec_checkpoint_array *arrays, int32_t count, bool best) {
    ec_status status = EC_OK;
    char *path = NULL;
    ec_atomic_file *file = NULL;
    EC_TRY(ec__checkpoint_step_path(folder, meta->step, &path));
    EC_TRY(ec__atomic_open(path, &file));
    EC_TRY(ec__checkpoint_write(ec__atomic_path(file), meta, arrays, count));
    if (best) EC_TRY(ec__checkpoint_mark_best(folder, ec__atomic_path(file)));
    ec_atomic_file *complete = file;
    file = NULL;
    EC_TRY(ec__atomic_commit(complete));
done:
    ec__atomic_discard(file);
    free(path);
    return status;
}

ec_status ec__checkpoint_latest(const char *folder, ec_checkpoint **out) {
    ec_status status = EC_OK;
    int64_t *steps = NULL;
    int32_t count = 0;
    char *path = NULL;
    EC_TRY(ec__checkpoint_list(folder, &steps, &count));
    if (count == 0) *out = NULL;
    for (int32_t k = count - 1; k >= 0; k--) {
        free(path);
        path = NULL;
        EC_TRY(ec__checkpoint_step_path(folder, steps[k], &path));
        status = ec__checkpoint_load(path, out);
        if (status == EC_OK) break;
        if (status != EC_ERR_DATA) EC_TRY(status);
        if (k == 0)
            EC_FAIL(EC_ERR_DATA, "none of the %d checkpoints in %s can be used; the last one tried: %s", count, folder,
                    ec_error_last()->text);
        EC_WARN("%s cannot be used (%s); trying the one before", path, ec_error_last()->text);
        ec_error_clear();
    }
done:
    free(path);
    free(steps);
    return status;
}
