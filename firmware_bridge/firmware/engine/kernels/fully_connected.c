/* FULLY_CONNECTED, plain C. */
#include "../internal.h"

bool edge_check_fully_connected(const edge_model *m, const edge_fully_connected *p)
{
    const uint64_t units = edge_extent(p->units, 1, 1, 1);
    const uint64_t weights = edge_extent(p->units, p->depth, 1, 1);
    const uint64_t input = edge_extent(p->batch, p->depth, 1, 1);
    const uint64_t output = edge_extent(p->batch, p->units, 1, 1);
    if (!units || !weights || !input || !output || !edge_readable(m, p->input, input, 1) ||
        !edge_writable(m, p->output, output, 1) || !edge_readable(m, p->weights, weights, 1) ||
        !edge_readable(m, p->channels, 12 * units, 4) || !(p->channels & EDGE_IN_IMAGE))
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
        for (int32_t u = 0; u < p->units; u++, weights += p->depth) {
            uint32_t sum = (uint32_t)bias[u];
            for (int32_t d = 0; d < p->depth; d++)
                sum += (uint32_t)(input[d] * weights[d]);
            const int32_t scaled = edge_scale_once((int32_t)sum, multipliers[u], shifts[u]);
            *output++ = edge_int8(scaled, p->output_zero, p->low, p->high);
        }
    }
}
