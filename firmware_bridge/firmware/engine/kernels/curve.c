/* A function of int16 values by its table, plain C. */
#include "../residual.h"

bool edge_check_curve(const edge_model *m, const edge_curve *p) { return edge_curve_ok(m, p); }

void edge_run_curve(const edge_model *m, const edge_curve *p)
{
    const int16_t *input = edge_at(m, p->input), *table = edge_at(m, p->table);
    const int32_t bits = p->bits;
    int16_t *output = edge_to(m, p->output);
    for (const int16_t *const end = output + p->size; output < end;)
        *output++ = (int16_t)edge_curve_at(table, bits, *input++);
}
