/* The scripts of emoclim completion. */
#ifndef EC_CLI_COMPLETION_H
#define EC_CLI_COMPLETION_H

#include "cli/cli.h"

ec_status cli_print_bash_completion(void);
ec_status cli_print_zsh_completion(void);

/* The configuration's part, the same for both shells: functions _emoclim_sections ("training."), _emoclim_key_names
 * ("training.seed=") and _emoclim_key_values KEY (words or @files; fails for a number), which leave words in $REPLY. */
ec_status cli_print_key_completion(void);

#endif
