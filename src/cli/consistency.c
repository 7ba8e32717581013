#define _POSIX_C_SOURCE 200809L
#include "cli/consistency.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/ops_supcon.h"
#include "core/file.h"
#include "core/log.h"
#include "core/sha256.h"

enum { MOST_BYTES = 1 << 30 }; /* of a program */

/* What a rank tells of itself; zeros behind the texts. */
typedef struct card {
    char host[64];
    char program[EC_SHA256_HEX];
    char config[EC_SHA256_HEX];
} card;

/* text: zeros. */
static void host_name(char *text, size_t size) {
    if (gethostname(text, size - 1) != 0) snprintf(text, size, "unknown");
}

static ec_status write_card(const ec_config *config, card *mine) {
    ec_status status = EC_OK;
    char *program = NULL;
    size_t bytes = 0;
    host_name(mine->host, sizeof mine->host);
    /* The link leads to the file that this process was started from, even where another has taken its name. */
    EC_TRY(ec__file_read("/proc/self/exe", MOST_BYTES, &program, &bytes));
    EC_TRY(ec__sha256_bytes(program, bytes, mine->program));
    if (config) EC_TRY(ec__config_hash(config, mine->config));
done:
    free(program);
    return status;
}

/* The hash at offset that most ranks have; the lowest rank's where several are held by as many. Quadratic in the number
 * of ranks only where every rank differs: it stops at a majority. */
static int32_t most_common(const card *all, int32_t size, size_t offset) {
    int32_t best = 0, most = 0;
    for (int32_t r = 0; r < size && 2 * most <= size; r++) {
        int32_t count = 0;
        for (int32_t s = 0; s < size; s++)
            count += strcmp((const char *)&all[r] + offset, (const char *)&all[s] + offset) == 0;
        if (count > most) {
            most = count;
            best = r;
        }
    }
    return best;
}

/* EC_OK, or code with the name of this rank's host where this rank has another hash than most. */
static ec_status compare(const ec_comm *comm, const card *all, size_t offset, ec_status code, const char *what,
                         const char *remedy) {
    int32_t usual = most_common(all, comm->size, offset);
    const char *mine = (const char *)&all[comm->rank] + offset, *theirs = (const char *)&all[usual] + offset;
    if (strcmp(mine, theirs) == 0) return EC_OK;
    return EC_ERROR(
        code, "host %s (rank %d) runs another %s than host %s (rank %d): SHA-256 %.12s... here, %.12s... there; %s",
        all[comm->rank].host, comm->rank, what, all[usual].host, usual, mine, theirs, remedy);
}

ec_status cli_check_consistency(ec_comm *comm, const ec_config *config) {
    ec_status status = EC_OK;
    card mine = {.host = "", .program = "", .config = ""};
    card *all = NULL;
    if (comm->size == 1) return EC_OK;
    status = write_card(config, &mine);
    all = calloc((size_t)comm->size, sizeof *all);
    if (!all && status == EC_OK) status = EC_ERROR(EC_ERR_MEMORY, "no memory for the cards of %d ranks", comm->size);
    EC_TRY(ec__comm_agree(comm, status));
    EC_TRY(ec__comm_all_gather(comm, &mine, all, sizeof mine));
    EC_TRY(ec__comm_agree(comm, compare(comm, all, offsetof(card, program), EC_ERR_ENV, "program",
                                        "install the same build on every host")));
    EC_TRY(ec__comm_agree(comm, compare(comm, all, offsetof(card, config), EC_ERR_CONFIG, "configuration",
                                        "\"emoclim config print\" on both hosts shows what differs")));
done:
    free(all);
    return status;
}

/* What a rank tells of its kernels. */
typedef struct choice {
    char host[64];
    int32_t special;
} choice;

static void warn_of(const choice *all, int32_t size, int32_t portable) {
    char more[64] = "";
    int32_t odd = 0;
    while (all[odd].special) odd++;
    if (portable > 1) snprintf(more, sizeof more, " and %d more of %d ranks", portable - 1, size);
    EC_WARN("host %s (rank %d)%s does without the SupCon kernels for compute capability 9.0: so do all, since the bits "
            "of the portable ones are others. EMOCLIM_SUPCON=portable on every rank says so beforehand",
            all[odd].host, odd, more);
}

ec_status cli_agree_on_kernels(ec_comm *comm, ec_backend *be) {
    const void *gathered = NULL;
    choice mine = {.special = be->supcon->special(be)};
    int32_t portable = 0;
    if (comm->size == 1) return EC_OK;
    host_name(mine.host, sizeof mine.host);
    EC_RETURN_IF(ec__comm_all_gather_view(comm, &mine, &gathered, sizeof mine));
    const choice *all = gathered;
    for (int32_t r = 0; r < comm->size; r++) portable += !all[r].special;
    if (portable == 0 || portable == comm->size) return EC_OK;
    if (comm->rank == 0) warn_of(all, comm->size, portable);
    be->supcon->use_portable(be);
    return EC_OK;
}
