/* DEPTHWISE_CONV_2D for Cortex-M4 and M7: four channels from one word of input and one of weights. */
#define EDGE_ROUNDINGS 2
#include "dsp.h"

#define EDGE_BLOCK 4

static inline uint32_t low_product(uint32_t a, uint32_t b, uint32_t sum)
{
    __asm("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline uint32_t high_product(uint32_t a, uint32_t b, uint32_t sum)
{
    __asm("smlatt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

EDGE_INNER void edge_block(const int8_t *const *taps, int32_t n_taps, const int8_t *w, int32_t c,
                           const edge_scaling *s, int8_t *output)
{
    const int32_t *bias = s->bias + c, *m = s->multipliers + c, *shift = s->shifts + c;
    uint32_t sum0 = (uint32_t)bias[0], sum1 = (uint32_t)bias[1], sum2 = (uint32_t)bias[2], sum3 = (uint32_t)bias[3];
    for (const int8_t *const *end = taps + n_taps; taps != end; taps++, w += 4) {
        const uint32_t x = edge_word(*taps + c), weights = edge_word(w);
        const uint32_t x_even = edge_even(x), w_even = edge_even(weights);
        const uint32_t x_odd = edge_odd(x), w_odd = edge_odd(weights);
        sum0 = low_product(x_even, w_even, sum0);
        sum1 = low_product(x_odd, w_odd, sum1);
        sum2 = high_product(x_even, w_even, sum2);
        sum3 = high_product(x_odd, w_odd, sum3);
    }
    /* All four before the first store, which might change what s points to for all the compiler knows. */
    const int8_t y0 = edge_requantize(sum0, m[0], shift[0], s), y1 = edge_requantize(sum1, m[1], shift[1], s);
    const int8_t y2 = edge_requantize(sum2, m[2], shift[2], s), y3 = edge_requantize(sum3, m[3], shift[3], s);
    int8_t *to = output + c;
    to[0] = y0;
    to[1] = y1;
    to[2] = y2;
    to[3] = y3;
}

#include "../rows/depthwise.h"
