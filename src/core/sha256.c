#include "core/sha256.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct ec_sha256 {
    EVP_MD_CTX *context;
};

ec_status ec__sha256_new(ec_sha256 **out) {
    ec_sha256 *hash = calloc(1, sizeof *hash);
    if (hash) hash->context = EVP_MD_CTX_new();
    if (!hash || !hash->context || EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
        ec__sha256_free(hash);
        return EC_ERROR(EC_ERR_ENV, "libcrypto offers no SHA-256");
    }
    *out = hash;
    return EC_OK;
}

ec_status ec__sha256_update(ec_sha256 *hash, const void *bytes, size_t count) {
    if (EVP_DigestUpdate(hash->context, bytes, count) != 1) return EC_ERROR(EC_ERR_ENV, "libcrypto failed to hash");
    return EC_OK;
}

ec_status ec__sha256_hex(ec_sha256 *hash, char hex[EC_SHA256_HEX]) {
    unsigned char digest[32];
    if (EVP_DigestFinal_ex(hash->context, digest, NULL) != 1) return EC_ERROR(EC_ERR_ENV, "libcrypto failed to hash");
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return EC_OK;
}

void ec__sha256_free(ec_sha256 *hash) {
    if (!hash) return;
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

ec_status ec__sha256_bytes(const void *bytes, size_t count, char hex[EC_SHA256_HEX]) {
    ec_status status = EC_OK;
    ec_sha256 *hash = NULL;
    EC_TRY(ec__sha256_new(&hash));
    EC_TRY(ec__sha256_update(hash, bytes, count));
    EC_TRY(ec__sha256_hex(hash, hex));
done:
    ec__sha256_free(hash);
    return status;
}
