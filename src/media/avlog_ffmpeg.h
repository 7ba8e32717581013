/* FFmpeg's own words. It prints to standard error by itself; here its messages are caught instead, so that an error can
 * quote the last one ("moov atom not found") beside the text of the error code. Only *_ffmpeg.c files include this. */
#ifndef EC_MEDIA_AVLOG_FFMPEG_H
#define EC_MEDIA_AVLOG_FFMPEG_H

#include "core/error.h"

/* Installs the catcher, once in a process, and forgets what FFmpeg said to this thread before. */
void ec__av_begin(void);

/* What FFmpeg reported last as an error on this thread; "" if nothing. */
const char *ec__av_message(void);

/* Turns an AVERROR into ours: EC_ERR_MEMORY, EC_ERR_IO or EC_ERR_ENV (no decoder) where it says so, else EC_ERR_DATA.
 * The message is "PATH: WHAT: FFmpeg's text (its last message)". */
ec_status ec__av_error(int code, const char *path, const char *what);

#endif
