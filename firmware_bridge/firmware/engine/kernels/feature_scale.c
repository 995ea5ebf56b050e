/* Each column of a grid scaled and moved by itself, plain C. */
#include "../residual.h"

bool edge_check_feature_scale(const edge_model *m, const edge_feature_scale *p) { return edge_feature_scale_ok(m, p); }

void edge_run_feature_scale(const edge_model *m, const edge_feature_scale *p)
{
    const int32_t *multipliers = edge_at(m, p->features);
    const int32_t *shifts = multipliers + p->columns, *offsets = shifts + p->columns;
    const int32_t row_step = p->transposed ? 1 : p->columns, step = p->transposed ? p->rows : 1;
    for (int32_t c = 0; c < p->columns; c++) { /* a feature's constants stay in registers */
        const edge_short_scaling scaling = edge_short_scaling_of(multipliers[c], shifts[c]);
        const int32_t offset = offsets[c];
        const int16_t *input = (const int16_t *)edge_at(m, p->input) + c;
        int16_t *output = (int16_t *)edge_to(m, p->output) + c * step;
        for (int32_t r = 0; r < p->rows; r++, input += p->columns, output += row_step)
            *output = edge_short(edge_scale_short(*input, &scaling) + offset);
    }
}
