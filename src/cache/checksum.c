#include "cache/checksum.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* ec_checksum is xxhash's state under another name: nothing is added to it. */
static XXH3_state_t *state_of(ec_checksum *sum) { return (XXH3_state_t *)sum; }

ec_status ec__checksum_new(ec_checksum **out) {
    XXH3_state_t *state = XXH3_createState();
    if (!state) return EC_ERROR(EC_ERR_MEMORY, "no memory for a checksum");
    XXH3_64bits_reset(state);
    *out = (ec_checksum *)state;
    return EC_OK;
}

void ec__checksum_bytes(ec_checksum *sum, const void *data, size_t bytes) {
    uint64_t length = bytes;
    XXH3_64bits_update(state_of(sum), &length, sizeof length);
    if (bytes) XXH3_64bits_update(state_of(sum), data, bytes);
}

void ec__checksum_text(ec_checksum *sum, const char *text) { ec__checksum_bytes(sum, text, strlen(text)); }

void ec__checksum_number(ec_checksum *sum, int64_t number) { ec__checksum_bytes(sum, &number, sizeof number); }

uint64_t ec__checksum_end(ec_checksum *sum) {
    uint64_t value = XXH3_64bits_digest(state_of(sum));
    XXH3_freeState(state_of(sum));
    return value;
}

uint64_t ec__checksum_of(const void *data, size_t bytes) { return XXH3_64bits(data, bytes); }

void ec__checksum_hex(uint64_t value, char hex[EC_CHECKSUM_HEX]) {
    snprintf(hex, EC_CHECKSUM_HEX, "%016llx", (unsigned long long)value);
}
