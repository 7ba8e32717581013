/* Leveled log with the rank. The library never prints: messages go to the sink that the program installs; without one
 * they are dropped. Safe to call from any thread; the sink is called under a lock. */
#ifndef EC_CORE_LOG_H
#define EC_CORE_LOG_H

typedef enum ec_log_level { EC_LOG_DEBUG, EC_LOG_INFO, EC_LOG_WARN, EC_LOG_ERROR } ec_log_level;

/* text has no newline. */
typedef void (*ec_log_sink)(void *arg, ec_log_level level, int rank, const char *text);

void ec__log_set_sink(ec_log_sink sink, void *arg, ec_log_level lowest);
void ec__log_set_rank(int rank);
void ec__log(ec_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define EC_DEBUG(...) ec__log(EC_LOG_DEBUG, __VA_ARGS__)
#define EC_INFO(...) ec__log(EC_LOG_INFO, __VA_ARGS__)
#define EC_WARN(...) ec__log(EC_LOG_WARN, __VA_ARGS__)

#endif
