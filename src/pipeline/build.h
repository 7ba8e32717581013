/* Building a feature cache from a manifest: what `emoclim cache build` does for one modality.
 *
 * Rows are shared out over ranks in rounds; a build that was killed or stopped goes on where it was, on any number of
 * ranks, and ends with the same bytes (cache/cache_writer.h). */
#ifndef EC_PIPELINE_BUILD_H
#define EC_PIPELINE_BUILD_H

#include "compute/backend.h"
#include "config/config.h"
#include "core/progress.h"
#include "dist/comm.h"
#include "nn/heads.h"

typedef struct ec_build_summary {
    int64_t rows;      /* of the manifest */
    int64_t encoded;   /* by this run */
    int64_t resumed;   /* rows that an earlier run had finished */
    int64_t skipped;   /* broken samples that this run met; all that the cache lists where it is up to date */
    double seconds;
    bool up_to_date;   /* the cache was there already, made from the same manifest in the same way */
} ec_build_summary;

/* Collective. Reads the modality's manifest and writes its cache, both named by config. A cache that is up to date is
 * left alone; one of another making is an error unless rebuild is set. A broken file is skipped, logged and listed in
 * the cache, or ends the build where dataset.skip_broken is false. EC_STOPPED after a signal: what is finished is
 * kept. */
ec_status ec__build_cache(const ec_config *config, ec_backend *be, ec_comm *comm, ec_modality modality, bool rebuild,
                          const ec_progress *progress, ec_build_summary *out);

#endif
