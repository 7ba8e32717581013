/* The flag that a signal handler sets and long work looks at: "stop at the next point where nothing is lost". */
#ifndef EC_CORE_STOP_H
#define EC_CORE_STOP_H

#include <stdbool.h>

/* Async-signal-safe. */
void ec__stop_request(int signal_number);

/* Signal number that asked for a stop, or 0. */
int ec__stop_requested(void);

#endif
