#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local ec_error last_error = {.rank = -1};
static int process_rank = -1;

const ec_error *ec_error_last(void) { return &last_error; }

void ec_error_clear(void) {
    last_error.code = EC_OK;
    last_error.frame_count = 0;
    last_error.text[0] = '\0';
}

void ec__error_set_rank(int rank) { process_rank = rank; }

ec_status ec__error_raise(ec_status code, const char *file, int line, const char *function, const char *format, ...) {
    /* Formatted aside first: an argument may be the text of the previous record. */
    char text[EC_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_error.text, text, sizeof text);
    last_error.code = code;
    last_error.rank = process_rank;
    last_error.frame_count = 0;
    return ec__error_pass(code, file, line, function);
}

ec_status ec__error_pass(ec_status code, const char *file, int line, const char *function) {
    if (last_error.frame_count < EC_ERROR_FRAMES)
        last_error.frame[last_error.frame_count++] = (ec_error_frame){file, function, line};
    return code;
}

ec_status ec__error_prefix(const char *format, ...) {
    char text[EC_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length >= 0 && length < EC_ERROR_TEXT)
        snprintf(text + length, sizeof text - (size_t)length, "%s", last_error.text);
    memcpy(last_error.text, text, sizeof text);
    return last_error.code;
}

ec_status ec__error_adopt(const ec_error *other) {
    if (other != &last_error) last_error = *other;
    return last_error.code;
}

const char *ec_status_name(ec_status code) {
    switch (code) {
    case EC_OK: return "ok";
    case EC_ERR_USAGE: return "usage error";
    case EC_ERR_CONFIG: return "configuration error";
    case EC_ERR_DATA: return "data error";
    case EC_ERR_IO: return "system error";
    case EC_ERR_ENV: return "environment error";
    case EC_ERR_MEMORY: return "out of memory";
    case EC_ERR_DIST: return "distributed failure";
    case EC_ERR_BUG: return "internal error";
    case EC_STOPPED: return "stopped";
    }
    return "unknown status";
}

int ec_status_exit_code(ec_status code) {
    switch (code) {
    case EC_OK: return 0;
    case EC_ERR_USAGE:
    case EC_ERR_CONFIG: return 2;
    case EC_ERR_DATA: return 3;
    case EC_ERR_IO:
    case EC_ERR_ENV:
    case EC_ERR_MEMORY: return 4;
    case EC_ERR_DIST: return 5;
    case EC_ERR_BUG: return 70;
    case EC_STOPPED: return 75;
    }
    return 70;
}
