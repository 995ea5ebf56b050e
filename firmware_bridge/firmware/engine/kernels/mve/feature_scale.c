/* Each column of a grid scaled and moved by itself, for Cortex-M55: four columns at a time. */
#include "lanes.h"

bool edge_check_feature_scale(const edge_model *m, const edge_feature_scale *p) { return edge_feature_scale_ok(m, p); }

void edge_run_feature_scale(const edge_model *m, const edge_feature_scale *p)
{
    const int32_t *features = edge_at(m, p->features);
    const uint32x4_t places = edge_places(p->transposed ? p->rows : 1);
    const int32_t step = p->transposed ? 1 : p->columns;
    for (int32_t c = 0; c < p->columns; c += 4, features += 4) {
        const mve_pred16_t which = vctp32q((uint32_t)(p->columns - c));
        const int32x4_t multipliers = vldrwq_z_s32(features, which), offsets = vldrwq_z_s32(features + 2 * p->columns, which);
        const int32x4_t shifts = vsubq_n_s32(vldrwq_z_s32(features + p->columns, which), 13); /* -31 to -1 */
        const int16_t *input = (const int16_t *)edge_at(m, p->input) + c;
        int16_t *output = (int16_t *)edge_to(m, p->output) + (p->transposed ? c * p->rows : c);
        for (int32_t r = 0; r < p->rows; r++, input += p->columns, output += step) {
            const int32x4_t raised = vshlq_n_s32(vldrhq_z_s32(input, which), 14);
            const int32x4_t scaled = vrshlq_s32(vmulhq_s32(raised, multipliers), shifts);
            const int32x4_t value = edge_saturated(vaddq_s32(scaled, offsets));
            vstrhq_scatter_shifted_offset_p_s32(output, places, value, which);
        }
    }
}
