/* Any bytes as a sound file: an error that names the file, or a waveform of finite samples that can be resampled and
 * cut; never a crash. Both readers see every input. */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "media/audio.h"
#include "media/resample.h"
#include "media/wav.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check(ec_status status, ec_audio *audio, const char *path) {
    if (status != EC_OK) {
        if (audio->samples || !strstr(ec_error_last()->text, path)) abort();
        return;
    }
    if (audio->count < 1 || audio->rate < 1) abort();
    for (int64_t i = 0; i < audio->count; i++)
        if (!isfinite(audio->samples[i])) abort();
    int64_t few = audio->count < 1000 ? audio->count : 1000;
    ec_resampler *resampler = NULL;
    if (audio->rate <= 96000 && ec__resampler_new(audio->rate, 16000, &resampler) == EC_OK) {
        float *out = malloc((size_t)ec__resample_count(resampler, few) * sizeof *out);
        if (out) ec__resample(resampler, audio->samples, few, out);
        free(out);
    }
    ec__resampler_free(resampler);
    ec__audio_release(audio);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    char path[64];
    ec_audio audio = {0};
    int fd = memfd_create("sound", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, count) != (ssize_t)count) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ec_audio_options options = {.max_s = 30, .tolerate_damage = count > 0 && bytes[count - 1] % 2};
    check(ec__wav_decode(path, &options, &audio), &audio, path);
    check(ec__audio_decode(path, &options, &audio), &audio, path);
    close(fd);
    return 0;
}
