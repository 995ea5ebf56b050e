/* Windows of memory times rows of weights in 16 bits: what layers16.c asks of a kernel set. Weights are packed by
 * edge_ad.compile.integer.operators.rows16. */
#ifndef EDGE_ROWS16_H
#define EDGE_ROWS16_H

#include "convolution.h"
#include "functions.h"

/* Values that lie together: a row is a whole number of such runs, the last one filled up with zeros. */
#if EDGE_KERNELS == EDGE_MVE
#define EDGE_RUN16 8
#else
#define EDGE_RUN16 2
#endif

/* How sums become results: those of hidden layers and of features are kept within their limits by one instruction. */
enum { EDGE_KEPT_ANY, EDGE_KEPT_SHORT, EDGE_KEPT_HIDDEN };
#define EDGE_MOST_HIDDEN ((1 << 14) - 1)

typedef struct {
    const int32_t *bias, *multipliers; /* one a row */
    int32_t shift, low, high, kept;
} edge_scaling16;

static inline edge_scaling16 edge_scaling16_of(const int32_t *bias, int32_t rows, int32_t shift, int32_t low, int32_t high)
{
    const edge_scaling16 s = {bias, bias + rows, shift, low, high,
                              low == 0 && high == EDGE_MOST_HIDDEN    ? EDGE_KEPT_HIDDEN
                              : low == INT16_MIN && high == INT16_MAX ? EDGE_KEPT_SHORT
                                                                      : EDGE_KEPT_ANY};
    return s;
}

/* What of a window lies in memory: `count` stretches of `runs` runs, none of them empty, `skip` values between the end of
 * one and the next. first, gap: values of a row of weights in front of the first stretch's, and between those of one and
 * the next; whole runs. x is aligned to 2 only. */
typedef struct {
    const int16_t *x;
    int32_t count, runs, skip, first, gap;
} edge_window16;

/* output[r] = clamp(scale(bias[r] + window . weights[r])) for each of `rows` rows of `depth` values, whole runs of them.
 * weights aligned to 4. Rows lie in groups of four, the last with what is left, a group's interleaved by runs. */
void edge_rows16(const edge_window16 *window, const int16_t *weights, int32_t depth, int32_t rows,
                 const edge_scaling16 *s, int16_t *output);

static inline int16_t edge_scale16(uint32_t sum, int32_t multiplier, const edge_scaling16 *s)
{
    const int64_t scaled = edge_scale_rarely((int32_t)sum, multiplier, s->shift);
    return (int16_t)(scaled < s->low ? s->low : scaled > s->high ? s->high : scaled);
}

#endif
