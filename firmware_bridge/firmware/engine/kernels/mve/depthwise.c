/* DEPTHWISE_CONV_2D for Cortex-M55: 16 channels at a time, each a lane.
 *
 * There is no vector by vector multiply-accumulate of 32 bits: bytes are widened to 16 bits as they are loaded, and
 * multiplied to 32 bits, even and odd channels apart. VLD2 takes the channels' constants apart in the same way.
 */
#define EDGE_ROUNDINGS 2
#include "mve.h"

#define EDGE_BLOCK EDGE_LANES

/* Even and odd channels of eight. */
typedef int32x4x2_t eight;

static inline eight products(eight sums, const int8_t *x, const int8_t *w)
{
    const int16x8_t values = vldrbq_s16(x), weights = vldrbq_s16(w);
    sums.val[0] = vaddq_s32(sums.val[0], vmullbq_int_s16(values, weights));
    sums.val[1] = vaddq_s32(sums.val[1], vmulltq_int_s16(values, weights));
    return sums;
}

static inline void eight_out(eight sums, const edge_scaling *s, int32_t c, int8_t *output)
{
    const eight multipliers = vld2q_s32(s->multipliers + c), shifts = vld2q_s32(s->shifts + c);
    int16x8_t merged = vdupq_n_s16(0);
    for (int i = 0; i < 2; i++) {
        if (vmaxvq_s32(-32, shifts.val[i]) < -1)
            sums.val[i] = edge_scale_four(sums.val[i], multipliers.val[i], shifts.val[i]);
        else {
            int32_t m[4], n[4];
            vst1q_s32(m, multipliers.val[i]);
            vst1q_s32(n, shifts.val[i]);
            sums.val[i] = edge_scale_slowly(sums.val[i], m, n, 4);
        }
    }
    merged = vmovnbq_s32(merged, edge_limit(sums.val[0], s));
    merged = vmovntq_s32(merged, edge_limit(sums.val[1], s));
    vstrbq_s16(output + c, merged);
}

static inline void edge_block(const int8_t *const *taps, int32_t n_taps, const int8_t *w, int32_t c,
                              const edge_scaling *s, int8_t *output)
{
    eight low = vld2q_s32(s->bias + c), high = vld2q_s32(s->bias + c + 8);
    for (int32_t t = 0; t < n_taps; t++, w += EDGE_BLOCK) {
        const int8_t *x = taps[t] + c;
        low = products(low, x, w);
        high = products(high, x + 8, w + 8);
    }
    eight_out(low, s, c, output);
    eight_out(high, s, c + 8, output);
}

#include "../rows/depthwise.h"
