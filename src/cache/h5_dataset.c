/* Data sets: contiguous arrays of numbers and of fixed-length strings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/h5_internal.h"
#include "core/utf8.h"

/* "(N,512)": an unknown dimension is N. */
static const char *shape_text(int32_t rank, const int64_t *dim, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "(");
    for (int32_t i = 0; i < rank && used < size; i++) {
        const char *comma = i ? "," : "";
        used += (size_t)(dim[i] < 0 ? snprintf(text + used, size - used, "%sN", comma)
                                    : snprintf(text + used, size - used, "%s%lld", comma, (long long)dim[i]));
    }
    if (used < size) snprintf(text + used, size - used, ")");
    return text;
}

/* Creates the data set; the identifier is the caller's. Space is allocated at once, and never filled by the library:
 * whoever creates it writes all of it. */
static ec_status create(ec_h5 *file, const char *name, hid_t type, int32_t rank, const int64_t *dim, hid_t *out) {
    ec_status status = EC_OK;
    hid_t space = -1, creation = -1;
    hsize_t extent[EC_H5_DIMS];
    EC_TRY(ec__h5_make_parents(file, name));
    if (rank < 0 || rank > EC_H5_DIMS) EC_FAIL(EC_ERR_BUG, "%s: %s with %d dimensions", file->path, name, rank);
    for (int32_t i = 0; i < rank; i++) extent[i] = (hsize_t)dim[i];
    space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, extent, NULL);
    creation = H5Pcreate(H5P_DATASET_CREATE);
    if (space < 0 || creation < 0 || H5Pset_layout(creation, H5D_CONTIGUOUS) < 0 ||
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) < 0 ||
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) < 0 || H5Pset_obj_track_times(creation, false) < 0)
        EC_H5_FAIL(file, "describe", name);
    *out = H5Dcreate2(file->id, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (*out < 0) EC_H5_FAIL(file, "create", name);
done:
    ec__h5_drop(creation);
    ec__h5_drop(space);
    return status;
}

static int64_t product(int32_t rank, const int64_t *dim) {
    int64_t count = 1;
    for (int32_t i = 0; i < rank; i++) count *= dim[i];
    return count;
}

ec_status ec__h5_write(ec_h5 *file, const char *name, ec_h5_type type, int32_t rank, const int64_t *dim,
                       const void *data) {
    ec_status status = EC_OK;
    hid_t kind = -1, set = -1;
    ec__h5_enter();
    kind = ec__h5_type_new(type, 0);
    if (kind < 0) EC_H5_FAIL(file, "describe", name);
    EC_TRY(create(file, name, kind, rank, dim, &set));
    if (data && product(rank, dim) > 0 && H5Dwrite(set, kind, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        EC_H5_FAIL(file, "write", name);
    EC_H5_CHECK_WRITTEN(file, name);
done:
    ec__h5_drop(set);
    ec__h5_drop(kind);
    ec__h5_leave();
    return status;
}

/* All strings side by side, padded to the width of the longest. */
static ec_status pack(const ec_h5 *file, const char *name, const char *const *text, int64_t count, size_t *width,
                      char **out) {
    ec_status status = EC_OK;
    *width = 1;
    for (int64_t k = 0; k < count; k++) {
        size_t length = strlen(text[k]);
        if (length > EC_H5_TEXT || !ec__utf8(text[k]))
            EC_FAIL(EC_ERR_DATA, "%s: %s[%lld] would not be UTF-8 of at most %d bytes: %.200s", file->path, name,
                    (long long)k, EC_H5_TEXT, text[k]);
        if (length > *width) *width = length;
    }
    *out = calloc((size_t)count + 1, *width);
    if (!*out) EC_FAIL(EC_ERR_MEMORY, "no memory for the %lld strings of %s", (long long)count, name);
    for (int64_t k = 0; k < count; k++) memcpy(*out + (size_t)k * *width, text[k], strlen(text[k]));
done:
    return status;
}

ec_status ec__h5_write_strings(ec_h5 *file, const char *name, const char *const *text, int64_t count) {
    ec_status status = EC_OK;
    hid_t kind = -1, set = -1;
    char *packed = NULL;
    size_t width = 0;
    EC_RETURN_IF(pack(file, name, text, count, &width, &packed));
    ec__h5_enter();
    kind = ec__h5_type_new(EC_H5_STRING, width);
    if (kind < 0) EC_H5_FAIL(file, "describe", name);
    EC_TRY(create(file, name, kind, 1, &count, &set));
    if (count > 0 && H5Dwrite(set, kind, H5S_ALL, H5S_ALL, H5P_DEFAULT, packed) < 0) EC_H5_FAIL(file, "write", name);
    EC_H5_CHECK_WRITTEN(file, name);
done:
    ec__h5_drop(set);
    ec__h5_drop(kind);
    ec__h5_leave();
    free(packed);
    return status;
}

/* Shape of an open data set, with products that are sure not to overflow. */
static ec_status measure(const ec_h5 *file, const char *name, hid_t set, hid_t type, ec_h5_info *info) {
    ec_status status = EC_OK;
    hsize_t extent[H5S_MAX_RANK];
    hid_t space = H5Dget_space(set);
    if (space < 0) EC_H5_FAIL(file, "examine", name);
    int rank = H5Sget_simple_extent_ndims(space);
    if (rank < 0 || rank > EC_H5_DIMS)
        EC_FAIL(EC_ERR_DATA, "%s: %s has %d dimensions, at most %d are expected", file->path, name, rank, EC_H5_DIMS);
    if (H5Sget_simple_extent_dims(space, extent, NULL) < 0) EC_H5_FAIL(file, "examine", name);
    if (H5Sget_simple_extent_type(space) == H5S_NULL) EC_FAIL(EC_ERR_DATA, "%s: %s has no elements", file->path, name);
    info->rank = rank;
    info->element_bytes = H5Tget_size(type);
    info->count = 1;
    for (int i = 0; i < rank; i++) {
        info->dim[i] = (int64_t)extent[i];
        if (info->dim[i] < 0 || __builtin_mul_overflow(info->count, info->dim[i], &info->count))
            EC_FAIL(EC_ERR_DATA, "%s: %s claims more elements than can be counted", file->path, name);
    }
    if (__builtin_mul_overflow(info->count, (int64_t)info->element_bytes, &info->bytes))
        EC_FAIL(EC_ERR_DATA, "%s: %s claims more bytes than can be counted", file->path, name);
done:
    ec__h5_drop(space);
    return status;
}

/* Where the elements lie; refuses what lies outside of the file. */
static ec_status locate(const ec_h5 *file, const char *name, hid_t set, ec_h5_info *info) {
    ec_status status = EC_OK;
    hid_t creation = H5Dget_create_plist(set);
    if (creation < 0) EC_H5_FAIL(file, "examine", name);
    H5D_layout_t layout = H5Pget_layout(creation);
    if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT && !(layout == H5D_CHUNKED && file->chunks))
        EC_FAIL(EC_ERR_DATA, "%s: %s is stored in chunks or virtually; it must be contiguous", file->path, name);
    if (H5Pget_external_count(creation) != 0) EC_FAIL(EC_ERR_DATA, "%s: %s lies in another file", file->path, name);
    info->offset = -1;
    if (info->bytes > 0 && layout == H5D_CONTIGUOUS) {
        haddr_t offset = H5Dget_offset(set);
        H5Eclear2(H5E_DEFAULT);
        if (offset == HADDR_UNDEF) EC_FAIL(EC_ERR_DATA, "%s: %s was never written", file->path, name);
        info->offset = (int64_t)offset;
        if (!file->writing && (info->offset < 0 || info->offset > file->bytes ||
                               info->bytes > file->bytes - info->offset))
            EC_FAIL(EC_ERR_DATA, "%s: %s claims bytes %lld to %lld of a file of %lld", file->path, name,
                    (long long)info->offset, (long long)(info->offset + info->bytes - 1), (long long)file->bytes);
    }
done:
    ec__h5_drop(creation);
    return status;
}

/* Opens a data set and says what it is; the identifier is the caller's even on error. */
static ec_status open_set(ec_h5 *file, const char *name, hid_t *set, ec_h5_info *info) {
    ec_status status = EC_OK;
    hid_t type = -1;
    *set = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (*set < 0) EC_H5_FAIL(file, "open the data set", name);
    type = H5Dget_type(*set);
    if (type < 0) EC_H5_FAIL(file, "examine", name);
    if (!ec__h5_type_of(type, &info->type)) {
        H5Eclear2(H5E_DEFAULT);
        EC_FAIL(EC_ERR_DATA, "%s: %s is neither a number of a known type nor a fixed-length string", file->path, name);
    }
    EC_TRY(measure(file, name, *set, type, info));
    EC_TRY(locate(file, name, *set, info));
done:
    ec__h5_drop(type);
    return status;
}

ec_status ec__h5_info(ec_h5 *file, const char *name, ec_h5_info *out) {
    ec_status status = EC_OK;
    ec_h5_info info = {0};
    hid_t set = -1;
    ec__h5_enter();
    EC_TRY(open_set(file, name, &set, &info));
    *out = info;
done:
    ec__h5_drop(set);
    ec__h5_leave();
    return status;
}

static bool same_shape(const ec_h5_info *info, int32_t rank, const int64_t *dim) {
    if (info->rank != rank) return false;
    for (int32_t i = 0; i < rank; i++)
        if (dim[i] >= 0 && dim[i] != info->dim[i]) return false;
    return true;
}

static ec_status check_shape(const ec_h5 *file, const char *name, const ec_h5_info *info, int32_t rank,
                             const int64_t *dim) {
    char expected[256], found[256];
    if (same_shape(info, rank, dim)) return EC_OK;
    return EC_ERROR(EC_ERR_DATA, "%s: %s: shape expected %s, found %s", file->path, name,
                    shape_text(rank, dim, expected, sizeof expected),
                    shape_text(info->rank, info->dim, found, sizeof found));
}

ec_status ec__h5_shape(ec_h5 *file, const char *name, int32_t rank, int64_t *dim) {
    ec_h5_info info;
    EC_RETURN_IF(ec__h5_info(file, name, &info));
    EC_RETURN_IF(check_shape(file, name, &info, rank, dim));
    for (int32_t i = 0; i < rank; i++) dim[i] = info.dim[i];
    return EC_OK;
}

static bool is_float(ec_h5_type type) { return type == EC_H5_F32 || type == EC_H5_F64; }

static bool convertible(ec_h5_type from, ec_h5_type to) {
    if (from == to) return true;
    if (from == EC_H5_F16 || to == EC_H5_F16 || from == EC_H5_STRING || to == EC_H5_STRING) return false;
    return is_float(to) || !is_float(from);
}

/* Rounding is what a conversion is for; a value out of range is not. */
static H5T_conv_ret_t refuse_range(H5T_conv_except_t what, hid_t from, hid_t to, void *x, void *y, void *arg) {
    (void)from, (void)to, (void)x, (void)y;
    if (what != H5T_CONV_EXCEPT_RANGE_HI && what != H5T_CONV_EXCEPT_RANGE_LOW) return H5T_CONV_UNHANDLED;
    *(bool *)arg = true;
    return H5T_CONV_ABORT;
}

ec_status ec__h5_read(ec_h5 *file, const char *name, ec_h5_type type, int32_t rank, const int64_t *dim, void *into) {
    ec_status status = EC_OK;
    ec_h5_info info = {0};
    hid_t set = -1, memory = -1, transfer = -1;
    bool out_of_range = false;
    ec__h5_enter();
    EC_TRY(open_set(file, name, &set, &info));
    EC_TRY(check_shape(file, name, &info, rank, dim));
    if (!convertible(info.type, type) || type == EC_H5_STRING)
        EC_FAIL(EC_ERR_DATA, "%s: %s: type expected %s, found %s", file->path, name, ec__h5_type_name(type),
                ec__h5_type_name(info.type));
    memory = ec__h5_type_new(type, 0);
    transfer = H5Pcreate(H5P_DATASET_XFER);
    if (memory < 0 || transfer < 0 || H5Pset_type_conv_cb(transfer, refuse_range, &out_of_range) < 0)
        EC_H5_FAIL(file, "prepare to read", name);
    if (info.count > 0 && H5Dread(set, memory, H5S_ALL, H5S_ALL, transfer, into) < 0) {
        if (!out_of_range) EC_H5_FAIL(file, "read", name);
        H5Eclear2(H5E_DEFAULT);
        EC_FAIL(EC_ERR_DATA, "%s: %s holds a value that is not a %s", file->path, name, ec__h5_type_name(type));
    }
done:
    ec__h5_drop(transfer);
    ec__h5_drop(memory);
    ec__h5_drop(set);
    ec__h5_leave();
    return status;
}

/* Moves strings of width bytes apart so that each has a NUL behind it, from the last to the first. */
static void spread(char *data, int64_t count, size_t width) {
    for (int64_t k = count - 1; k >= 0; k--) {
        memmove(data + (size_t)k * (width + 1), data + (size_t)k * width, width);
        data[(size_t)k * (width + 1) + width] = '\0';
    }
}

ec_status ec__h5_read_strings(ec_h5 *file, const char *name, ec_h5_strings *out) {
    ec_status status = EC_OK;
    ec_h5_info info = {0};
    hid_t set = -1, memory = -1;
    char *data = NULL;
    int64_t any = -1;
    ec__h5_enter();
    EC_TRY(open_set(file, name, &set, &info));
    EC_TRY(check_shape(file, name, &info, 1, &any));
    if (info.type != EC_H5_STRING)
        EC_FAIL(EC_ERR_DATA, "%s: %s: strings expected, found %s", file->path, name, ec__h5_type_name(info.type));
    memory = H5Dget_type(set);
    data = calloc((size_t)info.count + 1, info.element_bytes + 1);
    if (!data) EC_FAIL(EC_ERR_MEMORY, "no memory for the strings of %s in %s", name, file->path);
    if (memory < 0 || (info.count > 0 && H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0))
        EC_H5_FAIL(file, "read", name);
    spread(data, info.count, info.element_bytes);
    for (int64_t k = 0; k < info.count; k++)
        if (!ec__utf8(data + (size_t)k * (info.element_bytes + 1)))
            EC_FAIL(EC_ERR_DATA, "%s: %s[%lld] is not UTF-8", file->path, name, (long long)k);
    *out = (ec_h5_strings){.data = data, .stride = info.element_bytes + 1, .count = info.count};
    data = NULL;
done:
    free(data);
    ec__h5_drop(memory);
    ec__h5_drop(set);
    ec__h5_leave();
    return status;
}

void ec__h5_strings_release(ec_h5_strings *strings) {
    free(strings->data);
    *strings = (ec_h5_strings){0};
}
