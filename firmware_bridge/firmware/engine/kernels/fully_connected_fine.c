/* FULLY_CONNECTED whose effective scales need multipliers of 62 bits: rare, so plain C for every kernel set. */
#include "../convolution.h"

static edge_fully_connected fields(const edge_fully_connected_fine *p)
{
    edge_fully_connected copy;
    memcpy(&copy, p, sizeof copy);
    return copy;
}

bool edge_check_fully_connected_fine(const edge_model *m, const edge_fully_connected_fine *p)
{
    const edge_fully_connected copy = fields(p);
    if (!edge_fully_connected_ok(m, &copy, 4))
        return false;
    const int32_t *fine = (const int32_t *)edge_at(m, p->channels) + 3 * p->units;
    for (int32_t u = 0; u < p->units; u++)
        if (fine[u] < 0)
            return false;
    return true;
}

/* edge_scale_once by multiplier + fine / 2^31. */
static int32_t scale(int32_t x, int32_t multiplier, int32_t fine, int32_t shift)
{
    const int32_t total = 31 - shift;
    const int64_t product = (int64_t)x * multiplier + (((int64_t)x * fine) >> 31);
    return (int32_t)((product + ((int64_t)1 << (total - 1))) >> total);
}

void edge_run_fully_connected_fine(const edge_model *m, const edge_fully_connected_fine *p)
{
    const int8_t *input = edge_at(m, p->input);
    const int32_t *bias = edge_at(m, p->channels);
    const int32_t *multipliers = bias + p->units, *shifts = multipliers + p->units, *fine = shifts + p->units;
    int8_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->depth) {
        const int8_t *weights = edge_at(m, p->weights);
        for (int32_t u = 0; u < p->units; u++, weights += p->depth) {
            const uint32_t sum = edge_dot(input, weights, p->depth, (uint32_t)bias[u]);
            const int32_t scaled = scale((int32_t)sum, multipliers[u], fine[u], shifts[u]);
            *output++ = edge_int8(scaled, p->output_zero, p->low, p->high);
        }
    }
}
