/* "cache verify" and "checkpoint verify": the same check of one file after the other. */
#ifndef EC_CLI_VERIFY_H
#define EC_CLI_VERIFY_H

#include "cli/cli.h"

/* Checks every argument and says for each whether it is good; EC_ERR_DATA (or the first file's own error) when any is
 * not. what: "cache". */
ec_status cli_verify_files(const cli_context *cli, const char *what,
                           ec_status (*check)(const char *path, const ec_progress *progress));

#endif
