/* Ending this process so that nothing of the run stays on this host. */
#ifndef EC_DIST_FAREWELL_H
#define EC_DIST_FAREWELL_H

#include <stdbool.h>

/* Ends the process with exit_code, at once and from any thread; the launcher then ends the other ranks. Where Open MPI's
 * part on this host, whose child or grandchild this process is, has not ended by itself in some seconds, it is ended,
 * too:
 *   - its daemon on a host that is cut off from mpirun would stay for a quarter of an hour (TCP gives up on unanswered
 *     data no earlier, and its keepalive waits for that);
 *   - mpirun, if there are several_hosts, would wait as long for a lost host to which it had sent the order to end
 *     before it knew. It is killed, 137 to whoever started it. Where ranks share one host it ends whatever happens, and
 *     is left alone.
 * A virtual machine of PRRTE that serves one job after the other is never ended. */
_Noreturn void ec__farewell(int exit_code, bool several_hosts);

#endif
