/* What this processor can do at best, to put measurements into proportion. */
#ifndef EC_COMPUTE_CPU_PEAK_H
#define EC_COMPUTE_CPU_PEAK_H

#include "compute/backend.h"

/* Measures the single precision multiply-add rate of all threads of a CPU back end together, in operations a second (a
 * multiply-add is two), with the widest vectors it has. Best of several short runs, some 50 ms in all. */
ec_status ec__cpu_peak_rate(ec_backend *be, double *operations_per_second);

#endif
