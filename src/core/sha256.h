/* SHA-256 (by OpenSSL's libcrypto, which uses the processor's instructions for it). */
#ifndef EC_CORE_SHA256_H
#define EC_CORE_SHA256_H

#include <stddef.h>

#include "core/error.h"

enum { EC_SHA256_HEX = 65 }; /* 64 digits and the NUL */

typedef struct ec_sha256 ec_sha256;

ec_status ec__sha256_new(ec_sha256 **out);
ec_status ec__sha256_update(ec_sha256 *hash, const void *bytes, size_t count);
ec_status ec__sha256_hex(ec_sha256 *hash, char hex[EC_SHA256_HEX]); /* ends the hash; only free may follow */
void ec__sha256_free(ec_sha256 *hash);

/* Hash of bytes at once. */
ec_status ec__sha256_bytes(const void *bytes, size_t count, char hex[EC_SHA256_HEX]);

#endif
