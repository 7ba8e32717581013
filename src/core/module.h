/* Parts of the library that are loaded while the program runs: what they need (the CUDA libraries, FFmpeg) is large and
 * slow to load; CUDA is absent on many machines, and the program must start there too.
 *
 * A module is libNAME.so. What it uses of this library it takes from the program that loads it, so the program is
 * linked with all of the library and with its symbols exported (-rdynamic). */
#ifndef EC_CORE_MODULE_H
#define EC_CORE_MODULE_H

#include "core/error.h"

/* Counts up whenever ec_module or a table that it points to changes. */
enum { EC_MODULE_VERSION = 4 };

struct ec_cuda_compute; /* compute/cuda/module.h */
struct ec_cuda_dist;    /* dist/comm_nccl.h */
struct ec_ffmpeg;       /* media/ffmpeg.h */
struct demo_encoder;    /* data/demo_files.h */

/* What a module exports, under the name "ec_module_table"; NULL for what another module offers. */
typedef struct ec_module {
    int version;         /* EC_MODULE_VERSION of the sources that it was made from */
    const char *program; /* EMOCLIM_VERSION likewise */
    const char *kind;    /* "cuda"; "emulated cuda": computed by the CPU, for tests; "ffmpeg" */
    const struct ec_cuda_compute *compute;
    const struct ec_cuda_dist *dist;
    const struct ec_ffmpeg *ffmpeg;
    const struct demo_encoder *encoder;
} ec_module;

/* The module "emoclim_cuda", loaded at the first call; kept until the process ends. Safe to call from any thread.
 * Looked for in the folder of the program, then in ../lib/emoclim beside it; the environment variable
 * EMOCLIM_MODULE_PATH names another folder or the file itself, and then nothing else is tried; an empty value forbids
 * modules. Without that variable, where the driver of NVIDIA's GPUs is not installed, nothing is loaded either: the
 * libraries behind the module take long.
 * EC_ERR_ENV with every place and reason when there is none that loads, or when it belongs to another build. */
ec_status ec__module_cuda(const ec_module **out);

/* Where the module came from; NULL when none is loaded. */
const char *ec__module_cuda_path(void);

/* The module "emoclim_ffmpeg" likewise, from the folder of the program or ../lib/emoclim/modules. It is part of the
 * program wherever that was built with FFmpeg, so no variable of the environment changes it. */
ec_status ec__module_ffmpeg(const ec_module **out);

#endif
