/* Element types: between our names and HDF5's descriptions. */
#include <string.h>

#include "cache/h5_internal.h"

static const struct {
    const char *name;
    size_t bytes;
} table[EC_H5_TYPES] = {
    [EC_H5_U8] = {"uint8", 1},     [EC_H5_I16] = {"int16", 2},     [EC_H5_I32] = {"int32", 4},
    [EC_H5_I64] = {"int64", 8},    [EC_H5_U64] = {"uint64", 8},    [EC_H5_F16] = {"float16", 2},
    [EC_H5_F32] = {"float32", 4},  [EC_H5_F64] = {"float64", 8},   [EC_H5_STRING] = {"string", 0},
};

size_t ec__h5_type_bytes(ec_h5_type type) { return table[type].bytes; }
const char *ec__h5_type_name(ec_h5_type type) { return table[type].name; }

static hid_t half_new(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    /* Fields before precision before size, or a field would reach out of the type on the way. */
    if (type < 0 || H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_precision(type, 16) < 0 ||
        H5Tset_ebias(type, 15) < 0 || H5Tset_size(type, 2) < 0) {
        ec__h5_drop(type);
        return -1;
    }
    return type;
}

static hid_t string_new(size_t bytes) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0 || H5Tset_size(type, bytes) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 ||
        H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        ec__h5_drop(type);
        return -1;
    }
    return type;
}

hid_t ec__h5_type_new(ec_h5_type type, size_t string_bytes) {
    switch (type) {
    case EC_H5_U8: return H5Tcopy(H5T_STD_U8LE);
    case EC_H5_I16: return H5Tcopy(H5T_STD_I16LE);
    case EC_H5_I32: return H5Tcopy(H5T_STD_I32LE);
    case EC_H5_I64: return H5Tcopy(H5T_STD_I64LE);
    case EC_H5_U64: return H5Tcopy(H5T_STD_U64LE);
    case EC_H5_F16: return half_new();
    case EC_H5_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case EC_H5_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case EC_H5_STRING: return string_new(string_bytes);
    case EC_H5_TYPES: break;
    }
    return -1;
}

bool ec__h5_type_of(hid_t type, ec_h5_type *out) {
    if (H5Tget_class(type) == H5T_STRING) {
        *out = EC_H5_STRING;
        return H5Tis_variable_str(type) == 0;
    }
    for (ec_h5_type t = 0; t < EC_H5_STRING; t++) {
        hid_t ours = ec__h5_type_new(t, 0);
        bool equal = ours >= 0 && H5Tequal(ours, type) > 0;
        ec__h5_drop(ours);
        if (!equal) continue;
        *out = t;
        return true;
    }
    return false;
}
