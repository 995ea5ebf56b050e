/* A run of memory times rows of weights: two 16-bit products an instruction (SMLAD), four rows at once.
 *
 * Weights are packed by edge_ad.compile.integer.operators.packing: rows in groups of four, the last group with what is
 * left; a group's rows lie interleaved by words of four bytes, the last word of a row filled up with zeros.
 */
#ifndef EDGE_DSP_ROWS_H
#define EDGE_DSP_ROWS_H

#include "dsp.h"

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

/* Four values times four rows: x to its pairs, then for two rows at a time weights to pairs and two products. */
#define EDGE_FOUR_BY_FOUR                 \
    "ldr %[x], [%[input]], #4\n\t"        \
    "ldrd %[u], %[v], [%[weights]], #8\n\t" \
    "sxtb16 %[even], %[x]\n\t"            \
    "sxtb16 %[x], %[x], ror #8\n\t"       \
    EDGE_TWO_ROWS("a", "b")               \
    "ldrd %[u], %[v], [%[weights]], #8\n\t" \
    EDGE_TWO_ROWS("c", "d")

/* sums[r] += x . w[r] of four rows. Written out because the compiler spills what just fits the registers. */
static inline void edge_four_sums(const int8_t *x, const uint32_t *w, int32_t depth, uint32_t *sums)
{
    uint32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], value, even, t, u, v;
    const int8_t *end = x + (depth & ~7);
    if (x != end)
        __asm volatile("1:\n\t" EDGE_FOUR_BY_FOUR EDGE_FOUR_BY_FOUR "cmp %[input], %[end]\n\t"
                       "bne 1b"
                       : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [input] "+r"(x), [weights] "+r"(w),
                         [x] "=&r"(value), [even] "=&r"(even), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v)
                       : [end] "r"(end)
                       : "cc", "memory");
    for (int32_t left = depth & 7; left > 0; left -= 4, x += 4, w += 4) {
        const uint32_t word = left >= 4 ? edge_word(x) : edge_last_word(x, left);
        even = edge_even(word);
        value = edge_odd(word);
        a = edge_multiply_bytes(even, value, w[0], a);
        b = edge_multiply_bytes(even, value, w[1], b);
        c = edge_multiply_bytes(even, value, w[2], c);
        d = edge_multiply_bytes(even, value, w[3], d);
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

static inline void edge_four_out(const int8_t *x, const uint32_t *w, int32_t depth, const edge_scaling *s, int32_t row,
                                 edge_out *output)
{
    const int32_t *bias = s->bias + row, *m = s->multipliers + row, *shift = s->shifts + row;
    uint32_t sums[4] = {(uint32_t)bias[0], (uint32_t)bias[1], (uint32_t)bias[2], (uint32_t)bias[3]};
    edge_four_sums(x, w, depth, sums);
    for (int r = 0; r < 4; r++)
        output[r] = edge_requantize(sums[r], m[r], shift[r], s);
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
EDGE_INNER void edge_rows(const int8_t *x, const int8_t *weights, int32_t depth, int32_t rows,
                          const edge_scaling *scaling, edge_out *output)
{
    const edge_scaling own = *scaling, *s = &own; /* no store to output can change it */
    const uint32_t *w = (const uint32_t *)(const void *)weights;
    const int32_t words = (depth + 3) / 4;
    int32_t row = 0;
    for (; row + 4 <= rows; row += 4, w += 4 * words)
        edge_four_out(x, w, depth, s, row, output + row);
    const int32_t left = rows - row;
    for (; row < rows; row++, w++) {
        const uint32_t sum = edge_one_row(x, w, depth, left, (uint32_t)s->bias[row]);
        output[row] = edge_requantize(sum, s->multipliers[row], s->shifts[row], s);
    }
}

/* Bytes of `rows` packed rows. */
static inline uint64_t edge_packed_bytes(uint64_t rows, uint64_t depth) { return rows * ((depth + 3) / 4 * 4); }

static inline void edge_copy_bytes(int8_t *to, const int8_t *from, int32_t bytes)
{
    for (; bytes >= 16; bytes -= 16, to += 16, from += 16)
        memcpy(to, from, 16);
    for (; bytes >= 4; bytes -= 4, to += 4, from += 4)
        memcpy(to, from, 4);
    while (bytes-- > 0)
        *to++ = *from++;
}

static inline void edge_fill_bytes(int8_t *to, int32_t value, int32_t bytes)
{
    if (bytes > 0)
        memset(to, value, (size_t)bytes);
}

#endif
