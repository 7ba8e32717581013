/* What a command needs to run on one rank or many: a communicator, a back end, and the manners that go with them. */
#ifndef EC_CLI_SESSION_H
#define EC_CLI_SESSION_H

#include "cli/cli.h"
#include "compute/backend.h"
#include "config/config.h"
#include "dist/comm.h"

typedef struct cli_session {
    ec_comm *comm; /* over the back end's memory; comm->host is for the host's */
    ec_backend *be;
    bool no_device; /* be is for sizes only, and comm is over host memory */
} cli_session;

/* How a session is to run; zeros are defaults. */
typedef struct cli_session_options {
    const char *comm;   /* NULL: "auto" */
    const char *device; /* NULL: "auto" */
    ec_math math;       /* of products on a GPU */
    bool fast;          /* need not give the same bits every time */
    int64_t threads;    /* of this rank; 0: the processors of the host shared between its ranks */
    double deadline_s, patience_s; /* both 0: the communicator's own */
    bool sizes;         /* where a GPU is asked for that is not there, a back end for sizes (ec__backend_open_sizes) */
    bool stops;         /* the command looks whether it was asked to stop (core/stop.h) */
    const ec_config *config; /* borrowed; what all ranks must agree on, or NULL */
} cli_session_options;

/* Collective over the processes that mpirun started; alone, MPI is not touched. Where the command stops when it is
 * asked to, signals are caught from here on.
 * Ranks that run another program or configuration than the others are named (cli/consistency.h).
 * cli_session_close also after an error; status: that of the command. An error that this rank has alone ends all ranks
 * (ec__comm_fail). */
ec_status cli_session_open(const cli_session_options *options, cli_session *out);
void cli_session_close(cli_session *session, ec_status status);

/* The options of a configuration's section distributed. */
cli_session_options cli_session_of(const ec_config *config);

/* Collective. Loads argument[0] with the overrides that follow it, the same way on every rank. */
ec_status cli_load_config(const cli_context *cli, ec_config **out);

#endif
