/* Attributes of the root group: single numbers and texts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/h5_internal.h"
#include "core/utf8.h"

static ec_status set(ec_h5 *file, const char *name, ec_h5_type type, size_t string_bytes, const void *value) {
    ec_status status = EC_OK;
    hid_t kind = -1, space = -1, attribute = -1;
    ec__h5_enter();
    kind = ec__h5_type_new(type, string_bytes);
    space = H5Screate(H5S_SCALAR);
    if (kind < 0 || space < 0) EC_H5_FAIL(file, "describe the attribute", name);
    attribute = H5Acreate2(file->id, name, kind, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, kind, value) < 0) EC_H5_FAIL(file, "write the attribute", name);
    EC_H5_CHECK_WRITTEN(file, name);
done:
    ec__h5_drop(attribute);
    ec__h5_drop(space);
    ec__h5_drop(kind);
    ec__h5_leave();
    return status;
}

ec_status ec__h5_set_i64(ec_h5 *file, const char *name, int64_t value) {
    return set(file, name, EC_H5_I64, 0, &value);
}

ec_status ec__h5_set_f64(ec_h5 *file, const char *name, double value) {
    return set(file, name, EC_H5_F64, 0, &value);
}

ec_status ec__h5_set_text(ec_h5 *file, const char *name, const char *text) {
    size_t length = strlen(text);
    if (length > EC_H5_TEXT || !ec__utf8(text))
        return EC_ERROR(EC_ERR_DATA, "%s: the attribute %s would not be UTF-8 of at most %d bytes", file->path, name,
                        EC_H5_TEXT);
    return set(file, name, EC_H5_STRING, length > 0 ? length : 1, text); /* HDF5 has no string of zero bytes */
}

ec_status ec__h5_has_attribute(ec_h5 *file, const char *name, bool *out) {
    ec_status status = EC_OK;
    ec__h5_enter();
    htri_t found = H5Aexists(file->id, name);
    if (found < 0) EC_H5_FAIL(file, "look for the attribute", name);
    *out = found > 0;
done:
    ec__h5_leave();
    return status;
}

/* Opens a single value; *size: bytes of it in the file. */
static ec_status open_scalar(ec_h5 *file, const char *name, hid_t *attribute, ec_h5_type *type, size_t *size) {
    ec_status status = EC_OK;
    hid_t kind = -1, space = -1;
    htri_t found = H5Aexists(file->id, name);
    if (found < 0) EC_H5_FAIL(file, "look for the attribute", name);
    if (found == 0) EC_FAIL(EC_ERR_DATA, "%s: the attribute %s is missing", file->path, name);
    *attribute = H5Aopen(file->id, name, H5P_DEFAULT);
    if (*attribute < 0) EC_H5_FAIL(file, "open the attribute", name);
    kind = H5Aget_type(*attribute);
    space = H5Aget_space(*attribute);
    if (kind < 0 || space < 0) EC_H5_FAIL(file, "read the attribute", name);
    if (H5Sget_simple_extent_npoints(space) != 1 || !ec__h5_type_of(kind, type))
        EC_FAIL(EC_ERR_DATA, "%s: the attribute %s is not a single number or fixed-length text", file->path, name);
    *size = H5Tget_size(kind);
done:
    ec__h5_drop(space);
    ec__h5_drop(kind);
    return status;
}

static ec_status get_number(ec_h5 *file, const char *name, bool want_float, hid_t memory, void *out) {
    ec_status status = EC_OK;
    hid_t attribute = -1;
    ec_h5_type type = EC_H5_U8;
    size_t size = 0;
    ec__h5_enter();
    EC_TRY(open_scalar(file, name, &attribute, &type, &size));
    bool is_float = type == EC_H5_F16 || type == EC_H5_F32 || type == EC_H5_F64;
    if (type == EC_H5_STRING || is_float != want_float || type == EC_H5_U64)
        EC_FAIL(EC_ERR_DATA, "%s: the attribute %s is of type %s, %s expected", file->path, name,
                ec__h5_type_name(type),
                want_float ? "float64" : "int64");
    if (H5Aread(attribute, memory, out) < 0) EC_H5_FAIL(file, "read the attribute", name);
done:
    ec__h5_drop(attribute);
    ec__h5_leave();
    return status;
}

ec_status ec__h5_get_i64(ec_h5 *file, const char *name, int64_t *out) {
    return get_number(file, name, false, H5T_NATIVE_INT64, out);
}

ec_status ec__h5_get_f64(ec_h5 *file, const char *name, double *out) {
    return get_number(file, name, true, H5T_NATIVE_DOUBLE, out);
}

ec_status ec__h5_get_text(ec_h5 *file, const char *name, char **out) {
    ec_status status = EC_OK;
    hid_t attribute = -1, memory = -1;
    ec_h5_type type = EC_H5_U8;
    size_t size = 0;
    char *text = NULL;
    ec__h5_enter();
    EC_TRY(open_scalar(file, name, &attribute, &type, &size));
    if (type != EC_H5_STRING)
        EC_FAIL(EC_ERR_DATA, "%s: the attribute %s is of type %s, text expected", file->path, name,
                ec__h5_type_name(type));
    if (size > EC_H5_TEXT) EC_FAIL(EC_ERR_DATA, "%s: the attribute %s claims %zu bytes", file->path, name, size);
    text = calloc(size + 1, 1);
    if (!text) EC_FAIL(EC_ERR_MEMORY, "no memory for the attribute %s of %s", name, file->path);
    memory = H5Aget_type(attribute); /* its own type: files of h5py may say ASCII, which is UTF-8 too */
    if (memory < 0 || H5Aread(attribute, memory, text) < 0) EC_H5_FAIL(file, "read the attribute", name);
    if (!ec__utf8(text)) EC_FAIL(EC_ERR_DATA, "%s: the attribute %s is not UTF-8", file->path, name);
    *out = text;
    text = NULL;
done:
    free(text);
    ec__h5_drop(memory);
    ec__h5_drop(attribute);
    ec__h5_leave();
    return status;
}

ec_status ec__h5_check_format(ec_h5 *file, const char *what, const char *format, int64_t version) {
    ec_status status = EC_OK;
    char *found = NULL;
    bool marked = false;
    int64_t found_version = 0;
    EC_TRY(ec__h5_has_attribute(file, "format", &marked));
    if (!marked) EC_FAIL(EC_ERR_DATA, "%s is not %s", file->path, what);
    EC_TRY(ec__h5_get_text(file, "format", &found));
    if (strcmp(found, format) != 0)
        EC_FAIL(EC_ERR_DATA, "%s is not %s but of the format \"%.80s\"", file->path, what, found);
    EC_TRY(ec__h5_get_i64(file, "format_version", &found_version));
    if (found_version != version)
        EC_FAIL(EC_ERR_DATA, "%s is %s of format version %lld; this program reads version %lld", file->path, what,
                (long long)found_version, (long long)version);
done:
    free(found);
    return status;
}
