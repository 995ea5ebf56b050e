/* Rows of weights times a window in 16 bits for Cortex-M55: eight products an instruction (VMLADAVA). */
#include <arm_mve.h>

#include "../../rows16.h"

#if !(__ARM_FEATURE_MVE & 1)
#error "these kernels need the M-profile vector extension (Cortex-M55, M85)"
#endif

/* window . w[r] of four rows, added to bias. */
static inline int32x4_t four_sums(const edge_window16 *window, const int16_t *w, const int32_t *bias)
{
    int32_t a = bias[0], b = bias[1], c = bias[2], d = bias[3];
    const int16_t *x = window->x;
    w += 4 * window->first;
    for (int32_t left = window->count; left > 0; left--, x += window->skip, w += 4 * window->gap)
        __asm volatile("wls lr, %6, 2f\n"
                       "1:\n\t"
                       "vldrh.u16 q0, [%4], #16\n\t"
                       "vldrh.u16 q1, [%5], #16\n\t"
                       "vmladava.s16 %0, q0, q1\n\t"
                       "vldrh.u16 q2, [%5], #16\n\t"
                       "vmladava.s16 %1, q0, q2\n\t"
                       "vldrh.u16 q3, [%5], #16\n\t"
                       "vmladava.s16 %2, q0, q3\n\t"
                       "vldrh.u16 q1, [%5], #16\n\t"
                       "vmladava.s16 %3, q0, q1\n\t"
                       "le lr, 1b\n"
                       "2:"
                       : "+Te"(a), "+Te"(b), "+Te"(c), "+Te"(d), "+r"(x), "+r"(w)
                       : "r"(window->runs)
                       : "q0", "q1", "q2", "q3", "lr", "memory");
    return vsetq_lane_s32(d, vsetq_lane_s32(c, vsetq_lane_s32(b, vdupq_n_s32(a), 1), 2), 3);
}

/* One of `rows` rows of a group. */
static uint32_t one_row(const edge_window16 *window, const int16_t *w, int32_t rows, int32_t sum)
{
    const int16_t *x = window->x;
    w += rows * window->first;
    for (int32_t left = window->count; left > 0; left--, x += window->skip, w += rows * window->gap)
        for (int32_t i = 0; i < window->runs; i++, x += EDGE_RUN16, w += rows * EDGE_RUN16)
            sum = vmladavaq_s16(sum, vldrhq_s16(x), vldrhq_s16(w));
    return (uint32_t)sum;
}

void edge_rows16(const edge_window16 *window, const int16_t *w, int32_t depth, int32_t rows,
                 const edge_scaling16 *scaling, int16_t *output)
{
    const edge_scaling16 s = *scaling; /* no store to output can change it */
    const int32x4_t down = vdupq_n_s32(s.shift + 1), low = vdupq_n_s32(s.low), high = vdupq_n_s32(s.high);
    int32_t row = 0;
    /* For scales below 1/4 the lower word of a product is less than what rounds. */
    for (; s.shift < -1 && row + 4 <= rows; row += 4, w += 4 * depth) {
        const int32x4_t sums = four_sums(window, w, s.bias + row);
        const int32x4_t scaled = vrshlq_s32(vmulhq_s32(sums, vldrwq_s32(s.multipliers + row)), down);
        vstrhq_s32(output + row, vminq_s32(vmaxq_s32(scaled, low), high));
    }
    while (row < rows) {
        const int32_t n = rows - row < 4 ? rows - row : 4;
        for (int32_t r = 0; r < n; r++, row++)
            output[row] = edge_scale16(one_row(window, w + r * EDGE_RUN16, n, s.bias[row]), s.multipliers[row], &s);
        w += n * depth;
    }
}
