/* Any bytes as a safetensors file: an error that names the file, or arrays that can all be read, never a crash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nn/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void require(int holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    ec_safetensors *file = NULL;
    const ec_status status = ec__safetensors_parse("fuzz", bytes, count, &file);
    if (status != EC_OK) {
        require(status == EC_ERR_DATA && file == NULL && strncmp(ec_error_last()->text, "fuzz: ", 6) == 0);
        return 0;
    }
    for (int32_t i = 0; i < ec__safetensors_count(file); i++) {
        const ec_tensor_info *info = ec__safetensors_info(file, i);
        const int64_t elements = ec__tensor_elements(info);
        require(elements >= 0 && (uint64_t)elements <= count); /* every element has a byte of its own */
        require(ec__safetensors_find(file, info->name) == i);
        float *values = malloc(sizeof *values * ((size_t)elements + 1));
        require(values != NULL && ec__safetensors_read(file, i, values) == EC_OK);
        free(values);
    }
    ec__safetensors_close(file);
    return 0;
}
