/* Building feature caches (format: cache/cache_format.h): by several ranks at once, and going on after a kill.
 *
 * Everything that is finished lies in the work folder PATH.building: a part for each rank, the rows it computed and a
 * journal of them, each with a checksum. A build that was ended by whatever goes on where it was, on any number of
 * ranks; the bytes of the final file depend neither on interruptions nor on ranks. PATH appears only when it is
 * complete.
 *
 *     if (comm->rank == 0) status = ec__cache_build_begin(path, &spec, &build);
 *     status = ec__comm_agree(comm, status);                       // every rank leaves here when rank 0 failed
 *     status = ec__cache_part_open(path, &spec, comm->rank, &part);
 *     for each row that is this rank's (by whatever rule): unless ec__cache_part_has(part, row), compute it, and
 *         ec__cache_part_append(part, row, values) or ec__cache_part_skip(part, row, reason);
 *     status = ec__cache_part_close(part);
 *     status = ec__comm_agree(comm, status);
 *     if (comm->rank == 0) status = ec__cache_build_finish(build, progress);
 *     status = ec__comm_agree(comm, status);
 *
 * No function is collective. The rows of one run must be shared out without overlap. */
#ifndef EC_CACHE_CACHE_WRITER_H
#define EC_CACHE_CACHE_WRITER_H

#include "cache/cache_format.h"
#include "core/progress.h"

/* What is to be built: one sample of the manifest a row. All borrowed, and unchanged until the build has ended. The
 * same on every rank. */
typedef struct ec_cache_spec {
    ec_cache_identity identity;
    int64_t rows;                   /* samples of the manifest */
    const char *const *id;          /* (rows) not empty */
    const int32_t *label;           /* (rows) in [0,class_count); or NULL */
    const uint8_t *tags;            /* (rows, class_count) 0 or 1; exactly one of the two is given */
    const uint8_t *split;           /* (rows) ec_split */
    const char *const *class_names; /* (class_count) */
    int32_t class_count;
} ec_cache_spec;

typedef struct ec_cache_build ec_cache_build; /* rank 0's hold on the work folder */
typedef struct ec_cache_part ec_cache_part;   /* what one rank adds */

/* Rank 0 only: takes the work folder for this process, repairs what a kill left half-written, and checks that it was
 * begun with the same spec. EC_ERR_DATA for an impossible spec, or one that differs from that of the work folder (the
 * message says where); EC_ERR_ENV when another process is building the same file; EC_ERR_IO when the folder cannot be
 * written. */
ec_status ec__cache_build_begin(const char *path, const ec_cache_spec *spec, ec_cache_build **out);

/* Rank 0 only, after every part was closed: writes the final file and removes the work folder. Frees build, also on
 * error; the work folder then stays. EC_ERR_DATA when rows are neither there nor skipped, or all are skipped. */
ec_status ec__cache_build_finish(ec_cache_build *build, const ec_progress *progress);

/* Rank 0 only, where PATH is complete: removes the work folder of its build, which a kill at its very end may have
 * left. One that another process holds, or that belongs to another build, stays. */
void ec__cache_build_sweep(const char *path, const ec_cache_spec *spec);

/* Gives the work folder back as it is, to be gone on with. Accepts NULL. */
void ec__cache_build_abandon(ec_cache_build *build);

/* Opens the part of this rank, after rank 0's begin. */
ec_status ec__cache_part_open(const char *path, const ec_cache_spec *spec, int32_t rank, ec_cache_part **out);

/* Was this row built or skipped before the part was opened, by any rank, or through this part since? */
bool ec__cache_part_has(const ec_cache_part *part, int64_t row);

/* values: (views,D), float32 for dtype F16 (rounded to nearest even) and F32, else of the dtype. A row that is finished
 * already is EC_ERR_USAGE; a number that is not finite, or not after rounding, is EC_ERR_DATA and leaves nothing
 * behind. */
ec_status ec__cache_part_append(ec_cache_part *part, int64_t row, const void *values);

/* Leaves the sample out of the cache, for a reason that is kept in it (UTF-8; cut after some 200 bytes). */
ec_status ec__cache_part_skip(ec_cache_part *part, int64_t row, const char *reason);

/* Flushes to disk and frees the part, also on error. Accepts NULL. */
ec_status ec__cache_part_close(ec_cache_part *part);

#endif
