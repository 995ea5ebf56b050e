/* Rows of weights times a run of memory in 16 bits for Cortex-M4 and M7: two products an instruction (SMLAD), four rows
 * at once, no value to be widened: fewer instructions than with 8 bits. */
#include "../../rows16.h"

#ifndef __ARM_FEATURE_DSP
#error "these kernels need the DSP extension (Cortex-M4, M7, M33, M55)"
#endif

#define EDGE_FOUR_ROWS(pair)               \
    "ldrd %[u], %[v], [%[w]], #8\n\t"      \
    "smlad %[a], " pair ", %[u], %[a]\n\t" \
    "smlad %[b], " pair ", %[v], %[b]\n\t" \
    "ldrd %[u], %[v], [%[w]], #8\n\t"      \
    "smlad %[c], " pair ", %[u], %[c]\n\t" \
    "smlad %[d], " pair ", %[v], %[d]\n\t"

/* The upper word of a product, half up: enough for scales below 1/4, where the lower word is less than what rounds. */
static inline int16_t finished(uint32_t sum, int32_t multiplier, int32_t half, int32_t down, int32_t low, int32_t high)
{
    const int32_t upper = (int32_t)(((int64_t)(int32_t)sum * multiplier) >> 32);
    return (int16_t)edge_clamp((upper + half) >> down, low, high);
}

/* Four rows. Written out because the compiler spills what just fits the registers. */
static EDGE_NOINLINE void four_rows(const uint32_t *x, const uint32_t *w, int32_t pairs, const int32_t *bias,
                                    const int32_t *multipliers, const edge_scaling16 *s, int16_t *output)
{
    uint32_t a = (uint32_t)bias[0], b = (uint32_t)bias[1], c = (uint32_t)bias[2], d = (uint32_t)bias[3], p, q, u, v;
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
                       : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [w] "+r"(w), [p] "=&r"(p),
                         [u] "=&r"(u), [v] "=&r"(v)
                       : [x] "r"(x)
                       : "memory");
    const int32_t down = -1 - s->shift, half = 1 << (down - 1), low = s->low, high = s->high;
    /* All four before the first store, which might change what is read for all the compiler knows. */
    const int16_t ya = finished(a, multipliers[0], half, down, low, high);
    const int16_t yb = finished(b, multipliers[1], half, down, low, high);
    const int16_t yc = finished(c, multipliers[2], half, down, low, high);
    const int16_t yd = finished(d, multipliers[3], half, down, low, high);
    output[0] = ya;
    output[1] = yb;
    output[2] = yc;
    output[3] = yd;
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

void edge_rows16(const int16_t *values, const int16_t *weights, int32_t depth, int32_t rows, const edge_scaling16 *scaling,
                 int16_t *output)
{
    const edge_scaling16 s = *scaling; /* no store to output can change it */
    const uint32_t *x = (const uint32_t *)(const void *)values, *w = (const uint32_t *)(const void *)weights;
    const int32_t pairs = depth / EDGE_RUN16;
    int32_t row = 0;
    for (; s.shift < -1 && row + 4 <= rows; row += 4, w += 4 * pairs)
        four_rows(x, w, pairs, s.bias + row, s.multipliers + row, &s, output + row);
    while (row < rows) {
        const int32_t n = rows - row < 4 ? rows - row : 4;
        for (int32_t r = 0; r < n; r++, row++)
            output[row] = edge_scale16(one_row(x, w + r, pairs, n, (uint32_t)s.bias[row]), s.multipliers[row], &s);
        w += n * pairs;
    }
}
