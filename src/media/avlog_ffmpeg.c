#include "media/avlog_ffmpeg.h"

#include <libavutil/error.h>
#include <libavutil/log.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* FFmpeg's log callback has no argument of ours; decoding runs on the calling thread (one decoder thread), so what a
 * thread caught belongs to the file that it is decoding. */
static _Thread_local char last_message[256];

static void catch_message(void *source, int level, const char *format, va_list args) {
    (void)source;
    if (level > AV_LOG_ERROR) return;
    vsnprintf(last_message, sizeof last_message, format, args);
    size_t length = strlen(last_message);
    while (length > 0 && (last_message[length - 1] == '\n' || last_message[length - 1] == '.'))
        last_message[--length] = '\0';
}

static void install(void) { av_log_set_callback(catch_message); }

void ec__av_begin(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    last_message[0] = '\0';
}

const char *ec__av_message(void) { return last_message; }

ec_status ec__av_error(int code, const char *path, const char *what) {
    ec_status status = EC_ERR_DATA;
    if (code == AVERROR(ENOMEM)) status = EC_ERR_MEMORY;
    else if (code == AVERROR(EIO)) status = EC_ERR_IO;
    else if (code == AVERROR_DECODER_NOT_FOUND || code == AVERROR_DEMUXER_NOT_FOUND || code == AVERROR(ENOSYS))
        status = EC_ERR_ENV;
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(code, text, sizeof text);
    if (last_message[0] == '\0') return EC_ERROR(status, "%s: %s: %s", path, what, text);
    return EC_ERROR(status, "%s: %s: %s (%s)", path, what, text, last_message);
}
