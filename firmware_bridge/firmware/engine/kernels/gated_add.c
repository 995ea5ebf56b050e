/* A residual stream plus what a gate lets through, plain C. */
#include "../residual.h"

bool edge_check_gated_add(const edge_model *m, const edge_gated_add *p) { return edge_gated_add_ok(m, p); }

void edge_run_gated_add(const edge_model *m, const edge_gated_add *p)
{
    const int16_t *hidden = edge_at(m, p->hidden), *gate = edge_at(m, p->gate), *table = edge_at(m, p->table);
    const int32_t bits = p->bits, multiplier = p->multiplier, down = -1 - p->shift; /* 1 to 30 */
    const int32_t half = (int32_t)(UINT32_C(1) << (down - 1));
    const int32_t lines = p->transposed ? p->columns : p->rows, length = p->transposed ? p->rows : p->columns;
    const int32_t line_step = p->transposed ? 1 : p->columns, step = p->transposed ? p->columns : 1;
    int16_t *line = edge_to(m, p->stream);
    for (int32_t i = 0; i < lines; i++, line += line_step) {
        int16_t *stream = line;
        for (int32_t j = 0; j < length; j++, stream += step) {
            const int32_t product = *hidden++ * edge_curve_at(table, bits, *gate++); /* 31 bits */
            const int32_t upper = (int32_t)((int64_t)product * multiplier >> 32);
            *stream = edge_short(*stream + ((upper + half) >> down));
        }
    }
}
