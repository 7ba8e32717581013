#include "cache/h5.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/h5_internal.h"
#include "core/file.h"

/* Global because the library is: it keeps its state in static memory. */
static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

void ec__h5_enter(void) {
    /* The library's switch for printing belongs to a thread. */
    static _Thread_local bool silenced;
    pthread_mutex_lock(&library);
    if (!silenced) H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    silenced = true;
}

void ec__h5_leave(void) { pthread_mutex_unlock(&library); }

typedef struct innermost {
    char *text;
    size_t size;
} innermost;

static herr_t take_first(unsigned n, const H5E_error2_t *error, void *arg) {
    innermost *into = arg;
    if (n == 0 && error->desc) snprintf(into->text, into->size, "%s", error->desc);
    return 0;
}

void ec__h5_message(char *text, size_t size) {
    snprintf(text, size, "HDF5 gives no reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &(innermost){text, size});
    H5Eclear2(H5E_DEFAULT);
}

ec_status ec__h5_raise(const ec_h5 *file, const char *what, const char *object, const char *source, int line,
                       const char *function) {
    char reason[512];
    ec__h5_message(reason, sizeof reason);
    if (file->failure) snprintf(reason, sizeof reason, "%s", strerror(file->failure));
    ec_status code = file->writing ? EC_ERR_IO : EC_ERR_DATA;
    return ec__error_raise(code, source, line, function, "%s: cannot %s%s%s: %s", file->path, what,
                           *object ? " " : "", object, reason);
}

/* Latest format, aligned data sets. Files appear by rename and are never changed in
 * place, so the library's own file lock would only break file systems that have none. */
static hid_t access_list(int64_t align_from) {
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0) return -1;
    if (H5Pset_libver_bounds(list, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0 ||
        H5Pset_alignment(list, (hsize_t)align_from, EC_H5_ALIGN) < 0 || H5Pset_file_locking(list, false, true) < 0 ||
        H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) < 0) {
        H5Pclose(list);
        return -1;
    }
    return list;
}

static void handle_free(ec_h5 *file) {
    if (!file) return;
    free(file->path);
    free(file);
}

static ec_status handle_new(const char *path, bool writing, ec_h5 **out) {
    ec_status status = EC_OK;
    ec_h5 *file = calloc(1, sizeof *file);
    if (!file) EC_FAIL(EC_ERR_MEMORY, "no memory for a file handle");
    file->id = -1;
    file->writing = writing;
    EC_TRY(ec__format(&file->path, "%s", path));
    *out = file;
    file = NULL;
done:
    handle_free(file);
    return status;
}

ec_status ec__h5_create_aligned(const char *path, int64_t align_from, ec_h5 **out) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    hid_t access = -1, creation = -1;
    ec__h5_enter();
    EC_TRY(handle_new(path, true, &file));
    access = access_list(align_from);
    creation = H5Pcreate(H5P_FILE_CREATE);
    if (access < 0 || creation < 0 || H5Pset_obj_track_times(creation, false) < 0 ||
        !ec__h5_use_driver(access, &file->failure))
        EC_H5_FAIL(file, "set up", "");
    file->id = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    if (file->id < 0) EC_H5_FAIL(file, "create the file", "");
    EC_H5_CHECK_WRITTEN(file, "the file");
    *out = file;
    file = NULL;
done:
    ec__h5_drop(creation);
    ec__h5_drop(access);
    ec__h5_leave();
    ec__h5_close(file);
    return status;
}

ec_status ec__h5_open(const char *path, ec_h5 **out) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    hid_t access = -1;
    int64_t bytes = 0;
    EC_RETURN_IF(ec__file_size(path, &bytes)); /* its message is clearer than the library's */
    ec__h5_enter();
    EC_TRY(handle_new(path, false, &file));
    file->bytes = bytes;
    access = access_list(EC_H5_ALIGN);
    if (access < 0) EC_H5_FAIL(file, "set up", "");
    file->id = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file->id < 0) EC_H5_FAIL(file, "open it as HDF5", "");
    *out = file;
    file = NULL;
done:
    ec__h5_drop(access);
    ec__h5_leave();
    ec__h5_close(file);
    return status;
}

ec_status ec__h5_flush(ec_h5 *file) {
    ec_status status = EC_OK;
    ec__h5_enter();
    if (H5Fflush(file->id, H5F_SCOPE_LOCAL) < 0) EC_H5_FAIL(file, "write", "the file");
    EC_H5_CHECK_WRITTEN(file, "the file");
done:
    ec__h5_leave();
    return status;
}

ec_status ec__h5_finish(ec_h5 *file) {
    ec_status status = EC_OK;
    ec__h5_enter();
    hid_t id = file->id;
    file->id = -1;
    if (H5Fclose(id) < 0) EC_H5_FAIL(file, "close", "the file");
    EC_H5_CHECK_WRITTEN(file, "the file");
done:
    ec__h5_leave();
    ec__h5_close(file);
    return status;
}

void ec__h5_close(ec_h5 *file) {
    if (!file) return;
    ec__h5_enter();
    if (file->id >= 0 && H5Fclose(file->id) < 0) H5Eclear2(H5E_DEFAULT);
    ec__h5_leave();
    handle_free(file);
}

const char *ec__h5_path(const ec_h5 *file) { return file->path; }

void ec__h5_allow_chunks(ec_h5 *file) { file->chunks = true; }

/* One group, unless it is there. Made one at a time because groups that the library makes on the way carry the time. */
static ec_status make_group(ec_h5 *file, const char *name) {
    ec_status status = EC_OK;
    hid_t creation = -1, group = -1;
    if (H5Lexists(file->id, name, H5P_DEFAULT) > 0) return EC_OK;
    creation = H5Pcreate(H5P_GROUP_CREATE);
    if (creation < 0 || H5Pset_obj_track_times(creation, false) < 0) EC_H5_FAIL(file, "set up", name);
    group = H5Gcreate2(file->id, name, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (group < 0) EC_H5_FAIL(file, "create the group", name);
    EC_H5_CHECK_WRITTEN(file, name);
done:
    ec__h5_drop(group);
    ec__h5_drop(creation);
    return status;
}

ec_status ec__h5_make_parents(ec_h5 *file, const char *name) {
    char part[EC_H5_NAME];
    if ((size_t)snprintf(part, sizeof part, "%s", name) >= sizeof part)
        return EC_ERROR(EC_ERR_DATA, "%s: a name of more than %d bytes: %s", file->path, EC_H5_NAME - 1, name);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        EC_RETURN_IF(make_group(file, part));
        *slash = '/';
    }
    return EC_OK;
}

ec_status ec__h5_group(ec_h5 *file, const char *name) {
    ec_status status = EC_OK;
    ec__h5_enter();
    EC_TRY(ec__h5_make_parents(file, name));
    EC_TRY(make_group(file, name));
done:
    ec__h5_leave();
    return status;
}

/* H5Lexists answers for the last part of a path only: every part is asked for. */
static bool exists(ec_h5 *file, const char *name) {
    char part[EC_H5_NAME];
    if ((size_t)snprintf(part, sizeof part, "%s", name) >= sizeof part) return false;
    for (char *slash = strchr(part, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (*part && H5Lexists(file->id, part, H5P_DEFAULT) <= 0) return false;
        *slash = '/';
    }
    return H5Lexists(file->id, part, H5P_DEFAULT) > 0;
}

bool ec__h5_has(ec_h5 *file, const char *name) {
    ec__h5_enter();
    bool found = exists(file, name);
    H5Eclear2(H5E_DEFAULT);
    ec__h5_leave();
    return found;
}

bool ec__h5_is_group(ec_h5 *file, const char *name) {
    ec__h5_enter();
    hid_t id = exists(file, name) ? H5Oopen(file->id, name, H5P_DEFAULT) : -1;
    bool group = id >= 0 && H5Iget_type(id) == H5I_GROUP;
    ec__h5_drop(id);
    H5Eclear2(H5E_DEFAULT);
    ec__h5_leave();
    return group;
}

/* Two passes over the group: the longest name, then the names. */
static bool list_names(hid_t group, hsize_t count, size_t *stride, char *data) {
    for (hsize_t k = 0; k < count; k++) {
        char *into = data ? data + k * *stride : NULL;
        ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, k, into, into ? *stride : 0,
                                            H5P_DEFAULT);
        if (length < 0 || length >= EC_H5_NAME) return false;
        if (!data && (size_t)length + 1 > *stride) *stride = (size_t)length + 1;
    }
    return true;
}

ec_status ec__h5_list(ec_h5 *file, const char *group, ec_h5_strings *out) {
    ec_status status = EC_OK;
    H5G_info_t info;
    ec_h5_strings names = {.stride = 1};
    ec__h5_enter();
    hid_t id = H5Gopen2(file->id, group, H5P_DEFAULT);
    if (id < 0 || H5Gget_info(id, &info) < 0) EC_H5_FAIL(file, "open the group", group);
    /* A link takes more than a byte of the file, so a count beyond that is a lie. */
    if ((int64_t)info.nlinks > file->bytes && !file->writing)
        EC_FAIL(EC_ERR_DATA, "%s: the group %s claims %llu members", file->path, group,
                (unsigned long long)info.nlinks);
    if (!list_names(id, info.nlinks, &names.stride, NULL)) EC_H5_FAIL(file, "list the group", group);
    names.data = calloc((size_t)info.nlinks + 1, names.stride);
    if (!names.data) EC_FAIL(EC_ERR_MEMORY, "no memory for the names in %s of %s", group, file->path);
    if (!list_names(id, info.nlinks, &names.stride, names.data)) EC_H5_FAIL(file, "list the group", group);
    names.count = (int64_t)info.nlinks;
    *out = names;
    names.data = NULL;
done:
    free(names.data);
    ec__h5_drop(id);
    ec__h5_leave();
    return status;
}
