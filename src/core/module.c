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

typedef struct place {
    const char *file_name, *installed; /* the second: its folder beside the program's */
    const ec_module *loaded;
    char path[PATH_MAX];
    char reason[EC_ERROR_TEXT / 2]; /* why it is not loaded */
} place;

/* A process loads a library once, whoever asks: the only place for what came of it is global. */
static pthread_once_t cuda_once = PTHREAD_ONCE_INIT, ffmpeg_once = PTHREAD_ONCE_INIT;
static place cuda = {.file_name = "libemoclim_cuda.so", .installed = "lib/emoclim"},
             ffmpeg = {.file_name = "libemoclim_ffmpeg.so", .installed = "lib/emoclim/modules"};

static void append(place *p, const char *text) {
    size_t used = strlen(p->reason), length = strlen(text);
    if (length > sizeof p->reason - 1 - used) length = sizeof p->reason - 1 - used;
    memcpy(p->reason + used, text, length);
    p->reason[used + length] = '\0';
}

static void add_reason(place *p, const char *path, const char *text) {
    if (*p->reason) append(p, "; ");
    if (strncmp(text, path, strlen(path)) != 0) { /* the loader's own texts begin with the path */
        append(p, path);
        append(p, ": ");
    }
    append(p, text);
}

static bool try_file(place *p, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) {
        add_reason(p, path, "not there");
        return false;
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        add_reason(p, path, dlerror());
        return false;
    }
    const ec_module *module = dlsym(handle, "ec_module_table");
    bool ours = module && module->version == EC_MODULE_VERSION && strcmp(module->program, EMOCLIM_VERSION) == 0;
    if (!ours || (p == &cuda ? !module->compute : !module->ffmpeg)) {
        add_reason(p, path, ours ? "is another module" : module ? "belongs to another build of the program"
                                                                : "is no module of this program");
        dlclose(handle);
        return false;
    }
    p->loaded = module;
    snprintf(p->path, sizeof p->path, "%s", path);
    return true;
}

static bool try_folder(place *p, const char *folder) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, p->file_name) < (int)sizeof path) return try_file(p, path);
    add_reason(p, folder, "the path is too long");
    return false;
}

/* In the folder of the program, then where it is installed. */
static void try_own_folders(place *p) {
    char self[PATH_MAX], beside[PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) {
        add_reason(p, "/proc/self/exe", "cannot be read");
        return;
    }
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) *slash = '\0';
    if (try_folder(p, self)) return;
    snprintf(beside, sizeof beside, "%s/../%s", self, p->installed);
    try_folder(p, beside);
}

static bool have_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver) {
        add_reason(&cuda, "there is no driver of NVIDIA's GPUs", dlerror());
        return false;
    }
    dlclose(driver);
    return true;
}

static void load_cuda(void) {
    const char *asked = getenv("EMOCLIM_MODULE_PATH");
    struct stat info;
    if (asked && !*asked) {
        add_reason(&cuda, "EMOCLIM_MODULE_PATH", "is empty, which forbids modules");
        return;
    }
    if (asked) {
        if (stat(asked, &info) == 0 && S_ISDIR(info.st_mode)) try_folder(&cuda, asked);
        else try_file(&cuda, asked);
        return;
    }
    if (have_driver()) try_own_folders(&cuda);
}

static void load_ffmpeg(void) { try_own_folders(&ffmpeg); }

ec_status ec__module_cuda(const ec_module **out) {
    pthread_once(&cuda_once, load_cuda);
    if (!cuda.loaded) return EC_ERROR(EC_ERR_ENV, "no CUDA module: %s", cuda.reason);
    *out = cuda.loaded;
    return EC_OK;
}

const char *ec__module_cuda_path(void) { return cuda.loaded ? cuda.path : NULL; }

ec_status ec__module_ffmpeg(const ec_module **out) {
    pthread_once(&ffmpeg_once, load_ffmpeg);
    if (!ffmpeg.loaded)
        return EC_ERROR(EC_ERR_ENV,
                        "sound, and pictures other than JPEG and PNG, need FFmpeg, which cannot be loaded: %s",
                        ffmpeg.reason);
    *out = ffmpeg.loaded;
    return EC_OK;
}
