/* A residual stream plus what a gate lets through, for Cortex-M55: four values at a time. */
#include "lanes.h"

bool edge_check_gated_add(const edge_model *m, const edge_gated_add *p) { return edge_gated_add_ok(m, p); }

void edge_run_gated_add(const edge_model *m, const edge_gated_add *p)
{
    const int16_t *hidden = edge_at(m, p->hidden), *gate = edge_at(m, p->gate), *table = edge_at(m, p->table);
    const int32_t lines = p->transposed ? p->columns : p->rows, length = p->transposed ? p->rows : p->columns;
    const int32_t line_step = p->transposed ? 1 : p->columns, step = p->transposed ? p->columns : 1;
    const uint32x4_t places = edge_places(step);
    const int32x4_t multiplier = vdupq_n_s32(p->multiplier);
    int16_t *line = edge_to(m, p->stream);
    for (int32_t i = 0; i < lines; i++, line += line_step, hidden += length, gate += length) {
        int16_t *stream = line;
        for (int32_t j = 0; j < length; j += 4, stream += 4 * step) {
            const mve_pred16_t which = vctp32q((uint32_t)(length - j));
            const int32x4_t let = edge_curve_lanes(table, p->bits, vldrhq_z_s32(gate + j, which));
            const int32x4_t upper = vmulhq_s32(vmulq_s32(vldrhq_z_s32(hidden + j, which), let), multiplier);
            const int32x4_t before = vldrhq_gather_shifted_offset_z_s32(stream, places, which);
            const int32x4_t after = edge_saturated(vaddq_s32(before, vrshlq_n_s32(upper, p->shift + 1)));
            vstrhq_scatter_shifted_offset_p_s32(stream, places, after, which);
        }
    }
}
