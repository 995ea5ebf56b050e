/* What the kernel sets share of what stands between matrix products on a 16-bit residual stream; defined in
 * edge_ad/runtime/integer/residual.py. */
#ifndef EDGE_RESIDUAL_H
#define EDGE_RESIDUAL_H

#include "functions.h"

#define EDGE_MOST_OFFSET (1 << 24) /* of a feature: leaves its sums in 32 bits */

static inline bool edge_grid_ok(int32_t rows, int32_t columns, int32_t transposed)
{
    return edge_extent(rows, columns, 1, 1) && !(edge_extent(rows, columns, 1, 1) >> 30) &&
           (transposed == 0 || transposed == 1);
}

static inline bool edge_feature_scale_ok(const edge_model *m, const edge_feature_scale *p)
{
    if (!edge_grid_ok(p->rows, p->columns, p->transposed))
        return false;
    const uint64_t bytes = 2 * edge_extent(p->rows, p->columns, 1, 1);
    if (!edge_readable(m, p->input, bytes, 2) || !edge_writable(m, p->output, bytes, 2) ||
        !(p->features & EDGE_IN_IMAGE) || !edge_readable(m, p->features, (uint64_t)p->columns * 12, 4))
        return false;
    const int32_t *shifts = (const int32_t *)edge_at(m, p->features) + p->columns, *offsets = shifts + p->columns;
    for (int32_t c = 0; c < p->columns; c++)
        if (!edge_scales16(shifts[c]) || offsets[c] < -EDGE_MOST_OFFSET || offsets[c] > EDGE_MOST_OFFSET)
            return false;
    return true;
}

static inline bool edge_curve_ok(const edge_model *m, const edge_curve *p)
{
    const uint64_t size = edge_extent(p->size, 1, 1, 1);
    return size && edge_readable(m, p->input, 2 * size, 2) && edge_writable(m, p->output, 2 * size, 2) &&
           edge_curve_table_ok(m, p->table, p->bits);
}

static inline bool edge_gated_add_ok(const edge_model *m, const edge_gated_add *p)
{
    if (!edge_grid_ok(p->rows, p->columns, p->transposed))
        return false;
    const uint64_t bytes = 2 * edge_extent(p->rows, p->columns, 1, 1);
    return edge_writable(m, p->stream, bytes, 2) && edge_readable(m, p->hidden, bytes, 2) &&
           edge_readable(m, p->gate, bytes, 2) && edge_curve_table_ok(m, p->table, p->bits) && p->shift >= -31 &&
           p->shift <= -2;
}

#endif
