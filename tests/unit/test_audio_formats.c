/* Compressed sound files, whole and damaged: what is missing or broken is told, what only follows the music is not. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "demo_files.h"
#include "demo_song.h"
#include "media/audio.h"
#include "support.h"

typedef struct sound {
    demo_sound_kind kind;
    int64_t count; /* samples */
    char *bytes;
    size_t size;
} sound;

static sound make(demo_sound_kind kind) {
    sound s = {.kind = kind};
    char path[4300];
    demo_track track = {0};
    snprintf(path, sizeof path, "%s/whole.%s", test_folder(), demo_sound_extension(kind));
    CHECK_OK(demo_song(EC_DEMO_HAPPY, 1, 0, 22050, &track));
    CHECK_OK(demo_save_sound(&track, kind, 1, 48000, path));
    CHECK_OK(ec__file_read(path, 1 << 24, &s.bytes, &s.size));
    s.count = track.count;
    demo_track_free(&track);
    return s;
}

/* A file of the first keep bytes and extra bytes of appendix. */
static const char *save(const sound *s, size_t keep, const char *appendix, size_t extra) {
    static char path[4300];
    snprintf(path, sizeof path, "%s/test.%s", test_folder(), demo_sound_extension(s->kind));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(s->bytes, 1, keep, file), keep);
    assert_int_equal(fwrite(appendix, 1, extra, file), extra);
    fclose(file);
    return path;
}

static int64_t samples_of(const char *path, bool tolerate_damage) {
    ec_audio audio = {0};
    CHECK_OK(ec__audio_decode(path, &(ec_audio_options){.tolerate_damage = tolerate_damage}, &audio));
    int64_t count = audio.count;
    ec__audio_release(&audio);
    return count;
}

static void check_cut(const sound *s) {
    ec_audio whole = {0}, part = {0};
    const char *path = save(s, s->size, "", 0);
    CHECK_OK(ec__audio_decode(path, NULL, &whole));
    assert_int_equal(whole.count, s->count);
    CHECK_OK(ec__audio_decode(path, &(ec_audio_options){.start_s = 2.5, .end_s = 4}, &part));
    assert_int_equal(part.count, 33075);
    assert_memory_equal(part.samples, whole.samples + 55125, 33075 * sizeof *part.samples);
    ec__audio_release(&whole);
    ec__audio_release(&part);
}

static void check_damage(sound *s) {
    ec_audio audio = {0};
    /* Tags behind the music: ID3v1, APEv2-like, and just something. */
    char tag[400] = "TAG";
    assert_int_equal(samples_of(save(s, s->size, tag, 128), false), s->count);
    memset(tag, 'x', sizeof tag);
    assert_int_equal(samples_of(save(s, s->size, tag, sizeof tag), false), s->count);
    /* The second half is missing. */
    const char *path = save(s, s->size / 2, "", 0);
    CHECK_ERROR(ec__audio_decode(path, NULL, &audio), EC_ERR_DATA, path);
    assert_in_range(samples_of(path, true), s->count / 4, s->count * 3 / 4);
    CHECK_ERROR(ec__audio_decode(save(s, s->size - 2500, "", 0), NULL, &audio), EC_ERR_DATA, path);
    /* A hole in the middle. */
    char *kept = malloc(4000);
    memcpy(kept, s->bytes + s->size / 2, 4000);
    memset(s->bytes + s->size / 2, 0, 4000);
    CHECK_ERROR(ec__audio_decode(save(s, s->size, "", 0), NULL, &audio), EC_ERR_DATA, path);
    assert_in_range(samples_of(path, true), s->count / 2, s->count);
    memcpy(s->bytes + s->size / 2, kept, 4000);
    free(kept);
}

static void check(demo_sound_kind kind) {
    if (!demo_can_encode(kind)) skip(); /* this build cannot make one to test with */
    sound s = make(kind);
    check_cut(&s);
    check_damage(&s);
    free(s.bytes);
}

static void test_flac(void **state) {
    (void)state;
    check(DEMO_FLAC);
}

static void test_vorbis(void **state) {
    (void)state;
    check(DEMO_OGG);
}

static void test_mp3(void **state) {
    (void)state;
    check(DEMO_MP3);
}

/* One wrong bit inside a FLAC file: the frame's checksum tells. */
static void test_flac_bit(void **state) {
    (void)state;
    if (!demo_can_encode(DEMO_FLAC)) skip();
    ec_audio audio = {0};
    sound s = make(DEMO_FLAC);
    s.bytes[s.size / 2] ^= 1;
    CHECK_ERROR(ec__audio_decode(save(&s, s.size, "", 0), NULL, &audio), EC_ERR_DATA, "damaged after");
    free(s.bytes);
}

static void test_no_sound(void **state) {
    (void)state;
    if (!demo_can_encode(DEMO_FLAC)) skip();
    demo_canvas canvas = {0};
    char path[4300];
    ec_audio audio = {0};
    CHECK_OK(demo_canvas_new(64, 48, 0, &canvas));
    snprintf(path, sizeof path, "%s/picture.png", test_folder());
    CHECK_OK(demo_save_image(&canvas, DEMO_PNG_RGB, 0, false, path));
    CHECK_ERROR(ec__audio_decode(path, NULL, &audio), EC_ERR_DATA, "no audio stream");
    demo_canvas_free(&canvas);
    sound text = {.kind = DEMO_MP3, .bytes = malloc(6000)};
    memset(text.bytes, 'w', 6000);
    CHECK_ERROR(ec__audio_decode(save(&text, 6000, "", 0), NULL, &audio), EC_ERR_DATA, "test.mp3");
    free(text.bytes);
}

/* A list of sound files is no sound file: nothing but the named file is opened. */
static void test_playlist(void **state) {
    (void)state;
    if (!demo_can_encode(DEMO_MP3)) skip();
    ec_audio audio = {0};
    sound s = make(DEMO_MP3); /* whole.mp3, in the same folder */
    const char *const lists[] = {"ffconcat version 1.0\nfile whole.mp3\n",
                                 "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nwhole.mp3\n#EXT-X-ENDLIST\n"};
    for (int i = 0; i < 2; i++) {
        sound list = {.kind = DEMO_MP3, .bytes = (char *)lists[i]};
        CHECK_ERROR(ec__audio_decode(save(&list, strlen(lists[i]), "", 0), NULL, &audio), EC_ERR_DATA, "test.mp3");
    }
    free(s.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flac),     cmocka_unit_test(test_vorbis),   cmocka_unit_test(test_mp3),
        cmocka_unit_test(test_flac_bit), cmocka_unit_test(test_no_sound), cmocka_unit_test(test_playlist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
