/* FULLY_CONNECTED of int16 activations with INT8 weights for Cortex-M55: 8 products an instruction (VMLADAVA), four
 * units at once. Weights are packed as those of mve/rows.h, but by 8 bytes, which one load widens to 16 bits. */
#define EDGE_ROUNDINGS 1
#include "mve.h"

#include "../../wide.h"

#define LANES 8

bool edge_check_fully_connected_wide(const edge_model *m, const edge_fully_connected_wide *p)
{
    return edge_fully_connected_wide_ok(m, p, (uint64_t)p->depth);
}

static inline int32x4_t vector(int32_t a, int32_t b, int32_t c, int32_t d)
{
    return vsetq_lane_s32(d, vsetq_lane_s32(c, vsetq_lane_s32(b, vdupq_n_s32(a), 1), 2), 3);
}

/* x . w[r] of four units, added to bias. Ten instructions for 32 products. */
static inline int32x4_t four_sums(const int16_t *x, const int8_t *w, int32_t depth, const int32_t *bias)
{
    int32_t a = bias[0], b = bias[1], c = bias[2], d = bias[3];
    const int32_t left = depth % LANES;
    __asm volatile("wls lr, %6, 2f\n"
                   "1:\n\t"
                   "vldrh.u16 q0, [%4], #16\n\t"
                   "vldrb.s16 q1, [%5], #8\n\t"
                   "vmladava.s16 %0, q0, q1\n\t"
                   "vldrb.s16 q2, [%5], #8\n\t"
                   "vmladava.s16 %1, q0, q2\n\t"
                   "vldrb.s16 q3, [%5], #8\n\t"
                   "vmladava.s16 %2, q0, q3\n\t"
                   "vldrb.s16 q1, [%5], #8\n\t"
                   "vmladava.s16 %3, q0, q1\n\t"
                   "le lr, 1b\n"
                   "2:"
                   : "+Te"(a), "+Te"(b), "+Te"(c), "+Te"(d), "+r"(x), "+r"(w)
                   : "r"(depth / LANES)
                   : "q0", "q1", "q2", "q3", "lr", "memory");
    if (left) {
        const mve_pred16_t which = vctp16q((uint32_t)left);
        const int16x8_t values = vldrhq_z_s16(x, which);
        a = vmladavaq_s16(a, values, vldrbq_z_s16(w, which));
        b = vmladavaq_s16(b, values, vldrbq_z_s16(w + left, which));
        c = vmladavaq_s16(c, values, vldrbq_z_s16(w + 2 * left, which));
        d = vmladavaq_s16(d, values, vldrbq_z_s16(w + 3 * left, which));
    }
    return vector(a, b, c, d);
}

EDGE_INNER void scale_slowly(int32x4_t sums, const int32_t *scales, int32_t lanes, int16_t *output)
{
    int32_t sum[4];
    vst1q_s32(sum, sums);
    for (int32_t i = 0; i < lanes; i++)
        output[i] = edge_wide_scaled(sum[i], scales[i]);
}

static inline void four_out(int32x4_t sums, const int32_t *scales, int16_t *output)
{
    const int32x4_t multipliers = vldrwq_s32(scales), shifts = vandq_s32(multipliers, vdupq_n_s32(63));
    if (vminvq_s32(EDGE_WIDE_FAR, shifts) < EDGE_WIDE_FAR) {
        scale_slowly(sums, scales, 4, output);
        return;
    }
    const int32x4_t scaled = vrshlq_s32(vmulhq_s32(sums, multipliers), vsubq_s32(vdupq_n_s32(31), shifts));
    vstrhq_s32(output, vminq_s32(vmaxq_s32(scaled, vdupq_n_s32(INT16_MIN)), vdupq_n_s32(INT16_MAX)));
}

/* x . w of unit `number` of the last group of `rows`, added to sum. */
static inline int32_t one_sum(const int16_t *x, const int8_t *group, int32_t number, int32_t depth, int32_t rows,
                              int32_t sum)
{
    const int32_t left = depth % LANES;
    const int8_t *w = group + number * LANES;
    for (int32_t n = depth / LANES; n > 0; n--, x += LANES, w += rows * LANES)
        sum = vmladavaq_s16(sum, vldrhq_s16(x), vldrbq_s16(w));
    if (left) {
        const mve_pred16_t which = vctp16q((uint32_t)left);
        w = group + (depth - left) * rows + number * left;
        sum = vmladavaq_s16(sum, vldrhq_z_s16(x, which), vldrbq_z_s16(w, which));
    }
    return sum;
}

EDGE_INNER void one_row(const int16_t *x, const int8_t *w, int32_t depth, int32_t units, const int32_t *channels,
                        int16_t *output)
{
    const int32_t *scales = channels + units;
    int32_t u = 0;
    for (; u + 4 <= units; u += 4, w += 4 * depth)
        four_out(four_sums(x, w, depth, channels + u), scales + u, output + u);
    const int32_t left = units - u;
    if (left) {
        int32_t sums[4] = {0, 0, 0, 0};
        for (int32_t i = 0; i < left; i++)
            sums[i] = one_sum(x, w, i, depth, left, channels[u + i]);
        scale_slowly(vld1q_s32(sums), scales + u, left, output + u);
    }
}

void edge_run_fully_connected_wide(const edge_model *m, const edge_fully_connected_wide *p)
{
    const int16_t *input = (const int16_t *)edge_at(m, p->input) + p->first * p->depth;
    int16_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->depth, output += p->units)
        one_row(input, edge_at(m, p->weights), p->depth, p->units, edge_at(m, p->channels), output);
}
