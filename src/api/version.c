#include "emoclim/version.h"

const char *ec_version(void) { return EMOCLIM_VERSION; }
