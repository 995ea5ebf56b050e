/* FULLY_CONNECTED of int16 activations with INT8 weights, plain C: four units at a time. */
#include "../wide.h"

bool edge_check_fully_connected_wide(const edge_model *m, const edge_fully_connected_wide *p)
{
    return edge_fully_connected_wide_ok(m, p, (uint64_t)p->depth);
}

/* sum[k] += x . (w + k * n), k = 0 to 3. A function of its own: inlined it would spill. */
static EDGE_NOINLINE void dot4(const int16_t *x, const int8_t *w, int32_t n, uint32_t *sum)
{
    const int8_t *w1 = w + n, *w2 = w1 + n, *w3 = w2 + n;
    uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    for (const int16_t *end = x + n; x != end;) {
        const int32_t value = *x++;
        s0 += (uint32_t)(value * *w++);
        s1 += (uint32_t)(value * *w1++);
        s2 += (uint32_t)(value * *w2++);
        s3 += (uint32_t)(value * *w3++);
    }
    sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

static uint32_t dot(const int16_t *x, const int8_t *w, int32_t n)
{
    uint32_t sum = 0;
    for (const int16_t *end = x + n; x != end;)
        sum += (uint32_t)(*x++ * *w++);
    return sum;
}

void edge_run_fully_connected_wide(const edge_model *m, const edge_fully_connected_wide *p)
{
    const int16_t *input = (const int16_t *)edge_at(m, p->input) + p->first * p->depth;
    const int32_t *bias = edge_at(m, p->channels), *scales = bias + p->units;
    int16_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->depth) {
        const int8_t *weights = edge_at(m, p->weights);
        for (int32_t u = 0, lanes; u < p->units; u += lanes, weights += lanes * p->depth) {
            uint32_t sum[4] = {0, 0, 0, 0};
            lanes = p->units - u >= 4 ? 4 : 1;
            if (lanes == 4)
                dot4(input, weights, p->depth, sum);
            else
                sum[0] = dot(input, weights, p->depth);
            for (int32_t k = 0; k < lanes; k++) {
                const int32_t total = (int32_t)(sum[k] + (uint32_t)bias[u + k]);
                *output++ = edge_wide_scaled(total, scales[u + k]);
            }
        }
    }
}
