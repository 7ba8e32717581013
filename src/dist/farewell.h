/* Ending this process so that nothing of the run stays on this host. */
#ifndef EC_DIST_FAREWELL_H
#define EC_DIST_FAREWELL_H

/* Ends the process with exit_code, at once and from any thread; the launcher then ends the other ranks. Open MPI's
 * daemon on a host that is cut off from mpirun would stay there for a quarter of an hour (TCP gives up on unanswered
 * data no earlier, and its keepalive waits for that): where it has not ended by itself in some seconds, it is ended,
 * too. */
_Noreturn void ec__farewell(int exit_code);

#endif
