/* One GPU a rank. */
#define _GNU_SOURCE
#include "dist/comm_nccl_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a rank computes. */
typedef struct seat {
    char host[128];
    char bus[32];   /* PCI address */
    int32_t shared; /* asked for */
} seat;

static bool same_host(const seat *a, const seat *b) { return strcmp(a->host, b->host) == 0; }

/* The first two ranks on one device that were not asked to share it; false where there are none. */
static bool find_pair(const seat *at, int32_t size, int32_t *a, int32_t *b) {
    for (*b = 1; *b < size; ++*b)
        for (*a = 0; *a < *b; ++*a)
            if (same_host(&at[*a], &at[*b]) && strcmp(at[*a].bus, at[*b].bus) == 0 && !(at[*a].shared && at[*b].shared))
                return true;
    return false;
}

/* NCCL takes no two ranks on one device of one host, and knows hosts by name: with a name each they talk through
 * sockets. What the user has set stays. */
static void pretend_hosts(const seat *at, int32_t rank, int32_t size) {
    char name[160];
    bool one_host = true;
    for (int32_t r = 0; r < size; r++) one_host = one_host && same_host(&at[0], &at[r]);
    snprintf(name, sizeof name, "%s-rank-%d", at[rank].host, rank);
    setenv("NCCL_HOSTID", name, 0);
    setenv("NCCL_P2P_DISABLE", "1", 0);
    setenv("NCCL_SHM_DISABLE", "1", 0);
    if (one_host) setenv("NCCL_SOCKET_IFNAME", "lo", 0);
}

ec_status ec__nccl_check_sharing(ec_comm *host, int device) {
    const char *asked = getenv("EMOCLIM_SHARE_GPU");
    const void *all = NULL;
    int32_t a = 0, b = 0;
    seat mine;
    memset(&mine, 0, sizeof mine);
    gethostname(mine.host, sizeof mine.host - 1);
    mine.shared = asked && strcmp(asked, "1") == 0;
    EC_RETURN_IF(ec__comm_agree(host, EC_CUDA(cudaDeviceGetPCIBusId(mine.bus, sizeof mine.bus, device))));
    EC_RETURN_IF(ec__comm_all_gather_view(host, &mine, &all, sizeof mine));
    const seat *at = all;
    if (find_pair(at, host->size, &a, &b))
        return EC_ERROR(EC_ERR_ENV, "ranks %d and %d both use GPU %s of host %s: start one rank a GPU. "
                        "EMOCLIM_SHARE_GPU=1 on all ranks lets them share it, which is slow and meant for tests",
                        a, b, at[a].bus, at[a].host);
    if (mine.shared) pretend_hosts(at, host->rank, host->size);
    return EC_OK;
}
