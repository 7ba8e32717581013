/* The version of the library, by semantic versioning: while MAJOR is 0, a change of MINOR may change this interface. */
#ifndef EMOCLIM_VERSION_H
#define EMOCLIM_VERSION_H

#define EC_VERSION_MAJOR 0
#define EC_VERSION_MINOR 1
#define EC_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* "MAJOR.MINOR.PATCH" of the library that is linked, which may be another one than this header came with. A literal. */
const char *ec_version(void);

#ifdef __cplusplus
}
#endif
#endif
