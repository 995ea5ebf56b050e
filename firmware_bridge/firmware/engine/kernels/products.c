/* Sums of products, plain C. Functions of their own: inlined into a loop of many variables they would spill. */
#include "../convolution.h"

uint32_t edge_dot(const int8_t *x, const int8_t *w, int32_t n, uint32_t sum)
{
    for (const int8_t *end = x + n; x != end;)
        sum += (uint32_t)(*x++ * *w++);
    return sum;
}

void edge_dot4(const int8_t *x, const int8_t *w, int32_t stride, int32_t n, uint32_t *sum)
{
    const int8_t *w1 = w + stride, *w2 = w1 + stride, *w3 = w2 + stride;
    uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    for (const int8_t *end = x + n; x != end;) {
        const int32_t value = *x++;
        s0 += (uint32_t)(value * *w++);
        s1 += (uint32_t)(value * *w1++);
        s2 += (uint32_t)(value * *w2++);
        s3 += (uint32_t)(value * *w3++);
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}
