#define _GNU_SOURCE
#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ec_atomic_file {
    char *target, *temporary;
};

static void atomic_free(ec_atomic_file *file) {
    if (!file) return;
    free(file->target);
    free(file->temporary);
    free(file);
}

ec_status ec__atomic_open(const char *path, ec_atomic_file **out) {
    ec_status status = EC_OK;
    int fd = -1;
    ec_atomic_file *file = calloc(1, sizeof *file);
    if (!file) EC_FAIL(EC_ERR_MEMORY, "no memory for a file handle");
    EC_TRY(ec__format(&file->target, "%s", path));
    EC_TRY(ec__format(&file->temporary, "%s.tmp.%ld", path, (long)getpid()));
    fd = open(file->temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0) EC_FAIL(EC_ERR_IO, "cannot create %s: %s", file->temporary, strerror(errno));
    *out = file;
    file = NULL;
done:
    if (fd >= 0) close(fd);
    atomic_free(file);
    return status;
}

const char *ec__atomic_path(const ec_atomic_file *file) { return file->temporary; }

/* Opens path to flush it. */
static ec_status open_to_flush(const char *path, int flags, int *fd) {
    *fd = open(path, flags | O_CLOEXEC);
    if (*fd < 0) return EC_ERROR(EC_ERR_IO, "cannot open %s to flush it: %s", path, strerror(errno));
    return EC_OK;
}

/* Some file systems refuse fsync on a folder; the rename is then as durable as they make it. */
static bool flush(int fd) { return fsync(fd) == 0 || errno == EINVAL; }

ec_status ec__file_publish(const char *temporary, const char *path) {
    ec_status status = EC_OK;
    char *folder = NULL;
    int file_fd = -1, folder_fd = -1;
    EC_TRY(ec__path_folder(path, &folder));
    EC_TRY(open_to_flush(temporary, O_RDONLY, &file_fd));
    EC_TRY(open_to_flush(folder, O_RDONLY | O_DIRECTORY, &folder_fd)); /* what can fail before the rename, fails there */
    if (!flush(file_fd)) EC_FAIL(EC_ERR_IO, "cannot flush %s to disk: %s", temporary, strerror(errno));
    if (rename(temporary, path) != 0)
        EC_FAIL(EC_ERR_IO, "cannot rename %s to %s: %s", temporary, path, strerror(errno));
    if (!flush(folder_fd))
        EC_FAIL(EC_ERR_IO,
                "%s is complete and has its name, but its folder cannot be flushed to disk (%s): a loss of power may "
                "take it back",
                path, strerror(errno));
done:
    if (folder_fd >= 0) close(folder_fd);
    if (file_fd >= 0) close(file_fd);
    free(folder);
    return status;
}

ec_status ec__atomic_commit(ec_atomic_file *file) {
    ec_status status = EC_OK;
    EC_TRY(ec__file_publish(file->temporary, file->target));
done:
    if (status != EC_OK) unlink(file->temporary);
    atomic_free(file);
    return status;
}

void ec__atomic_discard(ec_atomic_file *file) {
    if (!file) return;
    unlink(file->temporary);
    atomic_free(file);
}

/* Is name the base's temporary, BASE.tmp.NUMBER? */
static bool is_temporary_of(const char *name, const char *base) {
    size_t length = strlen(base);
    if (strncmp(name, base, length) != 0 || strncmp(name + length, ".tmp.", 5) != 0) return false;
    const char *number = name + length + 5;
    return *number && strspn(number, "0123456789") == strlen(number);
}

void ec__atomic_sweep(const char *path) {
    char *folder = NULL, *leftover = NULL;
    const char *slash = strrchr(path, '/');
    struct dirent *entry;
    DIR *stream = NULL;
    if (ec__path_folder(path, &folder) == EC_OK) stream = opendir(folder);
    while (stream && (entry = readdir(stream))) {
        if (!is_temporary_of(entry->d_name, slash ? slash + 1 : path)) continue;
        if (ec__path_join(folder, entry->d_name, &leftover) == EC_OK) unlink(leftover);
        free(leftover);
        leftover = NULL;
    }
    if (stream) closedir(stream);
    free(folder);
}

ec_status ec__file_write(const char *path, const void *bytes, size_t count) {
    ec_status status = EC_OK;
    ec_atomic_file *file = NULL;
    FILE *stream = NULL;
    EC_TRY(ec__atomic_open(path, &file));
    stream = fopen(ec__atomic_path(file), "we");
    if (!stream) EC_FAIL(EC_ERR_IO, "cannot open %s: %s", ec__atomic_path(file), strerror(errno));
    if (fwrite(bytes, 1, count, stream) != count) EC_FAIL(EC_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    int failed = fclose(stream);
    stream = NULL;
    if (failed) EC_FAIL(EC_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    ec_atomic_file *complete = file;
    file = NULL;
    EC_TRY(ec__atomic_commit(complete));
done:
    if (stream) fclose(stream);
    ec__atomic_discard(file);
    return status;
}

ec_status ec__file_read(const char *path, size_t limit, char **out, size_t *count) {
    ec_status status = EC_OK;
    char *bytes = NULL;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not block */
    if (fd < 0) EC_FAIL(EC_ERR_DATA, "cannot open %s: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0) EC_FAIL(EC_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) EC_FAIL(EC_ERR_DATA, "%s is not a regular file", path);
    if ((uint64_t)info.st_size > limit)
        EC_FAIL(EC_ERR_DATA, "%s has %lld bytes; at most %zu are read here", path, (long long)info.st_size, limit);
    size_t size = (size_t)info.st_size;
    bytes = malloc(size + 1);
    if (!bytes) EC_FAIL(EC_ERR_MEMORY, "no memory for the %zu bytes of %s", size, path);
    EC_TRY(ec__pread_exact(fd, path, bytes, size, 0));
    bytes[size] = '\0';
    *out = bytes;
    bytes = NULL;
    if (count) *count = size;
done:
    free(bytes);
    if (fd >= 0) close(fd);
    return status;
}

ec_status ec__file_size(const char *path, int64_t *bytes) {
    struct stat info;
    if (stat(path, &info) != 0) return EC_ERROR(EC_ERR_DATA, "cannot find %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return EC_ERROR(EC_ERR_DATA, "%s is not a regular file", path);
    *bytes = info.st_size;
    return EC_OK;
}

bool ec__file_exists(const char *path) { return access(path, F_OK) == 0; }

ec_status ec__pread_exact(int fd, const char *name, void *into, size_t count, int64_t offset) {
    char *to = into;
    while (count > 0) {
        ssize_t got = pread(fd, to, count, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return EC_ERROR(EC_ERR_IO, "cannot read %s at byte %lld: %s", name, (long long)offset, strerror(errno));
        if (got == 0)
            return EC_ERROR(EC_ERR_DATA, "%s ends at byte %lld, %zu bytes early", name, (long long)offset, count);
        to += got;
        offset += got;
        count -= (size_t)got;
    }
    return EC_OK;
}

ec_status ec__make_folders(const char *path) {
    ec_status status = EC_OK;
    char *partial = NULL;
    if (!*path) EC_FAIL(EC_ERR_IO, "cannot create a folder without a name");
    EC_TRY(ec__format(&partial, "%s", path));
    for (char *p = partial + 1; ; p++) {
        if (*p != '/' && *p != '\0') continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            EC_FAIL(EC_ERR_IO, "cannot create the folder %s: %s", partial, strerror(errno));
        *p = kept;
        if (kept == '\0') break;
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) EC_FAIL(EC_ERR_IO, "%s exists and is not a folder", path);
done:
    free(partial);
    return status;
}

ec_status ec__path_join(const char *folder, const char *name, char **out) {
    if (!folder || !*folder || name[0] == '/') return ec__format(out, "%s", name);
    size_t length = strlen(folder);
    return ec__format(out, folder[length - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
}

ec_status ec__path_folder(const char *path, char **out) {
    const char *slash = strrchr(path, '/');
    if (!slash) return ec__format(out, ".");
    if (slash == path) return ec__format(out, "/");
    return ec__format(out, "%.*s", (int)(slash - path), path);
}

ec_status ec__format(char **out, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) return EC_ERROR(EC_ERR_MEMORY, "no memory for a string");
    *out = text;
    return EC_OK;
}
