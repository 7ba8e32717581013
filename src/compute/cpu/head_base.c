/* Head loops for any processor. */
#define HEAD_TABLE ec__cpu_head_base
#include "compute/cpu/head_kernels.h"
