/* Rows of weights times a run of memory in 16 bits for Cortex-M4 and M7: two products an instruction (SMLAD), four rows
 * at once, no value to be widened: fewer instructions than with 8 bits. */
#include "../../rows16.h"

#ifndef __ARM_FEATURE_DSP
#error "these kernels need the DSP extension (Cortex-M4, M7, M33, M55)"
#endif

#define EDGE_FOUR_ROWS(pair)             \
    "ldrd %[u], %[v], [%[w]], #8\n\t"    \
    "smlad %[a], " pair ", %[u], %[a]\n\t" \
    "smlad %[b], " pair ", %[v], %[b]\n\t" \
    "ldrd %[u], %[v], [%[w]], #8\n\t"    \
    "smlad %[c], " pair ", %[u], %[c]\n\t" \
    "smlad %[d], " pair ", %[v], %[d]\n\t"

/* sum[r] += x . w[r] of four rows. Written out because the compiler spills what just fits the registers. */
static inline void four_rows(const uint32_t *x, const uint32_t *w, int32_t pairs, uint32_t *sum)
{
    uint32_t a = sum[0], b = sum[1], c = sum[2], d = sum[3], p, q, u, v;
    const uint32_t *end = x + (pairs & ~1);
    if (x != end)
        __asm volatile("1:\n\t"
                       "ldrd %[p], %[q], [%[x]], #8\n\t" EDGE_FOUR_ROWS("%[p]") EDGE_FOUR_ROWS("%[q]")
                       "cmp %[x], %[end]\n\t"
                       "bne 1b"
                       : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [x] "+r"(x), [w] "+r"(w),
                         [p] "=&r"(p), [q] "=&r"(q), [u] "=&r"(u), [v] "=&r"(v)
                       : [end] "r"(end)
                       : "cc", "memory");
    if (pairs & 1)
        __asm volatile("ldr %[p], [%[x]]\n\t" EDGE_FOUR_ROWS("%[p]")
                       : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [x] "+r"(x), [w] "+r"(w),
                         [p] "=&r"(p), [u] "=&r"(u), [v] "=&r"(v)
                       :
                       : "memory");
    sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
}

/* One of `rows` rows of a group. */
static uint32_t one_row(const uint32_t *x, const uint32_t *w, int32_t pairs, int32_t rows, uint32_t sum)
{
    for (const uint32_t *end = x + pairs; x != end; w += rows) {
        const uint32_t pair = *x++;
        __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(pair), "r"(*w));
    }
    return sum;
}

/* For scales of 1/4 and more. */
static EDGE_NOINLINE int16_t scale_slowly(uint32_t sum, int32_t multiplier, int32_t shift, int32_t low, int32_t high)
{
    const int64_t scaled = edge_scale_long((int32_t)sum, multiplier, shift);
    return (int16_t)(scaled < low ? low : scaled > high ? high : scaled);
}

/* For scales below 1/4 the lower word of the product is below the half that rounds. */
static inline int16_t scale16(uint32_t sum, int32_t multiplier, int32_t shift, int32_t low, int32_t high)
{
    const int32_t down = -1 - shift; /* below the upper word */
    if (down < 1)
        return scale_slowly(sum, multiplier, shift, low, high);
    const int32_t upper = (int32_t)(((int64_t)(int32_t)sum * multiplier) >> 32);
    return (int16_t)edge_clamp((upper + (1 << (down - 1))) >> down, low, high);
}

void edge_rows16(const int16_t *values, const int16_t *weights, int32_t depth, int32_t rows, const edge_scaling16 *scaling,
                 int16_t *output)
{
    const edge_scaling16 s = *scaling; /* no store to output can change it */
    const uint32_t *x = (const uint32_t *)(const void *)values, *w = (const uint32_t *)(const void *)weights;
    const int32_t pairs = (depth + 1) / 2;
    int32_t row = 0;
    for (; row + 4 <= rows; row += 4, w += 4 * pairs) {
        const int32_t *m = s.multipliers + row, *shift = s.shifts + row;
        uint32_t sum[4];
        memcpy(sum, s.bias + row, 16);
        four_rows(x, w, pairs, sum);
        for (int r = 0; r < 4; r++)
            output[row + r] = scale16(sum[r], m[r], shift[r], s.low, s.high);
    }
    const int32_t left = rows - row;
    for (; row < rows; row++, w++) {
        const uint32_t sum = one_row(x, w, pairs, left, (uint32_t)s.bias[row]);
        output[row] = scale16(sum, s.multipliers[row], s.shifts[row], s.low, s.high);
    }
}
