/* 2^f for f in [-1/2, 1/2] as 1 + f (c1 + f (c2 + ...)): minimax in relative error, 1.9e-9 before rounding, 8e-8 when
 * evaluated in single precision. */
#ifndef EC_COMPUTE_CPU_SUPCON_EXP2_H
#define EC_COMPUTE_CPU_SUPCON_EXP2_H

#define EC_EXP2_1 0x1.62e430p-1f
#define EC_EXP2_2 0x1.ebfbdap-3f
#define EC_EXP2_3 0x1.c6aed4p-5f
#define EC_EXP2_4 0x1.3b2dbcp-7f
#define EC_EXP2_5 0x1.5f456ep-10f
#define EC_EXP2_6 0x1.41d332p-13f

#endif
