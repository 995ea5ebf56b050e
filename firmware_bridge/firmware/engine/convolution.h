/* What CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED share: checks, plain-C dot products. */
#ifndef EDGE_CONVOLUTION_H
#define EDGE_CONVOLUTION_H

#include "internal.h"
#include "rounding.h"

/* What a kernel writes. CONV_2D is compiled twice, to INT8 and, with EDGE_INT16, to int16. */
#ifdef EDGE_INT16
typedef int16_t edge_out;
#define EDGE_OUT_LOW (-32767)
#define EDGE_OUT_HIGH 32767
#else
typedef int8_t edge_out;
#define EDGE_OUT_LOW (-128)
#define EDGE_OUT_HIGH 127
#endif

/* Keeps a kernel's inner loop in registers: inlined into a caller of many variables it would spill. */
#if defined(__GNUC__)
#define EDGE_NOINLINE __attribute__((noinline))
#else
#define EDGE_NOINLINE
#endif

/* Records of one layout are copied to serve code that they share. */
#define EDGE_SAME_LAYOUT(a, b) typedef char edge_layout_of_##a[sizeof(edge_##a) == sizeof(edge_##b) ? 1 : -1]
EDGE_SAME_LAYOUT(depthwise, convolution);
EDGE_SAME_LAYOUT(convolution_int16, convolution);
EDGE_SAME_LAYOUT(transpose_convolution, convolution);
EDGE_SAME_LAYOUT(fully_connected_fine, fully_connected);

/* Whether every position of a walk along one axis, and what it is made of, fits an int32_t. */
static inline bool edge_walk_ok(int32_t count, int32_t stride, int32_t taps, int32_t dilation, int32_t pad)
{
    const int32_t limit = 1 << 24;
    if (stride < 1 || stride > limit || dilation < 1 || dilation > limit || pad < 0 || pad > limit)
        return false;
    return (int64_t)(count - 1) * stride + (int64_t)(taps - 1) * dilation <= (int64_t)1 << 30;
}

static inline bool edge_zero_ok(int32_t zero) { return zero >= -128 && zero <= 127; }

/* Whether all that a convolution's extents ask for lies in bounds; its offsets fit an int32_t. */
static inline bool edge_convolution_ok(const edge_model *m, const edge_convolution *p)
{
    const uint64_t input = edge_extent(p->batch, p->in_h, p->in_w, p->in_c);
    const uint64_t output = edge_extent(p->batch, p->out_h, p->out_w, p->out_c);
    if (!input || !output || p->groups < 1 || p->in_c % p->groups || p->out_c % p->groups)
        return false;
    const uint64_t weights = edge_extent(p->out_c, p->k_h, p->k_w, p->in_c / p->groups);
    if (!weights || (input | output | weights) >> 31 || !edge_readable(m, p->input, input, 1) ||
        !edge_writable(m, p->output, output * sizeof(edge_out), sizeof(edge_out)) ||
        !edge_readable(m, p->weights, weights, 1) || !(p->channels & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->channels, 12 * (uint64_t)p->out_c, 4))
        return false;
    const int32_t *channels = edge_at(m, p->channels);
    return edge_zero_ok(p->input_zero) && edge_zero_ok(p->output_zero) && p->low >= EDGE_OUT_LOW &&
           p->low <= p->high && p->high <= EDGE_OUT_HIGH &&
           edge_scales_ok(channels + p->out_c, channels + 2 * p->out_c, p->out_c);
}

/* Whether all of a FULLY_CONNECTED lies in bounds; rows: of its channels' constants. */
static inline bool edge_fully_connected_ok(const edge_model *m, const edge_fully_connected *p, uint32_t rows)
{
    const uint64_t weights = edge_extent(p->units, p->depth, 1, 1);
    const uint64_t input = edge_extent(p->batch, p->depth, 1, 1);
    const uint64_t output = edge_extent(p->batch, p->units, 1, 1);
    if (!weights || !input || !output || (weights | input | output) >> 31 ||
        !edge_readable(m, p->input, input, 1) || !edge_writable(m, p->output, output, 1) ||
        !edge_readable(m, p->weights, weights, 1) || !(p->channels & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->channels, (uint64_t)p->units * rows * 4, 4) || p->low < -128 ||
        p->low > p->high || p->high > 127 || !edge_zero_ok(p->output_zero))
        return false;
    const int32_t *channels = edge_at(m, p->channels);
    return edge_scales_ok(channels + p->units, channels + 2 * p->units, p->units);
}

/* edges[1] to edges[2] - 1: the taps inside 0 to extent - 1 along an axis where the first of them lies at `at`;
 * edges[0] = 0, edges[3] = taps. */
static inline void edge_inside(int32_t at, int32_t dilation, int32_t extent, int32_t taps, int32_t *edges)
{
    const int32_t before = at < 0 ? (-at + dilation - 1) / dilation : 0;
    const int32_t last = at + (taps - 1) * dilation;
    edges[0] = 0;
    edges[1] = before < taps ? before : taps;
    edges[2] = last < extent ? taps : at < extent ? (extent - at + dilation - 1) / dilation : 0;
    if (edges[2] < edges[1])
        edges[2] = edges[1];
    edges[3] = taps;
}

/* A scaled sum with the output's zero point added, as what it becomes. */
static inline edge_out edge_limited(int32_t scaled, int32_t zero, int32_t low, int32_t high)
{
    return (edge_out)edge_clamp((int32_t)((uint32_t)scaled + (uint32_t)zero), low, high);
}

/* One output channel's bias, multiplier and shift applied. */
static inline edge_out edge_channel_out(const edge_convolution *p, const int32_t *channels, int32_t c,
                                        uint32_t sum)
{
    const int32_t scaled = edge_scale_twice((int32_t)(sum + (uint32_t)channels[c]), channels[p->out_c + c],
                                            channels[2 * p->out_c + c]);
    return edge_limited(scaled, p->output_zero, p->low, p->high);
}

/* sum + x . w, n values */
uint32_t edge_dot(const int8_t *x, const int8_t *w, int32_t n, uint32_t sum);

/* sum[k] += x . (w + k * stride), n values, k = 0 to 3: each input is loaded once for four channels. */
void edge_dot4(const int8_t *x, const int8_t *w, int32_t stride, int32_t n, uint32_t *sum);

#endif
