/* A run of memory times rows of weights: 16 products an instruction (VMLADAVA), four rows at once.
 *
 * Weights are packed by edge_ad.compile.integer.operators.packing: rows in groups of four, the last group with what is
 * left; a group's rows lie interleaved by 16 bytes, the last of a row by the bytes that are left.
 */
#ifndef EDGE_MVE_ROWS_H
#define EDGE_MVE_ROWS_H

#include "mve.h"

/* As edge_four_out, of the 1 to 3 channels that are left. */
static inline void edge_last_out(int32x4_t sums, const edge_scaling *s, int32_t row, int32_t lanes, edge_out *output)
{
    sums = edge_scale_slowly(sums, s->multipliers + row, s->shifts + row, lanes);
    EDGE_STORE_SOME(output + row, edge_limit(sums, s), vctp32q((uint32_t)lanes));
}

static inline int32x4_t edge_vector(int32_t a, int32_t b, int32_t c, int32_t d)
{
    return vsetq_lane_s32(d, vsetq_lane_s32(c, vsetq_lane_s32(b, vdupq_n_s32(a), 1), 2), 3);
}

/* x . w[r] of four rows, added to bias. Ten instructions for 64 products. */
static inline int32x4_t edge_four_sums(const int8_t *x, const int8_t *w, int32_t depth, const int32_t *bias)
{
    int32_t a = bias[0], b = bias[1], c = bias[2], d = bias[3];
    const int32_t left = depth % EDGE_LANES;
    /* The compiler would spend an instruction more on each pointer. */
    __asm volatile("wls lr, %6, 2f\n"
                   "1:\n\t"
                   "vldrb.u8 q0, [%4], #16\n\t"
                   "vldrb.u8 q1, [%5], #16\n\t"
                   "vmladava.s8 %0, q0, q1\n\t"
                   "vldrb.u8 q2, [%5], #16\n\t"
                   "vmladava.s8 %1, q0, q2\n\t"
                   "vldrb.u8 q3, [%5], #16\n\t"
                   "vmladava.s8 %2, q0, q3\n\t"
                   "vldrb.u8 q1, [%5], #16\n\t"
                   "vmladava.s8 %3, q0, q1\n\t"
                   "le lr, 1b\n"
                   "2:"
                   : "+Te"(a), "+Te"(b), "+Te"(c), "+Te"(d), "+r"(x), "+r"(w)
                   : "r"(depth / EDGE_LANES)
                   : "q0", "q1", "q2", "q3", "lr", "memory");
    if (left) {
        const mve_pred16_t which = vctp8q((uint32_t)left);
        const int8x16_t values = vldrbq_z_s8(x, which);
        a = vmladavaq_s8(a, values, vldrbq_z_s8(w, which));
        b = vmladavaq_s8(b, values, vldrbq_z_s8(w + left, which));
        c = vmladavaq_s8(c, values, vldrbq_z_s8(w + 2 * left, which));
        d = vmladavaq_s8(d, values, vldrbq_z_s8(w + 3 * left, which));
    }
    return edge_vector(a, b, c, d);
}

/* x . w of row `number` of a group of `rows`, added to sum. */
static inline int32_t edge_one_sum(const int8_t *x, const int8_t *group, int32_t number, int32_t depth, int32_t rows,
                                   int32_t sum)
{
    const int32_t left = depth % EDGE_LANES;
    const int8_t *w = group + number * EDGE_LANES;
    for (int32_t n = depth / EDGE_LANES; n > 0; n--, x += EDGE_LANES, w += rows * EDGE_LANES)
        sum = vmladavaq_s8(sum, vldrbq_s8(x), vldrbq_s8(w));
    if (left) {
        const mve_pred16_t which = vctp8q((uint32_t)left);
        w = group + (depth - left) * rows + number * left;
        sum = vmladavaq_s8(sum, vldrbq_z_s8(x, which), vldrbq_z_s8(w, which));
    }
    return sum;
}

/* output[r] = requantize(bias[r] + x . weights[r]) for each of `rows` rows of `depth` values. */
EDGE_INNER void edge_rows(const int8_t *x, const int8_t *w, int32_t depth, int32_t rows,
                          const edge_scaling *scaling, edge_out *output)
{
    const edge_scaling own = *scaling, *s = &own; /* no store to output can change it */
    int32_t row = 0;
    for (; row + 4 <= rows; row += 4, w += 4 * depth)
        edge_four_out(edge_four_sums(x, w, depth, s->bias + row), s, row, output);
    const int32_t left = rows - row;
    if (left) {
        int32_t sums[4] = {0, 0, 0, 0};
        for (int32_t i = 0; i < left; i++)
            sums[i] = edge_one_sum(x, w, i, depth, left, s->bias[row + i]);
        edge_last_out(vld1q_s32(sums), s, row, left, output);
    }
}

static inline uint64_t edge_packed_bytes(uint64_t rows, uint64_t depth) { return rows * depth; }

static inline void edge_copy_bytes(int8_t *to, const int8_t *from, int32_t bytes)
{
    for (int32_t n = bytes / EDGE_LANES; n > 0; n--, to += EDGE_LANES, from += EDGE_LANES)
        vstrbq_s8(to, vldrbq_s8(from));
    if (bytes % EDGE_LANES) {
        const mve_pred16_t which = vctp8q((uint32_t)bytes % EDGE_LANES);
        vstrbq_p_s8(to, vldrbq_z_s8(from, which), which);
    }
}

static inline void edge_fill_bytes(int8_t *to, int32_t value, int32_t bytes)
{
    const int8x16_t values = vdupq_n_s8((int8_t)value);
    for (int32_t n = bytes / EDGE_LANES; n > 0; n--, to += EDGE_LANES)
        vstrbq_s8(to, values);
    vstrbq_p_s8(to, values, vctp8q((uint32_t)bytes % EDGE_LANES));
}

#endif
