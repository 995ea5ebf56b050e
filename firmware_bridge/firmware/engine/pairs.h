/* Sums over int16 values in memory, two at a time where the core has the instructions for it. */
#ifndef EDGE_PAIRS_H
#define EDGE_PAIRS_H

#include <stdint.h>
#include <string.h>

#ifdef __ARM_FEATURE_DSP
static inline uint32_t edge_pair(const int16_t *x)
{
    uint32_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair;
}

/* sum + both products. */
static inline int64_t edge_add_products(int64_t sum, uint32_t x, uint32_t y)
{
    __asm("smlald %Q0, %R0, %1, %2" : "+r"(sum) : "r"(x), "r"(y));
    return sum;
}
#endif

/* The sum of n values, at most 2^15 of them. */
static inline int32_t edge_sum16(const int16_t *x, int32_t n)
{
    int32_t sum = 0;
#ifdef __ARM_FEATURE_DSP
    for (; n >= 4; n -= 4, x += 4) {
        __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(edge_pair(x)), "r"(0x10001));
        __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(edge_pair(x + 2)), "r"(0x10001));
    }
#endif
    while (n-- > 0)
        sum += *x++;
    return sum;
}

/* The sum of n squared differences, at most 2^15 of them. */
static inline int64_t edge_squares16(const int16_t *x, const int16_t *y, int32_t n)
{
    int64_t sum = 0;
#ifdef __ARM_FEATURE_DSP
    int64_t products = 0; /* a difference has 17 bits, one too many for the instruction: x^2 + y^2 - 2 xy */
    for (; n >= 4; n -= 4, x += 4, y += 4) {
        const uint32_t a = edge_pair(x), b = edge_pair(y), c = edge_pair(x + 2), d = edge_pair(y + 2);
        sum = edge_add_products(edge_add_products(sum, a, a), b, b);
        sum = edge_add_products(edge_add_products(sum, c, c), d, d);
        products = edge_add_products(edge_add_products(products, a, b), c, d);
    }
    sum -= 2 * products;
#endif
    while (n-- > 0) {
        const int32_t off = *x++ - *y++;
        sum += (int64_t)off * off;
    }
    return sum;
}

#endif
