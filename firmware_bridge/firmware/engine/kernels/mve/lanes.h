/* Four 32-bit lanes of int16 values for Cortex-M55. */
#ifndef EDGE_MVE_LANES_H
#define EDGE_MVE_LANES_H

#include <arm_mve.h>

#include "../../residual.h"

/* 0, step, 2 step, 3 step: places of four lanes that lie that far apart. */
static inline uint32x4_t edge_places(int32_t step) { return vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)step); }

static inline int32x4_t edge_saturated(int32x4_t x)
{
    return vminq_s32(vmaxq_s32(x, vdupq_n_s32(INT16_MIN)), vdupq_n_s32(INT16_MAX));
}

/* edge_curve_at of four values. */
static inline int32x4_t edge_curve_lanes(const int16_t *table, int32_t bits, int32x4_t x)
{
    const int32x4_t place = vaddq_n_s32(x, 32768);
    const uint32x4_t at = vreinterpretq_u32_s32(vshlq_r_s32(place, -bits));
    const int32x4_t rest = vandq_s32(place, vdupq_n_s32((1 << bits) - 1));
    const int32x4_t low = vldrhq_gather_shifted_offset_s32(table, at);
    const int32x4_t high = vldrhq_gather_shifted_offset_s32(table + 1, at);
    return vaddq_s32(low, vrshlq_n_s32(vmulq_s32(vsubq_s32(high, low), rest), -bits));
}

#endif
