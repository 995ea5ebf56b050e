/* FULLY_CONNECTED, plain C: four units at a time. */
#include "../convolution.h"

bool edge_check_fully_connected(const edge_model *m, const edge_fully_connected *p)
{
    return edge_fully_connected_ok(m, p, 3);
}

void edge_run_fully_connected(const edge_model *m, const edge_fully_connected *p)
{
    const int8_t *input = edge_at(m, p->input);
    const int32_t *bias = edge_at(m, p->channels);
    const int32_t *multipliers = bias + p->units, *shifts = multipliers + p->units;
    int8_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->depth) {
        const int8_t *weights = edge_at(m, p->weights);
        for (int32_t u = 0, lanes; u < p->units; u += lanes, weights += lanes * p->depth) {
            uint32_t sum[4] = {0, 0, 0, 0};
            lanes = p->units - u >= 4 ? 4 : 1;
            if (lanes == 4)
                edge_dot4(input, weights, p->depth, p->depth, sum);
            else
                sum[0] = edge_dot(input, weights, p->depth, 0);
            for (int32_t k = 0; k < lanes; k++) {
                const int32_t total = (int32_t)(sum[k] + (uint32_t)bias[u + k]);
                const int32_t scaled = edge_scale_once(total, multipliers[u + k], shifts[u + k]);
                *output++ = edge_int8(scaled, p->output_zero, p->low, p->high);
            }
        }
    }
}
