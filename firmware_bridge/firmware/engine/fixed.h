/* Fixed-point arithmetic that kernels share; defined in edge_ad/runtime/integer/arithmetic.py. */
#ifndef EDGE_FIXED_H
#define EDGE_FIXED_H

#include <stdint.h>

/* x / 2^shift, half up; shift from 0 to 62, |x| below 2^62. */
static inline int64_t edge_round_shift(int64_t x, int32_t shift)
{
    return shift ? (x + ((int64_t)1 << (shift - 1))) >> shift : x;
}

/* x * 2^left, half up where `left` (-31 to 31) is negative; what comes out must fit. */
static inline int32_t edge_shift_rounded(int32_t x, int32_t left)
{
    return left >= 0 ? (int32_t)((uint32_t)x << left) : (int32_t)edge_round_shift(x, -left);
}

/* Bits of x: 0 of 0, 1 of 1, 2 of 2 and 3, … */
static inline int32_t edge_bit_length(uint32_t x)
{
    int32_t bits = 0;
    for (int32_t step = 16; step; step >>= 1)
        if (x >> step)
            bits += step, x >>= step;
    return bits + (int32_t)x;
}

/* Values from -2^b to 2^b - 1 have b bits here. Or these of many values; its bit length is their b. */
static inline uint32_t edge_magnitude(int32_t x) { return (uint32_t)(x ^ (x >> 31)); }

#endif
