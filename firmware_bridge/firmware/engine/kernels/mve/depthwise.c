/* DEPTHWISE_CONV_2D for Cortex-M55: eight channels at a time, each a lane.
 *
 * There is no vector by vector multiply-accumulate of 32 bits: bytes are widened to 16 bits as they are loaded, and
 * multiplied to 32 bits, even and odd channels apart. VLD2 takes the channels' constants apart in the same way.
 */
#define EDGE_ROUNDINGS 2
#include "mve.h"

#define EDGE_BLOCK 8

EDGE_INNER int32x4_t scale_slowly(int32x4_t sums, int32x4_t multipliers, int32x4_t shifts)
{
    int32_t m[4], n[4];
    vst1q_s32(m, multipliers);
    vst1q_s32(n, shifts);
    return edge_scale_slowly(sums, m, n, 4);
}

static inline int32x4_t scaled(int32x4_t sums, int32x4_t multipliers, int32x4_t shifts, const edge_scaling *s)
{
    if (vmaxvq_s32(-32, shifts) < -1)
        sums = edge_scale_four(sums, multipliers, shifts);
    else
        sums = scale_slowly(sums, multipliers, shifts);
    return edge_limit(sums, s);
}

EDGE_INNER void edge_block(const int8_t *const *taps, int32_t n_taps, const int8_t *w, int32_t c,
                           const edge_scaling *s, int8_t *output)
{
    const int32x4x2_t bias = vld2q_s32(s->bias + c);
    int32x4_t even = bias.val[0], odd = bias.val[1];
    for (int32_t t = n_taps; t > 0; t--, w += EDGE_BLOCK) {
        const int16x8_t values = vldrbq_s16(*taps++ + c), weights = vldrbq_s16(w);
        even = vaddq_s32(even, vmullbq_int_s16(values, weights));
        odd = vaddq_s32(odd, vmulltq_int_s16(values, weights));
    }
    const int32x4x2_t multipliers = vld2q_s32(s->multipliers + c), shifts = vld2q_s32(s->shifts + c);
    even = scaled(even, multipliers.val[0], shifts.val[0], s);
    odd = scaled(odd, multipliers.val[1], shifts.val[1], s);
    vstrbq_s16(output + c, vmovntq_s32(vreinterpretq_s16_s32(even), odd));
}

#include "../rows/depthwise.h"
