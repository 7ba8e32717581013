/* The thread of a rank that sees to it that nobody waits in vain.
 *
 * It answers other ranks that ask where this one is. When this rank's main thread stays in one collective, it asks the
 * others, once in an interval of 0.2 s or a little more, and judges by their answers:
 *   - no answer for deadline_s (stopped, dead, cut off), or in another collective for so long: the run ends;
 *   - not there any more, says its host: the run ends within a second, before mpirun ends it without a word;
 *   - alive and busy between two collectives (reading, writing, validating): waited for up to patience_s, with a
 *     warning after deadline_s;
 *   - all there, and still no end: patience_s, too.
 * Ending is a line in the log that names who is missing, and exit code 5 of this process, by which launchers end the
 * others. It does not depend on what the main thread is stuck in. The lowest rank that waits speaks first, the others
 * are silent unless it fails to.
 *
 * Silence is counted while this process runs: a job that was suspended as a whole goes on. */
#ifndef EC_DIST_WATCH_H
#define EC_DIST_WATCH_H

#include <mpi.h>

#include "dist/comm_impl.h"

typedef struct ec_watch ec_watch;

/* Collective over world, which holds the ranks of comm; both are borrowed. Starts the thread. Where questions do not
 * get through (a firewall between hosts), rank 0 warns, and those ranks are taken to be alive until patience_s. */
ec_status ec__watch_open(ec_comm *comm, MPI_Comm world, ec_watch **out);
void ec__watch_close(ec_watch *watch); /* accepts NULL; ends the thread */

/* The process is about to end with exit_code: if it still lives in five seconds, the thread ends it. */
void ec__watch_end_soon(ec_watch *watch, int exit_code); /* accepts NULL */

#endif
