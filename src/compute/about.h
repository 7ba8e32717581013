/* What this processor and build have for arithmetic. */
#ifndef EC_COMPUTE_ABOUT_H
#define EC_COMPUTE_ABOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ec_compute_about {
    char library[64];        /* "oneDNN 2.6.3" */
    const char *instructions; /* instruction set that it uses: "avx2" */
    bool bf16;               /* products of bfloat16 in hardware */
} ec_compute_about;

void ec__compute_about(ec_compute_about *out);

enum { EC_GPUS = 16, EC_GPU_TEXT = 512 };

typedef struct ec_gpu {
    char text[EC_GPU_TEXT]; /* name, memory and place, for people */
    bool usable;            /* else text says why not */
} ec_gpu;

/* What this machine and build have of GPUs. */
typedef struct ec_gpu_about {
    char missing[2 * EC_GPU_TEXT]; /* why none can be used; "" where one can */
    char module[EC_GPU_TEXT];      /* file of the CUDA module; "" where none was loaded */
    bool emulated;                 /* computed by the CPU, for tests */
    char versions[EC_GPU_TEXT];    /* driver, runtime, libraries; "" without a module */
    int32_t count;                 /* GPUs that the driver shows, of which at most EC_GPUS are described */
    ec_gpu gpu[EC_GPUS];
} ec_gpu_about;

/* Takes as long as loading the CUDA libraries where there is a driver. */
void ec__gpu_about(ec_gpu_about *out);

#endif
