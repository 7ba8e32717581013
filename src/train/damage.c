/* Blocks of a cache that one rank found corrupt: whether all ranks find the same. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/run.h"

enum { HOST = 64 };

/* What ranks tell each other first, about one cache. */
typedef struct finding {
    int64_t blocks; /* of the cache */
    int64_t count;  /* corrupt ones that were not agreed upon */
    char host[HOST];
} finding;

bool ec__run_damage_is_new(const ec_run *run) {
    for (int m = 0; m < EC_MODALITIES && run->comm->size > 1; m++)
        if (run->agreed[m] && ec__cache_corrupt(run->cache[m]) != run->agreed_count[m]) return true;
    return false;
}

/* The corrupt blocks that were not agreed upon, as they are now: the loader may come upon another meanwhile. */
static int64_t list(const ec_run *run, ec_modality m, int64_t *block, int64_t most) {
    int64_t count = 0;
    for (int64_t b = 0; b < ec__cache_info(run->cache[m])->blocks; b++)
        if (!run->agreed[m][b] && ec__cache_is_corrupt(run->cache[m], b) && (!block || count < most)) {
            if (block) block[count] = b;
            count++;
        }
    return count;
}

static void mark(ec_run *run, ec_modality m, int64_t block) {
    if (!run->agreed[m][block]) run->agreed_count[m]++;
    run->agreed[m][block] = 1;
}

/* Looks at what the others listed: block (size, most), -1 where a rank has no more. */
static ec_status look_at_all(ec_run *run, ec_modality m, const finding *of, const int64_t *block, int64_t most) {
    const int32_t me = run->comm->rank;
    const ec_cache_info *x = ec__cache_info(run->cache[m]);
    for (int32_t r = 0; r < run->comm->size; r++)
        for (int64_t k = 0; k < most && block[r * most + k] >= 0; k++) {
            const int64_t b = block[r * most + k], first = b * x->block_rows;
            const int64_t end = first + x->block_rows < x->rows ? first + x->block_rows : x->rows;
            if (!ec__cache_is_corrupt(run->cache[m], b) && ec__cache_recheck(run->cache[m], b))
                return EC_ERROR(
                    EC_ERR_DATA,
                    "%s: block %lld (rows %lld to %lld) is corrupt on %s (rank %d) and sound on %s (rank %d); "
                    "dataset.on_corrupt: skip needs the same file on all hosts: copy the sound one",
                    x->path, (long long)b, (long long)first, (long long)end - 1, of[r].host, r, of[me].host, me);
            mark(run, m, b);
        }
    return EC_OK;
}

static ec_status same_blocks(const ec_run *run, ec_modality m, const finding *of) {
    for (int32_t r = 1; r < run->comm->size; r++)
        if (of[r].blocks != of[0].blocks)
            return EC_ERROR(EC_ERR_DATA,
                            "%s has %lld blocks on %s (rank 0) and %lld on %s (rank %d): these are two files",
                            ec__cache_info(run->cache[m])->path, (long long)of[0].blocks, of[0].host,
                            (long long)of[r].blocks, of[r].host, r);
    return EC_OK;
}

static ec_status agree_on(ec_run *run, ec_modality m) {
    ec_status status = EC_OK;
    ec_comm *comm = run->comm->host;
    const size_t size = (size_t)comm->size;
    finding mine = {.blocks = ec__cache_info(run->cache[m])->blocks, .count = list(run, m, NULL, 0)}, *of = NULL;
    int64_t *block = NULL, *all = NULL, most = 0;
    if (gethostname(mine.host, sizeof mine.host - 1) != 0) strcpy(mine.host, "unknown");
    of = malloc(size * sizeof *of);
    EC_TRY(ec__comm_agree(comm, of ? EC_OK : EC_ERROR(EC_ERR_MEMORY, "no memory for the findings of %zu ranks", size)));
    EC_TRY(ec__comm_all_gather(comm, &mine, of, sizeof mine));
    for (size_t r = 0; r < size; r++)
        if (of[r].count > most) most = of[r].count;
    if (most == 0) goto done;
    EC_TRY(ec__comm_agree(comm, same_blocks(run, m, of)));
    block = malloc((size_t)most * sizeof *block);
    all = malloc(size * (size_t)most * sizeof *all);
    EC_TRY(ec__comm_agree(comm, block && all ? EC_OK
                                             : EC_ERROR(EC_ERR_MEMORY, "no memory for %lld blocks", (long long)most)));
    for (int64_t k = list(run, m, block, most); k < most; k++) block[k] = -1;
    EC_TRY(ec__comm_all_gather(comm, block, all, (size_t)most * sizeof *block));
    EC_TRY(ec__comm_agree(comm, look_at_all(run, m, of, all, most)));
done:
    free(all);
    free(block);
    free(of);
    return status;
}

ec_status ec__run_agree_on_damage(ec_run *run) {
    for (int m = 0; m < EC_MODALITIES && run->comm->size > 1; m++)
        if (run->agreed[m]) EC_RETURN_IF(agree_on(run, (ec_modality)m));
    return EC_OK;
}
