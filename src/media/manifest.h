/* Manifests: which files a data set consists of, and what they are labelled with.
 *
 * A CSV file (csv.h) whose first record names the columns, in any order:
 *     path      file; relative paths are relative to the manifest's folder
 *     label     name of the class; the classes are the sorted labels
 *     split     optional: train, valid or test
 *     start_s   optional, for music: where the clip begins, in seconds from the start; empty means 0
 *     end_s     optional: where it ends; empty means at the end of the file
 * Further columns are ignored; the log says so. */
#ifndef EC_MEDIA_MANIFEST_H
#define EC_MEDIA_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/sha256.h"

typedef enum ec_manifest_split {
    EC_MANIFEST_SPLIT_NONE,
    EC_MANIFEST_SPLIT_TRAIN,
    EC_MANIFEST_SPLIT_VALID,
    EC_MANIFEST_SPLIT_TEST
} ec_manifest_split;

typedef struct ec_manifest_entry {
    const char *path;       /* with the folder in front */
    const char *label;      /* class_name[label_index] */
    int32_t label_index;
    ec_manifest_split split;         /* EC_MANIFEST_SPLIT_NONE: the manifest has no such column */
    double start_s, end_s;  /* 0 <= start_s < end_s; end_s is INFINITY where the file does not say */
    int64_t line;           /* from 1 */
} ec_manifest_entry;

typedef struct ec_manifest {
    const char *name; /* as given, for messages */
    int64_t count;    /* at least 1 */
    ec_manifest_entry *entry;
    int32_t classes;
    const char **class_name; /* (classes), sorted by their bytes, no two alike */
    char sha256[EC_SHA256_HEX];
    struct ec_text *texts; /* owns every string above */
} ec_manifest;

/* *out is owned by the caller (ec__manifest_free). EC_ERR_DATA, as "path:line:column: what is wrong", for a missing or
 * doubled column, an empty path or label, a label with blanks at its ends, a bad number, end_s <= start_s, an unknown
 * split, a record of too many or too few fields, and what csv.h names; also for a manifest without entries. */
ec_status ec__manifest_read(const char *path, ec_manifest **out);

/* The same for text in memory. name is for messages; folder goes in front of relative paths (NULL or "": nothing
 * does). */
ec_status ec__manifest_parse(const void *bytes, size_t count, const char *name, const char *folder, ec_manifest **out);

void ec__manifest_free(ec_manifest *manifest);

/* index (count): the place of every entry's label in class_name (classes), another list of classes: that of a trained
 * model, say. EC_ERR_DATA naming the first line whose label is not there, and the nearest class. */
ec_status ec__manifest_map_labels(const ec_manifest *manifest, const char *const *class_name, int32_t classes,
                                  int32_t *index);

#endif
