/* Do all ranks run the same program on the same configuration, with the same kernels? */
#ifndef EC_CLI_CONSISTENCY_H
#define EC_CLI_CONSISTENCY_H

#include "compute/backend.h"
#include "config/config.h"
#include "dist/comm.h"

/* Collective. Compares the SHA-256 of the program's file and of what config computes (ec__config_hash; config is
 * borrowed and NULL where the command has none) across ranks. Where they differ, every rank gets the error of the first
 * rank that does not agree with the most ranks (with rank 0, where there is no majority); it names that rank's host and
 * one that differs: EC_ERR_ENV for another program, EC_ERR_CONFIG for another configuration. With one rank nothing is
 * done. */
ec_status cli_check_consistency(ec_comm *comm, const ec_config *config);

/* Collective. A GPU's loss has kernels that a back end tries as it opens; where a rank does without them, all do, since
 * their bits are others: rank 0 then warns, with that rank's host. To be called before be is used. */
ec_status cli_agree_on_kernels(ec_comm *comm, ec_backend *be);

#endif
