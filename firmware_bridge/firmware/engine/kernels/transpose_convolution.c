/* TRANSPOSE_CONV, plain C: gathered for each output pixel, so that no memory for sums is needed. */
#include "../convolution.h"

static edge_convolution fields(const edge_transpose_convolution *p)
{
    edge_convolution copy;
    memcpy(&copy, p, sizeof copy);
    return copy;
}

bool edge_check_transpose_convolution(const edge_model *m, const edge_transpose_convolution *p)
{
    const edge_convolution copy = fields(p);
    return p->groups == 1 && p->dilation_h == 1 && p->dilation_w == 1 && edge_convolution_ok(m, &copy) &&
           edge_walk_ok(p->in_h, p->stride_h, p->k_h, 1, p->pad_top) &&
           edge_walk_ok(p->in_w, p->stride_w, p->k_w, 1, p->pad_left) &&
           edge_walk_ok(p->out_h, 1, p->k_h, 1, 0) && edge_walk_ok(p->out_w, 1, p->k_w, 1, 0);
}

/* The taps that reach an output row or column: the first, the input that it reads, and how many there are. From one
 * to the next the tap grows by the stride and the input falls by 1. */
typedef struct {
    int32_t tap, input, count;
} reach;

static reach reached(int32_t at, int32_t stride, int32_t taps, int32_t extent)
{
    reach r = {at % stride, at / stride, 0}; /* at: output position with the padding added */
    if (r.input >= extent) {
        r.tap += (r.input - extent + 1) * stride;
        r.input = extent - 1;
    }
    if (r.tap >= taps)
        return (reach){0, 0, 0};
    const int32_t fit = (taps - 1 - r.tap) / stride + 1;
    r.count = fit < r.input + 1 ? fit : r.input + 1;
    return r;
}

/* sum[k] += (x - zero) . (w + k * stride), n values, k below lanes (1 or 4) */
static EDGE_NOINLINE void dot(const int8_t *x, int32_t zero, const int8_t *w, int32_t stride, int32_t n, int32_t lanes,
                uint32_t *sum)
{
    if (lanes == 1) {
        uint32_t s = sum[0];
        for (const int8_t *end = x + n; x != end;)
            s += (uint32_t)((*x++ - zero) * *w++);
        sum[0] = s;
        return;
    }
    const int8_t *w1 = w + stride, *w2 = w1 + stride, *w3 = w2 + stride;
    uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    for (const int8_t *end = x + n; x != end;) {
        const int32_t value = *x++ - zero;
        s0 += (uint32_t)(value * *w++);
        s1 += (uint32_t)(value * *w1++);
        s2 += (uint32_t)(value * *w2++);
        s3 += (uint32_t)(value * *w3++);
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}

static void pixel(const edge_convolution *p, const int8_t *input, reach v, reach h, const int8_t *weights,
                  const int32_t *channels, int8_t *output)
{
    const int32_t size = p->k_h * p->k_w * p->in_c, line = p->in_w * p->in_c;
    const int8_t *first = input + v.input * line + h.input * p->in_c;
    const int8_t *w = weights + (v.tap * p->k_w + h.tap) * p->in_c;
    for (int32_t c = 0, lanes; c < p->out_c; c += lanes, w += lanes * size) {
        uint32_t sum[4] = {0, 0, 0, 0};
        lanes = p->out_c - c >= 4 ? 4 : 1;
        for (int32_t i = 0; i < v.count; i++)
            for (int32_t j = 0; j < h.count; j++)
                dot(first - i * line - j * p->in_c, p->input_zero,
                    w + (i * p->stride_h * p->k_w + j * p->stride_w) * p->in_c, size, p->in_c, lanes, sum);
        for (int32_t k = 0; k < lanes; k++)
            output[c + k] = edge_channel_out(p, channels, c + k, sum[k]);
    }
}

void edge_run_transpose_convolution(const edge_model *m, const edge_transpose_convolution *record)
{
    const edge_convolution copy = fields(record), *p = &copy;
    const int8_t *input = edge_at(m, p->input), *weights = edge_at(m, p->weights);
    const int32_t *channels = edge_at(m, p->channels);
    int8_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->in_h * p->in_w * p->in_c)
        for (int32_t i = 0; i < p->out_h; i++) {
            const reach v = reached(i + p->pad_top, p->stride_h, p->k_h, p->in_h);
            for (int32_t j = 0; j < p->out_w; j++, output += p->out_c)
                pixel(p, input, v, reached(j + p->pad_left, p->stride_w, p->k_w, p->in_w), weights, channels,
                      output);
        }
}
