#include "core/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static struct {
    pthread_mutex_t lock;
    ec_log_sink sink;
    void *arg;
    ec_log_level lowest;
    int rank;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .lowest = EC_LOG_INFO};

void ec__log_set_sink(ec_log_sink sink, void *arg, ec_log_level lowest) {
    pthread_mutex_lock(&logger.lock);
    logger.sink = sink;
    logger.arg = arg;
    logger.lowest = lowest;
    pthread_mutex_unlock(&logger.lock);
}

void ec__log_set_rank(int rank) { logger.rank = rank; }

void ec__log(ec_log_level level, const char *format, ...) {
    char text[2048];
    pthread_mutex_lock(&logger.lock);
    if (logger.sink && level >= logger.lowest) {
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        logger.sink(logger.arg, level, logger.rank, text);
    }
    pthread_mutex_unlock(&logger.lock);
}
