#include "demo_files.h"

bool demo_can_encode(demo_sound_kind kind) { return kind == DEMO_WAV; }

ec_status demo_encode_ready(void) { return EC_OK; } /* to write no sound but WAV is as it should be */

ec_status demo_encode(const float *samples, int64_t count, int channels, int rate, demo_sound_kind kind, int bit_rate,
                      const char *path) {
    (void)samples, (void)count, (void)channels, (void)rate, (void)kind, (void)bit_rate;
    return EC_ERROR(EC_ERR_ENV, "%s: this build has no FFmpeg to write it", path);
}
