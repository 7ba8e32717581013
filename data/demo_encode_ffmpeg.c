#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/channel_layout.h>
#include <math.h>
#include <stdlib.h>

#include "demo_files.h"
#include "core/file.h"
#include "media/avlog_ffmpeg.h"

typedef struct writer {
    const char *path;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
} writer;

#define TRY_AV(call, what)                                       \
    do {                                                         \
        int code_ = (call);                                      \
        if (code_ < 0) return ec__av_error(code_, w->path, what); \
    } while (0)

static const AVCodec *encoder_of(demo_sound_kind kind) {
    static const char *const names[] = {NULL, "flac", "libvorbis", "libmp3lame"};
    return kind == DEMO_WAV ? NULL : avcodec_find_encoder_by_name(names[kind]);
}

bool demo_can_encode(demo_sound_kind kind) { return kind == DEMO_WAV || encoder_of(kind) != NULL; }

ec_status demo_encode_ready(void) { return EC_OK; }

static enum AVSampleFormat format_of(demo_sound_kind kind) {
    return kind == DEMO_FLAC ? AV_SAMPLE_FMT_S16 : AV_SAMPLE_FMT_FLTP;
}

/* Bit-exact: no version strings, dates or random serial numbers in the file. */
static ec_status open_writer(writer *w, demo_sound_kind kind, int channels, int rate, int bit_rate) {
    char *url = NULL;
    const AVCodec *encoder = encoder_of(kind);
    if (!encoder) return EC_ERROR(EC_ERR_ENV, "%s: this FFmpeg has no encoder for it", w->path);
    EC_RETURN_IF(ec__format(&url, "file:%s", w->path));
    int code = avformat_alloc_output_context2(&w->format, NULL, demo_sound_extension(kind), url);
    if (code >= 0) code = avio_open(&w->format->pb, url, AVIO_FLAG_WRITE);
    free(url);
    TRY_AV(code, "cannot create it");
    w->codec = avcodec_alloc_context3(encoder);
    w->stream = avformat_new_stream(w->format, NULL);
    w->frame = av_frame_alloc();
    w->packet = av_packet_alloc();
    if (!w->codec || !w->stream || !w->frame || !w->packet)
        return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for an encoder", w->path);
    w->codec->sample_rate = rate;
    w->codec->sample_fmt = format_of(kind);
    w->codec->time_base = (AVRational){1, rate};
    w->codec->thread_count = 1;
    if (kind != DEMO_FLAC) w->codec->bit_rate = bit_rate;
    av_channel_layout_default(&w->codec->ch_layout, channels);
    w->codec->flags |= AV_CODEC_FLAG_BITEXACT;
    if (w->format->oformat->flags & AVFMT_GLOBALHEADER) w->codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    w->format->flags |= AVFMT_FLAG_BITEXACT;
    TRY_AV(avcodec_open2(w->codec, encoder, NULL), "cannot open its encoder");
    TRY_AV(avcodec_parameters_from_context(w->stream->codecpar, w->codec), "cannot describe its stream");
    w->stream->time_base = w->codec->time_base;
    TRY_AV(avformat_write_header(w->format, NULL), "cannot write its header");
    return EC_OK;
}

static void close_writer(writer *w) {
    av_packet_free(&w->packet);
    av_frame_free(&w->frame);
    avcodec_free_context(&w->codec);
    if (w->format) avio_closep(&w->format->pb);
    avformat_free_context(w->format);
}

/* frame: NULL at the end. */
static ec_status encode_frame(writer *w, const AVFrame *frame) {
    TRY_AV(avcodec_send_frame(w->codec, frame), "cannot encode");
    for (;;) {
        int code = avcodec_receive_packet(w->codec, w->packet);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return EC_OK;
        TRY_AV(code, "cannot encode");
        av_packet_rescale_ts(w->packet, w->codec->time_base, w->stream->time_base);
        w->packet->stream_index = w->stream->index;
        TRY_AV(av_interleaved_write_frame(w->format, w->packet), "cannot write");
    }
}

static ec_status encode_block(writer *w, const float *samples, int64_t at, int count, int channels) {
    AVFrame *f = w->frame;
    f->nb_samples = count;
    f->format = w->codec->sample_fmt;
    f->sample_rate = w->codec->sample_rate;
    f->pts = at;
    TRY_AV(av_channel_layout_copy(&f->ch_layout, &w->codec->ch_layout), "cannot encode");
    TRY_AV(av_frame_get_buffer(f, 0), "cannot encode");
    bool integers = f->format == AV_SAMPLE_FMT_S16;
    for (int i = 0; i < count; i++)
        for (int c = 0; c < channels; c++) {
            float x = fminf(fmaxf(samples[(at + i) * channels + c], -1), 1);
            if (integers) ((int16_t *)f->data[0])[i * channels + c] = (int16_t)lroundf(32767 * x);
            else ((float *)f->data[c])[i] = x;
        }
    ec_status status = encode_frame(w, f);
    av_frame_unref(f);
    EC_RETURN_IF(status);
    return EC_OK;
}

static ec_status encode_all(writer *w, const float *samples, int64_t count, int channels) {
    int block = w->codec->frame_size > 0 ? w->codec->frame_size : 4096;
    for (int64_t at = 0; at < count; at += block)
        EC_RETURN_IF(encode_block(w, samples, at, count - at < block ? (int)(count - at) : block, channels));
    EC_RETURN_IF(encode_frame(w, NULL));
    TRY_AV(av_write_trailer(w->format), "cannot finish it");
    return EC_OK;
}

ec_status demo_encode(const float *samples, int64_t count, int channels, int rate, demo_sound_kind kind, int bit_rate,
                      const char *path) {
    ec_status status = EC_OK;
    writer w = {.path = path};
    ec__av_begin();
    EC_TRY(open_writer(&w, kind, channels, rate, bit_rate));
    EC_TRY(encode_all(&w, samples, count, channels));
    EC_TRY(w.format->pb->error < 0 ? ec__av_error(w.format->pb->error, path, "cannot write") : EC_OK);
done:
    close_writer(&w);
    return status;
}
