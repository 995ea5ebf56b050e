/* FULLY_CONNECTED for kernel sets with edge_rows and edge_packed_bytes. */
#include "scaling.h"

bool edge_check_fully_connected(const edge_model *m, const edge_fully_connected *p)
{
    const uint64_t units = edge_extent(p->units, 1, 1, 1), weights = edge_extent(p->units, p->depth, 1, 1);
    const uint64_t input = edge_extent(p->batch, p->depth, 1, 1);
    const uint64_t output = edge_extent(p->batch, p->units, 1, 1);
    if (!units || !weights || !input || !output || !edge_readable(m, p->input, input, 1) ||
        !edge_writable(m, p->output, output, 1) ||
        !edge_readable(m, p->weights, edge_packed_bytes(units, (uint64_t)p->depth), 4) ||
        !edge_readable(m, p->channels, 12 * units, 4) || !(p->channels & EDGE_IN_IMAGE))
        return false;
    const int32_t *channels = edge_at(m, p->channels);
    return edge_scales_ok(channels + units, channels + 2 * units, p->units);
}

void edge_run_fully_connected(const edge_model *m, const edge_fully_connected *p)
{
    const int8_t *input = edge_at(m, p->input), *weights = edge_at(m, p->weights);
    const edge_scaling scaling =
        edge_scaling_of(edge_at(m, p->channels), p->units, p->output_zero, p->low, p->high);
    int8_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->depth, output += p->units)
        edge_rows(input, weights, p->depth, p->units, &scaling, output);
}
