/* Runs of memory times rows of weights in 16 bits: what layers16.c asks of a kernel set. Weights are packed by
 * edge_ad.compile.integer.operators.rows16. */
#ifndef EDGE_ROWS16_H
#define EDGE_ROWS16_H

#include "convolution.h"
#include "functions.h"

typedef struct {
    const int32_t *bias, *multipliers, *shifts; /* one a row */
    int32_t low, high;
} edge_scaling16;

/* output[r] = clamp(scale(bias[r] + x . weights[r])) for each of `rows` rows of `depth` values; an odd depth reads one
 * more of x, times 0. x and weights aligned to 4. Rows lie in groups of four, the last with what is left, a group's
 * interleaved by pairs of values. */
void edge_rows16(const int16_t *x, const int16_t *weights, int32_t depth, int32_t rows, const edge_scaling16 *s,
                 int16_t *output);

#endif
