/* Decoding by FFmpeg. The file is read from its beginning even for a cut: seeking is exact in few formats, and frames
 * after a seek decode to other samples than the same frames in passing (MP3's bit reservoir, overlapping windows). */
#include "media/audio.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/log.h"
#include "media/audio_sink.h"
#include "media/avlog_ffmpeg.h"
#include "media/ogg.h"
#include "media/wav.h"

typedef struct reader {
    const char *path;
    AVIOContext *io;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    int stream;
    int64_t damaged; /* packets that could not be decoded */
    bool finished;   /* what still follows is no music */
} reader;

static int32_t frame_channels(const AVFrame *frame) {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 28, 100)
    return frame->ch_layout.nb_channels;
#else
    return frame->channels;
#endif
}

static ec_status check_file(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return EC_ERROR(EC_ERR_DATA, "cannot open %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return EC_ERROR(EC_ERR_DATA, "%s is not a regular file", path);
    if (info.st_size == 0) return EC_ERROR(EC_ERR_DATA, "%s is empty", path);
    return EC_OK;
}

static ec_status open_format(reader *r) {
    ec_status status = EC_OK;
    char *url = NULL;
    AVDictionary *options = NULL;
    EC_TRY(check_file(r->path));
    EC_TRY(ec__format(&url, "file:%s", r->path)); /* never taken for a protocol ("concat:", "http:") */
    int code = avio_open2(&r->io, url, AVIO_FLAG_READ, NULL, NULL);
    if (code < 0) {
        status = ec__av_error(code, r->path, "cannot open it");
        goto done;
    }
    r->format = avformat_alloc_context();
    if (!r->format) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a demuxer", r->path);
    r->format->pb = r->io;
    /* The file is open already; a playlist must not lead to others. */
    av_dict_set(&options, "protocol_whitelist", "none", 0);
    code = avformat_open_input(&r->format, url, NULL, &options);
    if (code < 0) {
        status = ec__av_error(code, r->path, "not a sound file that FFmpeg reads");
        goto done;
    }
    for (unsigned i = 0; i < r->format->nb_streams; i++)
        if (r->format->streams[i]->codecpar->codec_type != AVMEDIA_TYPE_AUDIO)
            r->format->streams[i]->discard = AVDISCARD_ALL;
    code = avformat_find_stream_info(r->format, NULL);
    if (code < 0) status = ec__av_error(code, r->path, "cannot examine its streams");
done:
    av_dict_free(&options);
    free(url);
    return status;
}

static ec_status choose_stream(reader *r) {
    r->stream = -1;
    for (unsigned i = 0; i < r->format->nb_streams; i++) {
        AVStream *stream = r->format->streams[i];
        bool audio = stream->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
        if (audio && r->stream < 0) r->stream = (int)i;
        else stream->discard = AVDISCARD_ALL;
    }
    if (r->stream < 0)
        return EC_ERROR(EC_ERR_DATA, "%s has no audio stream (format: %s)", r->path, r->format->iformat->long_name);
    return EC_OK;
}

static ec_status open_codec(reader *r) {
    const AVStream *stream = r->format->streams[r->stream];
    const AVCodec *codec = avcodec_find_decoder(stream->codecpar->codec_id);
    if (!codec)
        return EC_ERROR(EC_ERR_ENV, "%s: this FFmpeg has no decoder for %s", r->path,
                        avcodec_get_name(stream->codecpar->codec_id));
    r->codec = avcodec_alloc_context3(codec);
    if (!r->codec) return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for a decoder", r->path);
    int code = avcodec_parameters_to_context(r->codec, stream->codecpar);
    if (code < 0) return ec__av_error(code, r->path, "cannot set up its decoder");
    r->codec->pkt_timebase = stream->time_base; /* trimming of encoder delay needs it */
    r->codec->thread_count = 1;
    /* FLAC frames carry a checksum: a wrong one is damage. Other decoders would refuse what players accept. */
    if (codec->id == AV_CODEC_ID_FLAC) r->codec->err_recognition = AV_EF_CRCCHECK | AV_EF_EXPLODE;
    code = avcodec_open2(r->codec, codec, NULL);
    return code < 0 ? ec__av_error(code, r->path, "cannot open its decoder") : EC_OK;
}

static ec_status open_reader(reader *r) {
    EC_RETURN_IF(open_format(r));
    EC_RETURN_IF(choose_stream(r));
    EC_RETURN_IF(open_codec(r));
    r->packet = av_packet_alloc();
    r->frame = av_frame_alloc();
    if (!r->packet || !r->frame) return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for packets", r->path);
    return EC_OK;
}

static void close_reader(reader *r) {
    av_frame_free(&r->frame);
    av_packet_free(&r->packet);
    avcodec_free_context(&r->codec);
    avformat_close_input(&r->format);
    avio_closep(&r->io);
}

static ec_status push_frame(reader *r, ec_audio_sink *sink) {
    const AVFrame *f = r->frame;
    ec_sample_format format;
    switch (av_get_packed_sample_fmt((enum AVSampleFormat)f->format)) {
    case AV_SAMPLE_FMT_U8: format = EC_SAMPLE_U8; break;
    case AV_SAMPLE_FMT_S16: format = EC_SAMPLE_S16; break;
    case AV_SAMPLE_FMT_S32: format = EC_SAMPLE_S32; break;
    case AV_SAMPLE_FMT_S64: format = EC_SAMPLE_S64; break;
    case AV_SAMPLE_FMT_FLT: format = EC_SAMPLE_F32; break;
    case AV_SAMPLE_FMT_DBL: format = EC_SAMPLE_F64; break;
    default: return EC_ERROR(EC_ERR_ENV, "%s: unknown sample format %d", r->path, f->format);
    }
    EC_RETURN_IF(ec__audio_sink_rate(sink, f->sample_rate));
    EC_RETURN_IF(ec__audio_sink_push(sink, (const uint8_t *const *)f->extended_data, format,
                                     av_sample_fmt_is_planar((enum AVSampleFormat)f->format) != 0, frame_channels(f),
                                     f->nb_samples));
    return EC_OK;
}

/* The length that the header promises, in samples, less what may be missing: compressed formats may count a few frames
 * of delay and padding that are trimmed. -1 where there is no promise (FFmpeg's guess from the file's size is none). */
static int64_t promised_samples(const reader *r, const ec_audio_sink *sink) {
    const AVStream *stream = r->format->streams[r->stream];
    if (!sink->rate || stream->duration == AV_NOPTS_VALUE ||
        r->format->duration_estimation_method == AVFMT_DURATION_FROM_BITRATE)
        return -1;
    int64_t slack = 1, frame = r->codec->frame_size > 2048 ? r->codec->frame_size : 2048;
    if (!(avcodec_descriptor_get(r->codec->codec_id)->props & AV_CODEC_PROP_LOSSLESS)) slack = 4 * frame;
    int64_t samples = av_rescale_q(stream->duration, stream->time_base, (AVRational){1, sink->rate}) - slack;
    return samples > 0 ? samples : 0;
}

/* A packet that does not decode: an error, or one more to count. Behind the last promised sample it is neither: tags of
 * all sorts are appended to MP3 and FLAC files. */
static ec_status damaged(reader *r, const ec_audio_sink *sink, int code) {
    int64_t promised = promised_samples(r, sink);
    r->finished = promised >= 0 && sink->seen >= promised;
    if (r->finished) return EC_OK;
    if (code == AVERROR(ENOMEM) || !sink->options.tolerate_damage) {
        char what[96];
        snprintf(what, sizeof what, "damaged after %.3f s", sink->rate ? (double)sink->seen / sink->rate : 0.0);
        return ec__av_error(code, r->path, what);
    }
    r->damaged++;
    return EC_OK;
}

static ec_status receive_frames(reader *r, ec_audio_sink *sink) {
    while (!r->finished && !ec__audio_sink_full(sink)) {
        int code = avcodec_receive_frame(r->codec, r->frame);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return EC_OK;
        if (code < 0) {
            EC_RETURN_IF(damaged(r, sink, code));
            continue;
        }
        ec_status status = push_frame(r, sink);
        av_frame_unref(r->frame);
        EC_RETURN_IF(status);
    }
    return EC_OK;
}

static ec_status decode_packets(reader *r, ec_audio_sink *sink) {
    while (!r->finished && !ec__audio_sink_full(sink)) {
        int code = av_read_frame(r->format, r->packet);
        if (code == AVERROR_EOF) {
            avcodec_send_packet(r->codec, NULL); /* what the decoder still holds */
            EC_RETURN_IF(receive_frames(r, sink));
            return EC_OK;
        }
        if (code < 0) return damaged(r, sink, code); /* the container itself ends here */
        if (r->packet->stream_index == r->stream) {
            code = avcodec_send_packet(r->codec, r->packet);
            av_packet_unref(r->packet);
            if (code < 0) EC_RETURN_IF(damaged(r, sink, code));
            EC_RETURN_IF(receive_frames(r, sink));
        }
        av_packet_unref(r->packet);
    }
    return EC_OK;
}

static ec_status fail_or_warn(ec_status status, bool tolerate_damage) {
    if (status != EC_ERR_DATA || !tolerate_damage) return status;
    EC_WARN("%s", ec_error_last()->text);
    ec_error_clear();
    return EC_OK;
}

/* Before decoding, where the container tells. */
static ec_status check_container(const reader *r, bool tolerate_damage) {
    const char *name = r->format->iformat->name;
    if (strcmp(name, "wav") == 0) EC_RETURN_IF(ec__wav_check_length(r->path, tolerate_damage));
    if (strcmp(name, "ogg") == 0) EC_RETURN_IF(fail_or_warn(ec__ogg_check_end(r->path), tolerate_damage));
    return EC_OK;
}

/* After decoding: is what the header promises there? */
static ec_status check_length(const reader *r, const ec_audio_sink *sink) {
    int64_t promised = promised_samples(r, sink);
    if (ec__audio_sink_full(sink) || sink->seen >= promised) return EC_OK;
    ec_status status = EC_ERROR(EC_ERR_DATA, "%s is truncated: the header promises %lld samples or more, %lld are here",
                                r->path, (long long)promised, (long long)sink->seen);
    EC_RETURN_IF(fail_or_warn(status, sink->options.tolerate_damage));
    return EC_OK;
}

ec_status ec__audio_decode(const char *path, const ec_audio_options *options, ec_audio *out) {
    ec_status status = EC_OK;
    reader r = {.path = path};
    ec_audio_sink sink;
    ec__av_begin();
    EC_TRY(ec__audio_sink_init(&sink, path, options));
    EC_TRY(open_reader(&r));
    EC_TRY(check_container(&r, sink.options.tolerate_damage));
    EC_TRY(decode_packets(&r, &sink));
    EC_TRY(check_length(&r, &sink));
    if (r.damaged > 0)
        EC_WARN("%s: %lld packets could not be decoded (%s)", path, (long long)r.damaged, ec__av_message());
    EC_TRY(ec__audio_sink_finish(&sink, out));
done:
    close_reader(&r);
    ec__audio_sink_release(&sink);
    return status;
}
