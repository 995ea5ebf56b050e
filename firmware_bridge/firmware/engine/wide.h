/* What the kernels of fully_connected_wide share. */
#ifndef EDGE_WIDE_H
#define EDGE_WIDE_H

#include "convolution.h"
#include "functions.h"

/* A unit's scale is a multiplier whose lowest six bits say how far the product is shifted, less 1: 0 to 61. */
static inline int16_t edge_wide_scaled(int32_t sum, int32_t scale)
{
    return edge_int16(edge_scale_long(sum, scale, 30 - (scale & 63)));
}

/* Set in scales whose products are shifted by 33 or more: their lower 32 bits then count for nothing. */
#define EDGE_WIDE_FAR 32

/* Whether all of it lies in bounds; packed: bytes of a row of weights. */
static inline bool edge_fully_connected_wide_ok(const edge_model *m, const edge_fully_connected_wide *p,
                                                uint64_t packed)
{
    const uint64_t weights = edge_extent(p->units, p->depth, 1, 1);
    const uint64_t output = edge_extent(p->batch, p->units, 1, 1);
    if (!weights || !output || p->first < 0 || p->first > 1 << 24 || p->batch > 1 << 24)
        return false;
    const uint64_t input = ((uint64_t)p->first + (uint64_t)p->batch) * (uint64_t)p->depth;
    if ((input | output | weights) >> 30 || !edge_readable(m, p->input, 2 * input, 2) ||
        !edge_writable(m, p->output, 2 * output, 2) ||
        !edge_readable(m, p->weights, (uint64_t)p->units * packed, 4) || !(p->channels & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->channels, (uint64_t)p->units * 8, 4))
        return false;
    const int32_t *scales = (const int32_t *)edge_at(m, p->channels) + p->units;
    for (int32_t u = 0; u < p->units; u++)
        if (scales[u] < 0 || (scales[u] & 63) > 61)
            return false;
    return true;
}

#endif
