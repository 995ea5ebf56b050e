/* Fixed-point products as LiteRT's reference kernels round them where they round twice:
 * ADD, SUB, MUL, MEAN, SOFTMAX. */
#ifndef EDGE_ROUNDING_H
#define EDGE_ROUNDING_H

#include <stdint.h>

/* a * b / 2^31, half up. LiteRT saturates the product of two INT32_MIN; b may not be INT32_MIN here. */
static inline int32_t edge_high_product(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^exponent, half away from zero; exponent 0 to 31. */
static inline int32_t edge_divide_power(int32_t x, int32_t exponent)
{
    const uint32_t mask = ((uint32_t)1 << exponent) - 1u;
    const uint32_t half = (mask >> 1) + (x < 0);
    return (x >> exponent) + (((uint32_t)x & mask) > half);
}

/* x * multiplier / 2^31 * 2^shift, rounded at the product and again at the shift; wraps where it does not
 * fit. shift from -31 to 30, multiplier not negative. */
static inline int32_t edge_scale_twice(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t high = edge_high_product((int32_t)((uint32_t)x << left), multiplier);
    return edge_divide_power(high, left - shift);
}

#endif
