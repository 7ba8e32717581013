/* What this processor and build have for arithmetic. */
#ifndef EC_COMPUTE_ABOUT_H
#define EC_COMPUTE_ABOUT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct ec_compute_about {
    char library[64];        /* "oneDNN 2.6.3" */
    const char *instructions; /* instruction set that it uses: "avx2" */
    bool bf16;               /* products of bfloat16 in hardware */
} ec_compute_about;

void ec__compute_about(ec_compute_about *out);

#endif
