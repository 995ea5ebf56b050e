/* FULLY_CONNECTED, plain C: four units at a time. */
#include "../convolution.h"

bool edge_check_fully_connected(const edge_model *m, const edge_fully_connected *p)
{
    const uint64_t units = edge_extent(p->units, 1, 1, 1);
    const uint64_t weights = edge_extent(p->units, p->depth, 1, 1);
    const uint64_t input = edge_extent(p->batch, p->depth, 1, 1);
    const uint64_t output = edge_extent(p->batch, p->units, 1, 1);
    if (!units || !weights || !input || !output || (weights | input | output) >> 31 ||
        !edge_readable(m, p->input, input, 1) || !edge_writable(m, p->output, output, 1) ||
        !edge_readable(m, p->weights, weights, 1) || !(p->channels & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->channels, 12 * units, 4) || p->low < -128 || p->low > p->high || p->high > 127)
        return false;
    const int32_t *channels = edge_at(m, p->channels);
    return edge_scales_ok(channels + units, channels + 2 * units, p->units);
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
                edge_dot(input, weights, p->depth, sum);
            for (int32_t k = 0; k < lanes; k++) {
                const int32_t total = (int32_t)(sum[k] + (uint32_t)bias[u + k]);
                const int32_t scaled = edge_scale_once(total, multipliers[u + k], shifts[u + k]);
                *output++ = edge_int8(scaled, p->output_zero, p->low, p->high);
            }
        }
    }
}
