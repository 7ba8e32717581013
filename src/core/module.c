#define _GNU_SOURCE
#include "core/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A process loads a library once, whoever asks: the only place for what came of it is global. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const ec_module *loaded;
static char loaded_path[PATH_MAX];
static char reason[EC_ERROR_TEXT / 2];

static const char file_name[] = "libemoclim_cuda.so";

static void append(const char *text) {
    size_t used = strlen(reason), length = strlen(text);
    if (length > sizeof reason - 1 - used) length = sizeof reason - 1 - used;
    memcpy(reason + used, text, length);
    reason[used + length] = '\0';
}

static void add_reason(const char *path, const char *text) {
    if (*reason) append("; ");
    if (strncmp(text, path, strlen(path)) != 0) { /* the loader's own texts begin with the path */
        append(path);
        append(": ");
    }
    append(text);
}

static bool try_file(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) {
        add_reason(path, "not there");
        return false;
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        add_reason(path, dlerror());
        return false;
    }
    const ec_module *module = dlsym(handle, "ec_module_table");
    if (!module || module->version != EC_MODULE_VERSION || strcmp(module->program, EMOCLIM_VERSION) != 0) {
        add_reason(path, module ? "belongs to another build of the program" : "is no module of this program");
        dlclose(handle);
        return false;
    }
    loaded = module;
    snprintf(loaded_path, sizeof loaded_path, "%s", path);
    return true;
}

static bool try_folder(const char *folder) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, file_name) < (int)sizeof path) return try_file(path);
    add_reason(folder, "the path is too long");
    return false;
}

static bool have_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver) {
        add_reason("there is no driver of NVIDIA's GPUs", dlerror());
        return false;
    }
    dlclose(driver);
    return true;
}

static void load(void) {
    const char *asked = getenv("EMOCLIM_MODULE_PATH");
    char self[PATH_MAX], beside[PATH_MAX + 32];
    struct stat info;
    if (asked && !*asked) {
        add_reason("EMOCLIM_MODULE_PATH", "is empty, which forbids modules");
        return;
    }
    if (asked) {
        if (stat(asked, &info) == 0 && S_ISDIR(info.st_mode)) try_folder(asked);
        else try_file(asked);
        return;
    }
    if (!have_driver()) return;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) {
        add_reason("/proc/self/exe", "cannot be read");
        return;
    }
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) *slash = '\0';
    if (try_folder(self)) return;
    snprintf(beside, sizeof beside, "%s/../lib/emoclim", self);
    try_folder(beside);
}

ec_status ec__module_cuda(const ec_module **out) {
    pthread_once(&once, load);
    if (!loaded) return EC_ERROR(EC_ERR_ENV, "no CUDA module: %s", reason);
    *out = loaded;
    return EC_OK;
}

const char *ec__module_cuda_path(void) { return loaded ? loaded_path : NULL; }
