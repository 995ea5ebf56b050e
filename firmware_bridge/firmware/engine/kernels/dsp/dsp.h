/* What the kernels for Cortex-M4 and M7 share: bytes to pairs of 16 bits, and requantization. */
#ifndef EDGE_DSP_H
#define EDGE_DSP_H

#include "../rows/scaling.h"

#ifndef __ARM_FEATURE_DSP
#error "these kernels need the DSP extension (Cortex-M4, M7, M33, M55)"
#endif

/* Bytes 0 and 2 as two int16. */
static inline uint32_t edge_even(uint32_t bytes)
{
    uint32_t pair;
    __asm("sxtb16 %0, %1" : "=r"(pair) : "r"(bytes));
    return pair;
}

/* Bytes 1 and 3 as two int16. */
static inline uint32_t edge_odd(uint32_t bytes)
{
    uint32_t pair;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(bytes));
    return pair;
}

/* sum + both products, modulo 2^32. */
static inline uint32_t edge_multiply_pairs(uint32_t a, uint32_t b, uint32_t sum)
{
    __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline uint32_t edge_multiply_bytes(uint32_t even, uint32_t odd, uint32_t weights, uint32_t sum)
{
    sum = edge_multiply_pairs(even, edge_even(weights), sum);
    return edge_multiply_pairs(odd, edge_odd(weights), sum);
}

/* Two words of weights, u and v, times the pairs even and x of four values, added to two sums. */
#define EDGE_TWO_ROWS(first, second)                       \
    "sxtb16 %[t], %[u]\n\t"                                \
    "sxtb16 %[u], %[u], ror #8\n\t"                        \
    "smlad %[" first "], %[even], %[t], %[" first "]\n\t"  \
    "sxtb16 %[t], %[v]\n\t"                                \
    "smlad %[" first "], %[x], %[u], %[" first "]\n\t"     \
    "sxtb16 %[v], %[v], ror #8\n\t"                        \
    "smlad %[" second "], %[even], %[t], %[" second "]\n\t" \
    "smlad %[" second "], %[x], %[v], %[" second "]\n\t"

static inline uint32_t edge_word(const int8_t *at)
{
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

/* For scales of 1/4 and more. */
EDGE_INNER int32_t edge_requantize_slowly(int32_t sum, int32_t multiplier, int32_t shift, const edge_scaling *s)
{
    return edge_limited(edge_scale(sum, multiplier, shift), s->zero, s->low, s->high);
}

/* edge_limited(edge_scale(...)). For scales below 1/4 the last rounding shift and the zero point are three instructions:
 * x / 2^n half up + zero = (x / 2^(n-1) + 1 + 2 zero) / 2, all divisions rounding down. */
static inline edge_out edge_requantize(uint32_t sum, int32_t multiplier, int32_t shift, const edge_scaling *s)
{
    const int32_t n = -shift;
    if (n < 2)
        return (edge_out)edge_requantize_slowly((int32_t)sum, multiplier, shift, s);
#if EDGE_ROUNDINGS == 1
    const int32_t upper = (int32_t)(((int64_t)(int32_t)sum * multiplier) >> 32) >> (n - 2);
#else
    const int32_t product = edge_high_product((int32_t)sum, multiplier);
    const int32_t upper = (product + (product >> 31)) >> (n - 1); /* half away from zero, not up */
#endif
    return (edge_out)edge_clamp((upper + 2 * s->zero + 1) >> 1, s->low, s->high);
}

#endif
