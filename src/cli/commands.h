/* The commands of the program, one source file each. */
#ifndef EC_CLI_COMMANDS_H
#define EC_CLI_COMMANDS_H

#include "cli/cli.h"

extern const cli_command cli_program; /* the root of the table */
extern const cli_command cli_bench;
extern const cli_command cli_bench_encode; /* parts of bench */
extern const cli_command cli_bench_loader;
extern const cli_command cli_bench_step;
extern const cli_command cli_bench_supcon;
extern const cli_command cli_cache;
extern const cli_command cli_cache_build;
extern const cli_command cli_cache_info;
extern const cli_command cli_cache_verify;
extern const cli_command cli_checkpoint;
extern const cli_command cli_completion;
extern const cli_command cli_config;
extern const cli_command cli_embed;
extern const cli_command cli_search;
extern const cli_command cli_eval;
extern const cli_command cli_eval_retrieval;
extern const cli_command cli_export;
extern const cli_command cli_import;
extern const cli_command cli_manual;
extern const cli_command cli_plan;
extern const cli_command cli_train;
extern const cli_command cli_demo;
extern const cli_command cli_doctor;
extern const cli_command cli_version;

#endif
