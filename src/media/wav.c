#define _GNU_SOURCE
#include "media/wav.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "media/audio_sink.h"

typedef struct wav {
    const char *path;
    int fd;
    int64_t size;        /* of the file */
    uint8_t format_chunk[40];
    int64_t format_bytes; /* of it that the file has; 0 until it is found */
    ec_sample_format format;
    int32_t rate, channels, frame_bytes;
    int64_t data_at, data_bytes; /* the samples; data_bytes < 0 until they are found */
    int64_t rf64_data_bytes;     /* from a ds64 chunk; -1 without one */
} wav;

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }
static int64_t i64(const uint8_t *p) { return (int64_t)((uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32); }

static ec_status open_wav(wav *w, const char *path) {
    struct stat info;
    uint8_t head[12];
    *w = (wav){.path = path, .data_bytes = -1, .rf64_data_bytes = -1};
    w->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not block */
    if (w->fd < 0) return EC_ERROR(EC_ERR_DATA, "cannot open %s: %s", path, strerror(errno));
    if (fstat(w->fd, &info) != 0) return EC_ERROR(EC_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return EC_ERROR(EC_ERR_DATA, "%s is not a regular file", path);
    w->size = info.st_size;
    if (w->size == 0) return EC_ERROR(EC_ERR_DATA, "%s is empty", path);
    if (w->size < 12) return EC_ERROR(EC_ERR_DATA, "%s: %lld bytes are no sound file", path, (long long)w->size);
    EC_RETURN_IF(ec__pread_exact(w->fd, path, head, sizeof head, 0));
    if ((memcmp(head, "RIFF", 4) != 0 && memcmp(head, "RF64", 4) != 0) || memcmp(head + 8, "WAVE", 4) != 0)
        return EC_ERROR(EC_ERR_ENV, "%s is not a WAV file; other formats need a build with FFmpeg", path);
    return EC_OK;
}

static ec_status parse_format(wav *w) {
    enum { PCM = 1, IEEE_FLOAT = 3, EXTENSIBLE = 0xFFFE };
    const uint8_t *chunk = w->format_chunk;
    int64_t bytes = w->format_bytes;
    if (bytes == 0) return EC_ERROR(EC_ERR_DATA, "%s: no format chunk before the samples", w->path);
    if (bytes < 16)
        return EC_ERROR(EC_ERR_DATA, "%s: a format chunk of %lld bytes; 16 are needed", w->path, (long long)bytes);
    uint32_t code = u16(chunk), channels = u16(chunk + 2), rate = u32(chunk + 4);
    uint32_t block = u16(chunk + 12), bits = u16(chunk + 14);
    if (code == EXTENSIBLE && bytes >= 26) code = u16(chunk + 24); /* the first two bytes of the sub-format's GUID */
    if (code == PCM && bits == 8) w->format = EC_SAMPLE_U8;
    else if (code == PCM && bits == 16) w->format = EC_SAMPLE_S16;
    else if (code == PCM && bits == 24) w->format = EC_SAMPLE_S24;
    else if (code == PCM && bits == 32) w->format = EC_SAMPLE_S32;
    else if (code == IEEE_FLOAT && bits == 32) w->format = EC_SAMPLE_F32;
    else if (code == IEEE_FLOAT && bits == 64) w->format = EC_SAMPLE_F64;
    else
        return EC_ERROR(EC_ERR_ENV, "%s: WAV format %u with %u bits needs a build with FFmpeg", w->path, code, bits);
    if (channels < 1 || channels > EC_AUDIO_MAX_CHANNELS)
        return EC_ERROR(EC_ERR_DATA, "%s has %u channels; 1 to %d can be read", w->path, channels,
                        EC_AUDIO_MAX_CHANNELS);
    if (block != channels * (bits / 8))
        return EC_ERROR(EC_ERR_DATA, "%s: a frame of %u channels of %u bits cannot have %u bytes", w->path, channels,
                        bits, block);
    if (rate < 1 || rate > EC_AUDIO_MAX_RATE)
        return EC_ERROR(EC_ERR_DATA, "%s: a rate of %u samples a second; 1 to %d can be read", w->path, rate,
                        EC_AUDIO_MAX_RATE);
    w->channels = (int32_t)channels;
    w->rate = (int32_t)rate;
    w->frame_bytes = (int32_t)block;
    return EC_OK;
}

/* Reads one chunk's head at *at and its contents where they matter; moves *at behind it. */
static ec_status read_chunk(wav *w, int64_t *at) {
    uint8_t head[8], sizes[16];
    EC_RETURN_IF(ec__pread_exact(w->fd, w->path, head, sizeof head, *at));
    int64_t bytes = u32(head + 4), begin = *at + 8;
    if (memcmp(head, "data", 4) == 0) {
        /* A program that wrote to a pipe could not go back to fill in the size and left 0 or all ones. */
        bool unknown = bytes == 0 || bytes == UINT32_MAX;
        w->data_at = begin;
        w->data_bytes = !unknown ? bytes : w->rf64_data_bytes >= 0 ? w->rf64_data_bytes : w->size - begin;
    } else if (memcmp(head, "fmt ", 4) == 0) {
        w->format_bytes = bytes < (int64_t)sizeof w->format_chunk ? bytes : (int64_t)sizeof w->format_chunk;
        EC_RETURN_IF(ec__pread_exact(w->fd, w->path, w->format_chunk, (size_t)w->format_bytes, begin));
    } else if (memcmp(head, "ds64", 4) == 0 && bytes >= (int64_t)sizeof sizes) {
        EC_RETURN_IF(ec__pread_exact(w->fd, w->path, sizes, sizeof sizes, begin));
        if (i64(sizes + 8) >= 0) w->rf64_data_bytes = i64(sizes + 8);
    }
    *at = begin + bytes + (bytes & 1); /* chunks begin at even addresses */
    return EC_OK;
}

static ec_status find_data(wav *w) {
    int64_t at = 12;
    while (w->data_bytes < 0) {
        if (w->size - at < 8) return EC_ERROR(EC_ERR_DATA, "%s ends before its samples (no data chunk)", w->path);
        EC_RETURN_IF(read_chunk(w, &at));
    }
    return EC_OK;
}

/* An error, or where damage is tolerated a warning, if the file ends before its samples do. */
static ec_status check_length(wav *w, bool tolerate_damage) {
    int64_t present = w->size - w->data_at;
    if (w->data_bytes <= present) return EC_OK;
    ec_status status =
        EC_ERROR(EC_ERR_DATA, "%s is truncated: its header promises %lld bytes of samples, %lld are there", w->path,
                 (long long)w->data_bytes, (long long)present);
    if (!tolerate_damage) return status;
    EC_WARN("%s", ec_error_last()->text);
    w->data_bytes = present;
    return EC_OK;
}

static ec_status read_samples(wav *w, ec_audio_sink *sink) {
    enum { FRAMES = 4096 };
    ec_status status = EC_OK;
    uint8_t *buffer = malloc((size_t)FRAMES * (size_t)w->frame_bytes);
    if (!buffer) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for %d frames", w->path, FRAMES);
    EC_TRY(ec__audio_sink_rate(sink, w->rate));
    int64_t frames = w->data_bytes / w->frame_bytes;
    for (int64_t done = 0; done < frames && !ec__audio_sink_full(sink);) {
        int64_t block = frames - done < FRAMES ? frames - done : FRAMES;
        EC_TRY(ec__pread_exact(w->fd, w->path, buffer, (size_t)(block * w->frame_bytes),
                               w->data_at + done * w->frame_bytes));
        EC_TRY(ec__audio_sink_push(sink, (const uint8_t *const[]){buffer}, w->format, false, w->channels, block));
        done += block;
    }
done:
    free(buffer);
    return status;
}

ec_status ec__wav_decode(const char *path, const ec_audio_options *options, ec_audio *out) {
    ec_status status = EC_OK;
    wav w = {.fd = -1};
    ec_audio_sink sink;
    EC_TRY(ec__audio_sink_init(&sink, path, options));
    EC_TRY(open_wav(&w, path));
    EC_TRY(find_data(&w));
    EC_TRY(parse_format(&w));
    EC_TRY(check_length(&w, sink.options.tolerate_damage));
    EC_TRY(read_samples(&w, &sink));
    EC_TRY(ec__audio_sink_finish(&sink, out));
done:
    if (w.fd >= 0) close(w.fd);
    ec__audio_sink_release(&sink);
    return status;
}

ec_status ec__wav_check_length(const char *path, bool tolerate_damage) {
    ec_status status = EC_OK;
    wav w = {.fd = -1};
    /* What this reader does not understand it does not judge. */
    if (open_wav(&w, path) == EC_OK && find_data(&w) == EC_OK) EC_TRY(check_length(&w, tolerate_damage));
    else ec_error_clear();
done:
    if (w.fd >= 0) close(w.fd);
    return status;
}
