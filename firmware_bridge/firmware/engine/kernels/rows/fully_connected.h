/* FULLY_CONNECTED for kernel sets with edge_rows and edge_packed_bytes. */
#include "scaling.h"

bool edge_check_fully_connected(const edge_model *m, const edge_fully_connected *p)
{
    return edge_fully_connected_ok(m, p, 3) &&
           edge_readable(m, p->weights, edge_packed_bytes((uint64_t)p->units, (uint64_t)p->depth), 4);
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
