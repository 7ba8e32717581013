#include "core/stop.h"

#include <signal.h>

static volatile sig_atomic_t stop_signal;

void ec__stop_request(int signal_number) { stop_signal = signal_number; }

int ec__stop_requested(void) { return stop_signal; }
