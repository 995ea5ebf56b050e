/* What the kernels for Cortex-M55 share: requantization of four lanes. */
#ifndef EDGE_MVE_H
#define EDGE_MVE_H

#include <arm_mve.h>

#include "../rows/scaling.h"

#if !(__ARM_FEATURE_MVE & 1)
#error "these kernels need the M-profile vector extension (Cortex-M55, M85)"
#endif

#define EDGE_LANES 16

/* Four values that fit edge_out; or some of them. */
#ifdef EDGE_INT16
#define EDGE_STORE vstrhq_s32
#define EDGE_STORE_SOME vstrhq_p_s32
#else
#define EDGE_STORE vstrbq_s32
#define EDGE_STORE_SOME vstrbq_p_s32
#endif

/* edge_scale of `lanes` lanes, one by one: for scales of 1/4 and more. */
EDGE_INNER int32x4_t edge_scale_slowly(int32x4_t sums, const int32_t *multipliers,
                                       const int32_t *shifts, int32_t lanes)
{
    int32_t scaled[4];
    vst1q_s32(scaled, sums);
    for (int32_t i = 0; i < lanes; i++)
        scaled[i] = edge_scale(scaled[i], multipliers[i], shifts[i]);
    return vld1q_s32(scaled);
}

static inline int32x4_t edge_limit(int32x4_t scaled, const edge_scaling *s)
{
    scaled = vaddq_n_s32(scaled, s->zero);
    return vminq_s32(vmaxq_s32(scaled, vdupq_n_s32(s->low)), vdupq_n_s32(s->high));
}

/* edge_scale of four lanes whose shifts are all -2 or less. */
static inline int32x4_t edge_scale_four(int32x4_t sums, int32x4_t multipliers, int32x4_t shifts)
{
#if EDGE_ROUNDINGS == 1
    return vrshlq_s32(vmulhq_s32(sums, multipliers), vaddq_n_s32(shifts, 1));
#else
    const int32x4_t products = vqrdmulhq_s32(sums, multipliers);
    return vrshlq_s32(vaddq_s32(products, vshrq_n_s32(products, 31)), shifts); /* half away from zero, not up */
#endif
}

/* Four channels from `row` on: output[i] = edge_limited(edge_scale(sums[i], ...)). */
static inline void edge_four_out(int32x4_t sums, const edge_scaling *s, int32_t row, edge_out *output)
{
    const int32_t *multipliers = s->multipliers + row, *shifts = s->shifts + row;
    const int32x4_t shift = vldrwq_s32(shifts);
    if (vmaxvq_s32(-32, shift) < -1)
        sums = edge_scale_four(sums, vldrwq_s32(multipliers), shift);
    else
        sums = edge_scale_slowly(sums, multipliers, shifts, 4);
    EDGE_STORE(output + row, edge_limit(sums, s));
}

#endif
