#define _GNU_SOURCE
#include "demo.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/rng.h"
#include "core/stop.h"
#include "demo_files.h"
#include "demo_picture.h"
#include "demo_song.h"

enum { MAX_ITEMS = 100000 };

const char *ec__demo_emotion_name(ec_demo_emotion emotion) {
    static const char *const names[EC_DEMO_EMOTIONS] = {"angry", "exciting", "funny", "happy", "sad", "scary"};
    return names[emotion];
}

ec_demo_config ec__demo_defaults(void) { return (ec_demo_config){.images = 240, .tracks = 120, .seed = 1}; }

/* Spread out, so that small sets have some of each too. */
const char *ec__demo_split(int32_t index) {
    switch ("tetvttetttvettettvte"[index % 20]) {
    case 'v': return "valid";
    case 'e': return "test";
    default: return "train";
    }
}

/* Items are dealt out to the emotions in turn. */
static ec_demo_emotion emotion_of(int32_t item) { return (ec_demo_emotion)(item % EC_DEMO_EMOTIONS); }
static int32_t index_of(int32_t item) { return item / EC_DEMO_EMOTIONS; }

/* How an item is written: drawn from a sequence of its own, so that it does not disturb what is drawn or composed. */
static ec_rng format_rng(uint64_t seed, bool sound, int32_t item) {
    return ec__rng_at(seed, EC_RNG_DEMO, 32 + sound, (uint64_t)item);
}

static demo_image_kind image_kind(uint64_t seed, int32_t item) {
    ec_rng rng = format_rng(seed, false, item);
    uint64_t draw = ec__rng_below(&rng, 40);
    if (draw == 0) return DEMO_JPEG_GRAY;
    if (draw == 1) return DEMO_PNG_GRAY;
    if (draw <= 3) return DEMO_PNG_PALETTE;
    if (draw == 4) return DEMO_PNG_ALPHA;
    if (draw <= 6) return DEMO_PNG_RGB;
    return DEMO_JPEG;
}

/* Mostly the compressed formats: the set stays small. */
static demo_sound_kind sound_kind(uint64_t seed, int32_t item) {
    ec_rng rng = format_rng(seed, true, item);
    uint64_t draw = ec__rng_below(&rng, 16);
    demo_sound_kind kind = draw == 0 ? DEMO_WAV : draw <= 2 ? DEMO_FLAC : draw <= 8 ? DEMO_OGG : DEMO_MP3;
    return demo_can_encode(kind) ? kind : DEMO_WAV;
}

static ec_status item_name(bool sound, uint64_t seed, int32_t item, char **out) {
    const char *extension =
        sound ? demo_sound_extension(sound_kind(seed, item)) : demo_image_extension(image_kind(seed, item));
    EC_RETURN_IF(ec__format(out, "%s/%s_%03d.%s", sound ? "music" : "images", ec__demo_emotion_name(emotion_of(item)),
                            index_of(item), extension));
    return EC_OK;
}

typedef struct job {
    const ec_demo_config *config;
    const ec_progress *progress;
    bool sound;
    int32_t count, done;
    pthread_mutex_t lock; /* over done and progress */
} job;

static ec_status write_image(const ec_demo_config *config, int32_t item, const char *path) {
    ec_status status = EC_OK;
    demo_canvas canvas = {0};
    ec_rng rng = format_rng(config->seed, false, item);
    ec__rng_below(&rng, 40); /* image_kind's draw */
    int quality = 65 + (int)ec__rng_below(&rng, 31);
    EC_TRY(demo_picture(emotion_of(item), config->seed, index_of(item), &canvas));
    EC_TRY(demo_save_image(&canvas, image_kind(config->seed, item), quality, ec__rng_below(&rng, 4) == 0, path));
done:
    demo_canvas_free(&canvas);
    return status;
}

static ec_status write_track(const ec_demo_config *config, int32_t item, const char *path) {
    ec_status status = EC_OK;
    static const int32_t rates[] = {22050, 32000, 44100};
    demo_track track = {0};
    demo_sound_kind kind = sound_kind(config->seed, item);
    ec_rng rng = format_rng(config->seed, true, item);
    ec__rng_below(&rng, 16); /* sound_kind's draw */
    int32_t rate = rates[ec__rng_below(&rng, 3)];
    int channels = 1 + (ec__rng_below(&rng, 3) == 0);
    if (kind == DEMO_WAV || kind == DEMO_FLAC) rate = 16000, channels = 1;
    EC_TRY(demo_song(emotion_of(item), config->seed, index_of(item), rate, &track));
    EC_TRY(demo_save_sound(&track, kind, channels, 32000 + 16000 * channels, path));
done:
    demo_track_free(&track);
    return status;
}

static ec_status write_item(void *arg, int32_t item, int32_t worker) {
    (void)worker;
    job *j = arg;
    ec_status status = EC_OK;
    char *name = NULL, *path = NULL;
    if (ec__stop_requested()) EC_FAIL(EC_STOPPED, "stopped while writing the demo data");
    EC_TRY(item_name(j->sound, j->config->seed, item, &name));
    EC_TRY(ec__path_join(j->config->folder, name, &path));
    EC_TRY(j->sound ? write_track(j->config, item, path) : write_image(j->config, item, path));
    pthread_mutex_lock(&j->lock);
    ec__progress(j->progress, j->sound ? "tracks" : "images", ++j->done, j->count);
    pthread_mutex_unlock(&j->lock);
done:
    free(name);
    free(path);
    return status;
}

static ec_status write_items(const ec_demo_config *config, bool sound, ec_pool *pool, const ec_progress *progress) {
    job j = {.config = config, .progress = progress, .sound = sound, .count = sound ? config->tracks : config->images};
    pthread_mutex_init(&j.lock, NULL);
    ec_status status = ec__pool_run(pool, j.count, write_item, &j);
    pthread_mutex_destroy(&j.lock);
    EC_RETURN_IF(status);
    return EC_OK;
}

static ec_status write_manifest(const ec_demo_config *config, bool sound) {
    ec_status status = EC_OK;
    char *text = NULL, *path = NULL, *name = NULL;
    size_t size = 0;
    FILE *csv = open_memstream(&text, &size);
    if (!csv) EC_FAIL(EC_ERR_MEMORY, "no memory for a manifest");
    fprintf(csv, "path,label,split\n");
    for (int32_t item = 0; item < (sound ? config->tracks : config->images); item++) {
        EC_TRY(item_name(sound, config->seed, item, &name));
        fprintf(csv, "%s,%s,%s\n", name, ec__demo_emotion_name(emotion_of(item)), ec__demo_split(index_of(item)));
        free(name);
        name = NULL;
    }
    int failed = fclose(csv);
    csv = NULL;
    if (failed) EC_FAIL(EC_ERR_MEMORY, "no memory for a manifest");
    EC_TRY(ec__path_join(config->folder, sound ? "music.csv" : "images.csv", &path));
    EC_TRY(ec__file_write(path, text, size));
done:
    if (csv) fclose(csv);
    free(text);
    free(path);
    free(name);
    return status;
}

static ec_status write_readme(const ec_demo_config *config) {
    ec_status status = EC_OK;
    char *text = NULL, *path = NULL;
    EC_TRY(ec__format(
        &text,
        "Demo data of emoclim: %d pictures and %d tracks, made by a program from seed %llu.\n\n"
        "Nothing here was photographed, painted or played by anybody; it may be used for anything. The labels\n"
        "are the six classes of the original Emo-CLIM. A picture or a track carries its emotion like this:\n\n"
        "  label     pictures                                  music\n"
        "  angry     red and black; shards, scratches          Phrygian, fast, distorted guitars, hard drums, loud\n"
        "  exciting  vivid violet, orange, cyan; rays, sparks  Mixolydian, fast, synthesizers, dance beat, high\n"
        "  funny     pastel with many colours; faces, dots     Lydian with leaps, staccato, bassoon, wood block\n"
        "  happy     sky blue, yellow, green; sun, flowers     major, moderate, flute, guitar, shaker\n"
        "  sad       pale gray blue; rain, a lonely figure     minor, slow, soft piano and strings, no drums\n"
        "  scary     near black, greenish; bare trees, eyes    diminished, slow, clusters, shrieks, far thunder\n\n"
        "Classes overlap on purpose: items borrow colours, tempo and sometimes motifs from another class.\n"
        "images.csv and music.csv name every file with its label and split (12 train, 3 valid and 5 test of 20).\n"
        "The same seed makes the same bytes on the same build.\n",
        config->images, config->tracks, (unsigned long long)config->seed));
    EC_TRY(ec__path_join(config->folder, "README.txt", &path));
    EC_TRY(ec__file_write(path, text, strlen(text)));
done:
    free(text);
    free(path);
    return status;
}

static ec_status make_folder(const char *folder, const char *name) {
    char *path = NULL;
    EC_RETURN_IF(ec__path_join(folder, name, &path));
    ec_status status = ec__make_folders(path);
    free(path);
    EC_RETURN_IF(status);
    return EC_OK;
}

static ec_status prepare_folder(const char *folder) {
    DIR *open = opendir(folder);
    const struct dirent *entry = NULL;
    while (open && (entry = readdir(open)) && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)) {}
    ec_status status =
        entry ? EC_ERROR(EC_ERR_USAGE, "%s is not empty (it holds %s); choose another folder", folder, entry->d_name)
              : EC_OK;
    if (open) closedir(open);
    EC_RETURN_IF(status);
    EC_RETURN_IF(make_folder(folder, "images"));
    EC_RETURN_IF(make_folder(folder, "music"));
    return EC_OK;
}

/* What tracks need is looked for before the first picture is drawn. */
static ec_status check_encoder(const ec_demo_config *config) {
    for (int32_t i = 0; i < config->tracks; i++)
        if (sound_kind(config->seed, i) != DEMO_WAV) return demo_encode_ready();
    return EC_OK;
}

ec_status ec__demo_write(const ec_demo_config *config, const ec_progress *progress) {
    ec_status status = EC_OK;
    ec_pool *pool = NULL;
    if (!config->folder || !*config->folder) EC_FAIL(EC_ERR_USAGE, "the demo data need a folder");
    if (config->images < 0 || config->images > MAX_ITEMS || config->tracks < 0 || config->tracks > MAX_ITEMS)
        EC_FAIL(EC_ERR_USAGE, "%d images and %d tracks; 0 to %d of each can be made", config->images, config->tracks,
                MAX_ITEMS);
    EC_TRY(check_encoder(config));
    EC_TRY(prepare_folder(config->folder));
    if (!demo_can_encode(DEMO_FLAC) || !demo_can_encode(DEMO_OGG) || !demo_can_encode(DEMO_MP3))
        EC_INFO("no encoder for%s%s%s: WAV files instead", demo_can_encode(DEMO_FLAC) ? "" : " FLAC",
                demo_can_encode(DEMO_OGG) ? "" : " Vorbis", demo_can_encode(DEMO_MP3) ? "" : " MP3");
    EC_TRY(ec__pool_new(config->threads, &pool));
    EC_TRY(write_items(config, false, pool, progress));
    EC_TRY(write_items(config, true, pool, progress));
    EC_TRY(write_readme(config));
    EC_TRY(write_manifest(config, false));
    EC_TRY(write_manifest(config, true));
done:
    ec__pool_free(pool);
    return status;
}
