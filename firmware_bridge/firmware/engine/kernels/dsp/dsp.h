/* What the kernels for Cortex-M4 and M7 share: two 16-bit products an instruction (SMLAD), four rows at once.
 *
 * Weights are packed by edge_ad.compile.integer.packing: rows in groups of four, the last group with what is left;
 * a group's rows lie interleaved by words of four bytes, the last word of a row filled up with zeros.
 */
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

static inline uint32_t edge_word(const int8_t *at)
{
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

/* The last 1 to 3 bytes of a row. */
static inline uint32_t edge_last_word(const int8_t *at, int32_t bytes)
{
    uint32_t word = (uint8_t)at[0];
    if (bytes > 1)
        word |= (uint32_t)(uint8_t)at[1] << 8;
    if (bytes > 2)
        word |= (uint32_t)(uint8_t)at[2] << 16;
    return word;
}

/* edge_int8(edge_scale(...)). For scales below 1/4 the last rounding shift and the zero point are three instructions:
 * x / 2^n half up + zero = (x / 2^(n-1) + 1 + 2 zero) / 2, all divisions rounding down. */
static inline int8_t edge_requantize(uint32_t sum, int32_t multiplier, int32_t shift, const edge_scaling *s)
{
    const int32_t n = -shift;
    if (n < 2)
        return edge_int8(edge_scale((int32_t)sum, multiplier, shift), s->zero, s->low, s->high);
#if EDGE_ROUNDINGS == 1
    const int32_t upper = (int32_t)(((int64_t)(int32_t)sum * multiplier) >> 32) >> (n - 2);
#else
    const int32_t product = edge_high_product((int32_t)sum, multiplier);
    const int32_t upper = (product + (product >> 31)) >> (n - 1); /* half away from zero, not up */
#endif
    return (int8_t)edge_clamp((upper + 2 * s->zero + 1) >> 1, s->low, s->high);
}

static inline void edge_four_rows(const int8_t *x, const uint32_t *w, int32_t depth, const edge_scaling *s, int32_t row,
                                  int8_t *output)
{
    const int32_t *bias = s->bias + row;
    uint32_t a = (uint32_t)bias[0], b = (uint32_t)bias[1], c = (uint32_t)bias[2], d = (uint32_t)bias[3];
    for (const int8_t *end = x + (depth & ~3); x < end; x += 4, w += 4) {
        const uint32_t word = edge_word(x), even = edge_even(word), odd = edge_odd(word);
        a = edge_multiply_bytes(even, odd, w[0], a);
        b = edge_multiply_bytes(even, odd, w[1], b);
        c = edge_multiply_bytes(even, odd, w[2], c);
        d = edge_multiply_bytes(even, odd, w[3], d);
    }
    if (depth & 3) {
        const uint32_t word = edge_last_word(x, depth & 3), even = edge_even(word), odd = edge_odd(word);
        a = edge_multiply_bytes(even, odd, w[0], a);
        b = edge_multiply_bytes(even, odd, w[1], b);
        c = edge_multiply_bytes(even, odd, w[2], c);
        d = edge_multiply_bytes(even, odd, w[3], d);
    }
    const int32_t *m = s->multipliers + row, *shift = s->shifts + row;
    output[0] = edge_requantize(a, m[0], shift[0], s);
    output[1] = edge_requantize(b, m[1], shift[1], s);
    output[2] = edge_requantize(c, m[2], shift[2], s);
    output[3] = edge_requantize(d, m[3], shift[3], s);
}

/* One of `rows` rows of a group. */
static inline uint32_t edge_one_row(const int8_t *x, const uint32_t *w, int32_t depth, int32_t rows, uint32_t sum)
{
    for (const int8_t *end = x + (depth & ~3); x < end; x += 4, w += rows) {
        const uint32_t word = edge_word(x);
        sum = edge_multiply_bytes(edge_even(word), edge_odd(word), *w, sum);
    }
    if (depth & 3) {
        const uint32_t word = edge_last_word(x, depth & 3);
        sum = edge_multiply_bytes(edge_even(word), edge_odd(word), *w, sum);
    }
    return sum;
}

/* output[r] = requantize(bias[r] + x . weights[r]) for each of `rows` rows of `depth` values. */
static inline void edge_rows(const int8_t *x, const int8_t *weights, int32_t depth, int32_t rows,
                             const edge_scaling *s, int8_t *output)
{
    const uint32_t *w = (const uint32_t *)(const void *)weights;
    const int32_t words = (depth + 3) / 4;
    int32_t row = 0;
    for (; row + 4 <= rows; row += 4, w += 4 * words)
        edge_four_rows(x, w, depth, s, row, output + row);
    const int32_t left = rows - row;
    for (; row < rows; row++, w++) {
        const uint32_t sum = edge_one_row(x, w, depth, left, (uint32_t)s->bias[row]);
        output[row] = edge_requantize(sum, s->multipliers[row], s->shifts[row], s);
    }
}

/* Bytes of `rows` packed rows. */
static inline uint64_t edge_packed_bytes(uint64_t rows, uint64_t depth) { return rows * ((depth + 3) / 4 * 4); }

static inline void edge_copy(int8_t *to, const int8_t *from, int32_t bytes)
{
    for (; bytes >= 4; bytes -= 4, to += 4, from += 4)
        memcpy(to, from, 4);
    while (bytes-- > 0)
        *to++ = *from++;
}

static inline void edge_fill(int8_t *to, int32_t value, int32_t bytes)
{
    if (bytes > 0)
        memset(to, value, (size_t)bytes);
}

#endif
