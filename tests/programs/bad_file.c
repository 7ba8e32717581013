/* Makes HDF5 files that are wrong in one way, for test_bad_input.sh:
 *
 *   bad_file nan CACHE                       one feature becomes NaN, and all checksums are right
 *   bad_file delete FILE DATASET             removes a data set
 *   bad_file replace FILE DATASET TYPE DIM...  puts another one in its place, of zeros, or without storage where it is
 *   large bad_file add FILE DATASET TYPE DIM...      adds one
 *   bad_file text FILE ATTRIBUTE TEXT        gives an attribute of the file another text
 *
 * TYPE: f16 f32 f64 i32 u8. FILE is changed in place. Exit status 1 where that does not work. */
#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_format.h"
#include "cache/checksum.h"
#include "cache/feature_cache.h"

static void check(int64_t result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "bad_file: %s failed\n", what);
    exit(1);
}

static hid_t open_file(const char *path) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    check(file, path);
    return file;
}

static void set_text(const char *path, const char *name, const char *text) {
    hid_t file = open_file(path), type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    check(H5Tset_size(type, strlen(text) + 1), "H5Tset_size");
    check(H5Tset_cset(type, H5T_CSET_UTF8), "H5Tset_cset");
    check(H5Adelete(file, name), name);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    check(attribute, "H5Acreate2");
    check(H5Awrite(attribute, type, text), "H5Awrite");
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    check(H5Fclose(file), "H5Fclose");
}

/* What a writer without our care might leave: a whole file, and a feature that is no number. */
static void put_nan(const char *path) {
    ec_cache *cache = NULL;
    char sum[EC_CHECKSUM_HEX];
    const void *row;
    check(ec__cache_open(path, NULL, &cache) == EC_OK ? 0 : -1, ec_error_last()->text);
    ec_cache_info info = *ec__cache_info(cache);
    check(info.identity.dtype == EC_H5_F16 && info.blocks == 1 ? 0 : -1, "a cache of one block of float16");
    size_t bytes = (size_t)(info.rows * info.row_bytes);
    uint16_t *features = malloc(bytes);
    check(features && ec__cache_raw(cache, 0, 0, &row) == EC_OK ? 0 : -1, "reading the features");
    memcpy(features, row, bytes);
    features[0] = 0x7e00; /* NaN */
    uint64_t block = ec__checksum_of(features, bytes);
    info.checksum = &block;
    check(ec__cache_index_checksum(&info, sum) == EC_OK ? 0 : -1, "the checksum");
    hid_t file = open_file(path), data = H5Dopen2(file, "features", H5P_DEFAULT);
    hid_t sums = H5Dopen2(file, "checksum", H5P_DEFAULT), type = H5Dget_type(data);
    check(H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, features), "writing the features");
    check(H5Dwrite(sums, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &block), "writing the checksum");
    H5Tclose(type);
    H5Dclose(sums);
    H5Dclose(data);
    check(H5Fclose(file), "H5Fclose");
    set_text(path, "index_checksum", sum);
    ec__cache_close(cache);
    free(features);
}

static hid_t type_of(const char *name) {
    hid_t half;
    if (strcmp(name, "f32") == 0) return H5T_IEEE_F32LE;
    if (strcmp(name, "f64") == 0) return H5T_IEEE_F64LE;
    if (strcmp(name, "i32") == 0) return H5T_STD_I32LE;
    if (strcmp(name, "u8") == 0) return H5T_STD_U8LE;
    half = H5Tcopy(H5T_IEEE_F32LE);
    check(H5Tset_fields(half, 15, 10, 5, 0, 10), "H5Tset_fields");
    check(H5Tset_size(half, 2), "H5Tset_size");
    check(H5Tset_ebias(half, 15), "H5Tset_ebias");
    return half;
}

static bool bytes_below(int rank, const hsize_t *dim, double limit) {
    double bytes = 8;
    for (int i = 0; i < rank; i++) bytes *= (double)dim[i];
    return bytes < limit;
}

static void replace(const char *path, const char *name, bool delete, const char *type, int rank, char **dims) {
    enum { MOST = 8 };
    hsize_t dim[MOST];
    check(rank <= MOST ? 0 : -1, "the number of dimensions");
    for (int i = 0; i < rank; i++) dim[i] = strtoull(dims[i], NULL, 10);
    hid_t file = open_file(path);
    if (delete) check(H5Ldelete(file, name, H5P_DEFAULT), name);
    if (type) {
        hid_t space = rank ? H5Screate_simple(rank, dim, NULL) : H5Screate(H5S_SCALAR);
        hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
        /* Storage now where it is small: a data set without any is another mistake. */
        check(H5Pset_alloc_time(creation, bytes_below(rank, dim, 1e6) ? H5D_ALLOC_TIME_EARLY : H5D_ALLOC_TIME_LATE), "a property");
        hid_t data = H5Dcreate2(file, name, type_of(type), space, H5P_DEFAULT, creation, H5P_DEFAULT);
        check(data, name);
        H5Dclose(data);
        H5Pclose(creation);
        H5Sclose(space);
    }
    check(H5Fclose(file), "H5Fclose");
}

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[1] : "";
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    if (strcmp(what, "nan") == 0) put_nan(argv[2]);
    else if (strcmp(what, "delete") == 0 && argc == 4) replace(argv[2], argv[3], true, NULL, 0, NULL);
    else if (strcmp(what, "replace") == 0 && argc > 4) replace(argv[2], argv[3], true, argv[4], argc - 5, argv + 5);
    else if (strcmp(what, "add") == 0 && argc > 4) replace(argv[2], argv[3], false, argv[4], argc - 5, argv + 5);
    else if (strcmp(what, "text") == 0 && argc == 5) set_text(argv[2], argv[3], argv[4]);
    else check(-1, "the command line");
    return 0;
}
