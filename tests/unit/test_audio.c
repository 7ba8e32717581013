/* Sound files written by the test, byte by byte, read back by the WAV reader and by the build's own decoder; broken
 * ones must end in errors that say what is wrong. Then the clips that encoders take. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "media/audio.h"
#include "media/clip.h"
#include "media/wav.h"
#include "support.h"

enum { PCM = 1, IEEE_FLOAT = 3, HEAD = 44 };

/* A WAV file in memory; fields may be falsified before it is written. */
typedef struct wav {
    uint8_t *bytes;
    size_t size;
    int channels, frames;
} wav;

static void put(uint8_t *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
}

/* The value of frame f, channel c: different everywhere, exact in 8 bits, both ends of the range included. */
static double value_of(int f, int c) { return f == 0 ? -1 : ((f * 37 + c * 11) % 255 - 127) / 128.0; }

static wav make(int code, int bits, int channels, int rate, int frames) {
    wav w = {.channels = channels, .frames = frames};
    size_t data = (size_t)(bits / 8 * channels * frames);
    w.size = HEAD + data;
    w.bytes = calloc(1, w.size + 16);
    memcpy(w.bytes, "RIFF....WAVEfmt ", 16);
    put(w.bytes + 4, w.size - 8, 4);
    put(w.bytes + 16, 16, 4);
    put(w.bytes + 20, (uint64_t)code, 2);
    put(w.bytes + 22, (uint64_t)channels, 2);
    put(w.bytes + 24, (uint64_t)rate, 4);
    put(w.bytes + 28, (uint64_t)(rate * channels * bits / 8), 4);
    put(w.bytes + 32, (uint64_t)(channels * bits / 8), 2);
    put(w.bytes + 34, (uint64_t)bits, 2);
    memcpy(w.bytes + 36, "data", 4);
    put(w.bytes + 40, data, 4);
    uint8_t *to = w.bytes + HEAD;
    for (int f = 0; f < frames; f++)
        for (int c = 0; c < channels; c++, to += bits / 8) {
            double v = value_of(f, c);
            float v32 = (float)v;
            if (code == IEEE_FLOAT && bits == 32) memcpy(to, &v32, 4);
            else if (code == IEEE_FLOAT) memcpy(to, &v, 8);
            else if (bits == 8) *to = (uint8_t)(v * 128 + 128);
            else put(to, (uint64_t)(int64_t)(v * ldexp(1, bits - 1)), bits / 8);
        }
    return w;
}

static const char *save(const wav *w, size_t bytes) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/sound.wav", test_folder());
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(w->bytes, 1, bytes, file), bytes);
    fclose(file);
    return path;
}

typedef ec_status (*decode_fn)(const char *, const ec_audio_options *, ec_audio *);
static const decode_fn readers[] = {ec__wav_decode, ec__audio_decode};

static void check_samples(const ec_audio *audio, int first, int frames, int channels, int rate) {
    assert_int_equal(audio->rate, rate);
    assert_int_equal(audio->count, frames);
    for (int f = 0; f < frames; f++) {
        double mean = 0;
        for (int c = 0; c < channels; c++) mean += value_of(first + f, c) / channels;
        test_limit("sample", fabs(audio->samples[f] - mean), 6e-8);
    }
}

static void test_formats(void **state) {
    (void)state;
    const struct {
        int code, bits;
    } formats[] = {{PCM, 8}, {PCM, 16}, {PCM, 24}, {PCM, 32}, {IEEE_FLOAT, 32}, {IEEE_FLOAT, 64}};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        for (int channels = 1; channels <= 6; channels += channels == 2 ? 4 : 1) {
            wav w = make(formats[i].code, formats[i].bits, channels, 22050, 5000);
            const char *path = save(&w, w.size);
            for (int r = 0; r < 2; r++) {
                ec_audio audio = {0};
                CHECK_OK(readers[r](path, NULL, &audio));
                check_samples(&audio, 0, 5000, channels, 22050);
                ec__audio_release(&audio);
            }
            free(w.bytes);
        }
}

static void test_cut(void **state) {
    (void)state;
    wav w = make(PCM, 16, 2, 8000, 20000);
    const char *path = save(&w, w.size);
    const struct {
        double start, end;
        int first, count;
    } cuts[] = {{0, 0, 0, 20000},
                {1, 2, 8000, 8000},
                {0.5, 0, 4000, 16000},
                {2.25, 99, 18000, 2000},
                {2.25, INFINITY, 18000, 2000},
                {0, 0.001, 0, 8},
                {1.00003, 1.0005, 8000, 4}};
    for (int r = 0; r < 2; r++) {
        ec_audio audio = {0};
        for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
            CHECK_OK(readers[r](path, &(ec_audio_options){.start_s = cuts[i].start, .end_s = cuts[i].end}, &audio));
            check_samples(&audio, cuts[i].first, cuts[i].count, 2, 8000);
            ec__audio_release(&audio);
        }
        CHECK_ERROR(readers[r](path, &(ec_audio_options){.start_s = 3}, &audio), EC_ERR_DATA, "ends at 2.5 s");
        CHECK_ERROR(readers[r](path, &(ec_audio_options){.start_s = 2, .end_s = 1}, &audio), EC_ERR_USAGE,
                    "before it starts");
        CHECK_ERROR(readers[r](path, &(ec_audio_options){.start_s = -1}, &audio), EC_ERR_USAGE, "-1 s");
        CHECK_ERROR(readers[r](path, &(ec_audio_options){.start_s = NAN}, &audio), EC_ERR_USAGE, "nan");
        CHECK_ERROR(readers[r](path, &(ec_audio_options){.max_s = 2}, &audio), EC_ERR_DATA, "longer than 2 s");
        CHECK_OK(readers[r](path, &(ec_audio_options){.max_s = 2, .start_s = 1}, &audio)); /* the cut counts */
        ec__audio_release(&audio);
        assert_null(audio.samples);
    }
    free(w.bytes);
}

/* Every error names the file. */
static void expect(decode_fn decode, const char *path, ec_status code, const char *text) {
    ec_audio audio = {.count = -7};
    CHECK_ERROR(decode(path, NULL, &audio), code, text);
    assert_non_null(strstr(ec_error_last()->text, path));
    assert_int_equal(audio.count, -7); /* results stay untouched */
}

static void test_broken(void **state) {
    (void)state;
    char folder[4096], missing[4200], pipe[4200];
    snprintf(folder, sizeof folder, "%s", test_folder());
    snprintf(missing, sizeof missing, "%s/missing.wav", folder);
    snprintf(pipe, sizeof pipe, "%s/pipe.wav", folder);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    wav w = make(PCM, 16, 2, 16000, 9000);
    for (int r = 0; r < 2; r++) {
        decode_fn decode = readers[r];
        expect(decode, missing, EC_ERR_DATA, "No such file");
        expect(decode, folder, EC_ERR_DATA, "not a regular file");
        expect(decode, pipe, EC_ERR_DATA, "not a regular file");
        expect(decode, save(&w, 0), EC_ERR_DATA, "is empty");
        expect(decode, save(&w, 5), EC_ERR_DATA, NULL);
        expect(decode, save(&w, 30), EC_ERR_DATA, NULL);       /* inside the format chunk */
        expect(decode, save(&w, HEAD), EC_ERR_DATA, NULL);     /* a header and nothing else */
        expect(decode, save(&w, HEAD + 100), EC_ERR_DATA, "truncated");
        expect(decode, save(&w, w.size - 1), EC_ERR_DATA, "truncated");
        expect(decode, save(&w, w.size - 4), EC_ERR_DATA, "truncated");
    }
    free(w.bytes);
}

static void test_lying_headers(void **state) {
    (void)state;
    const struct {
        size_t at;
        uint64_t value;
        int bytes;
    } lies[] = {{22, 0, 2}, {22, 65535, 2}, {24, 0, 4},          {24, 4000000000u, 4},
                {32, 0, 2}, {34, 0, 2},     {40, 2000000000, 4}, {16, 4, 4}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        for (int r = 0; r < 2; r++) {
            wav w = make(PCM, 16, 2, 16000, 3000);
            put(w.bytes + lies[i].at, lies[i].value, lies[i].bytes);
            ec_audio audio = {0};
            ec_status status = readers[r](save(&w, w.size), NULL, &audio);
            /* FFmpeg repairs some of these; nobody may crash or return more than there is. */
            if (status == EC_OK) assert_true(r == 1 && audio.count > 0 && audio.count <= 6000);
            else assert_true(status == EC_ERR_DATA || status == EC_ERR_ENV);
            ec__audio_release(&audio);
            free(w.bytes);
        }
    /* A size that could not be filled in later (0 or all ones) means: to the end of the file. */
    for (int all_ones = 0; all_ones < 2; all_ones++)
        for (int r = 0; r < 2; r++) {
            wav w = make(PCM, 16, 2, 16000, 3000);
            put(w.bytes + 4, all_ones ? UINT32_MAX : 0, 4);
            put(w.bytes + 40, all_ones ? UINT32_MAX : 0, 4);
            ec_audio audio = {0};
            CHECK_OK(readers[r](save(&w, w.size), NULL, &audio));
            check_samples(&audio, 0, 3000, 2, 16000);
            ec__audio_release(&audio);
            free(w.bytes);
        }
}

static void test_values(void **state) {
    (void)state;
    for (int r = 0; r < 2; r++) {
        wav w = make(IEEE_FLOAT, 32, 1, 16000, 3000);
        float nan = NAN;
        memcpy(w.bytes + HEAD + 4 * 1234, &nan, 4);
        expect(readers[r], save(&w, w.size), EC_ERR_DATA, "sample 1234");
        free(w.bytes);
    }
    wav w = make(2, 4, 1, 16000, 3000); /* ADPCM: compressed */
    expect(ec__wav_decode, save(&w, w.size), EC_ERR_ENV, "FFmpeg");
    memcpy(w.bytes, "OggS", 4);
    expect(ec__wav_decode, save(&w, w.size), EC_ERR_ENV, "not a WAV file");
    free(w.bytes);
}

static void test_tolerate(void **state) {
    (void)state;
    wav w = make(PCM, 16, 2, 16000, 9000);
    for (int r = 0; r < 2; r++) {
        ec_audio audio = {0};
        CHECK_OK(readers[r](save(&w, HEAD + 4 * 5000), &(ec_audio_options){.tolerate_damage = true}, &audio));
        check_samples(&audio, 0, 5000, 2, 16000);
        ec__audio_release(&audio);
        CHECK_ERROR(readers[r](save(&w, HEAD), &(ec_audio_options){.tolerate_damage = true}, &audio), EC_ERR_DATA,
                    NULL);
    }
    free(w.bytes);
}

/* Random bytes behind and inside a header: an error or a waveform, never a crash. */
static void test_noise(void **state) {
    (void)state;
    float noise[2000];
    for (uint64_t seed = 0; seed < 60; seed++)
        for (int r = 0; r < 2; r++) {
            wav w = make(PCM, 16, 2, 16000, 500);
            test_fill(noise, 2000, seed);
            for (int i = 0; i < 12; i++) { /* a dozen bytes of the first 64 */
                size_t at = (size_t)((noise[2 * i] + 1) * (seed % 2 ? 32 : 22));
                w.bytes[at] = (uint8_t)((noise[2 * i + 1] + 1) * 128);
            }
            ec_audio audio = {0};
            if (readers[r](save(&w, w.size), NULL, &audio) == EC_OK)
                for (int64_t i = 0; i < audio.count; i++) assert_true(isfinite(audio.samples[i]));
            ec__audio_release(&audio);
            free(w.bytes);
        }
}

static void check_clip(const ec_clip_config *config, int64_t samples, int64_t clip, int64_t first, const float *want) {
    float x[32], out[16];
    for (int i = 0; i < 32; i++) x[i] = (float)(i + 1);
    int64_t start = ec__clip_start(config, samples, clip, 0, 0);
    assert_int_equal(start, first);
    ec__clip_copy(config, x, samples, start, out);
    for (int64_t i = 0; i < config->length; i++) assert_true(out[i] == (want ? want[i] : x[first + i]));
}

static int64_t count_of(const ec_clip_config *config, int64_t samples) {
    int64_t count = -1;
    CHECK_OK(ec__clip_count(config, samples, &count));
    return count;
}

static void test_clips(void **state) {
    (void)state;
    ec_clip_config c = {.mode = EC_CLIP_FIRST, .length = 8};
    assert_int_equal(count_of(&c, 21), 1);
    check_clip(&c, 21, 0, 0, NULL);
    c.mode = EC_CLIP_CENTER;
    check_clip(&c, 21, 0, 6, NULL);
    c.mode = EC_CLIP_ALL;
    assert_int_equal(count_of(&c, 24), 3);
    assert_int_equal(count_of(&c, 23), 2);
    check_clip(&c, 24, 2, 16, NULL);
    c.overlap = 0.5;
    assert_int_equal(count_of(&c, 21), 4); /* 0 4 8 12 */
    check_clip(&c, 21, 3, 12, NULL);
    c.overlap = 0.999; /* a step of at least one sample */
    assert_int_equal(count_of(&c, 21), 14);
    int64_t count;
    CHECK_ERROR(ec__clip_count(&c, 7, &count), EC_ERR_DATA, "7 samples are too few for a clip of 8");
    c.overlap = 1;
    CHECK_ERROR(ec__clip_count(&c, 21, &count), EC_ERR_USAGE, "overlap");
    c = (ec_clip_config){.length = 0};
    CHECK_ERROR(ec__clip_count(&c, 21, &count), EC_ERR_USAGE, "0 samples");
    /* Too short for a clip. */
    c = (ec_clip_config){.mode = EC_CLIP_ALL, .length = 8, .when_short = EC_CLIP_SHORT_ZERO};
    assert_int_equal(count_of(&c, 3), 1);
    check_clip(&c, 3, 0, 0, (const float[]){1, 2, 3, 0, 0, 0, 0, 0});
    c.when_short = EC_CLIP_SHORT_REPEAT;
    check_clip(&c, 3, 0, 0, (const float[]){1, 2, 3, 1, 2, 3, 1, 2});
    c.when_short = EC_CLIP_SHORT_REPEAT_PAD;
    check_clip(&c, 3, 0, 0, (const float[]){1, 2, 3, 1, 2, 3, 0, 0});
    check_clip(&c, 8, 0, 0, NULL);
}

static void test_random_crops(void **state) {
    (void)state;
    ec_clip_config c = {.mode = EC_CLIP_RANDOM, .length = 100, .seed = 3};
    int seen[11] = {0};
    for (uint32_t step = 0; step < 4; step++)
        for (uint64_t index = 0; index < 1000; index++) {
            int64_t start = ec__clip_start(&c, 110, 0, step, index);
            assert_in_range(start, 0, 10);
            assert_int_equal(start, ec__clip_start(&c, 110, 0, step, index));
            seen[start]++;
        }
    /* 4000 draws over 11 places, 364 expected in each, standard deviation 18: six of them. */
    for (int i = 0; i <= 10; i++) assert_in_range(seen[i], 254, 474);
    assert_int_equal(ec__clip_start(&c, 100, 0, 1, 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats), cmocka_unit_test(test_cut),      cmocka_unit_test(test_broken),
        cmocka_unit_test(test_lying_headers), cmocka_unit_test(test_values), cmocka_unit_test(test_tolerate),
        cmocka_unit_test(test_noise),   cmocka_unit_test(test_clips),    cmocka_unit_test(test_random_crops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
