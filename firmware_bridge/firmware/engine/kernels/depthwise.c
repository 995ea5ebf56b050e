/* DEPTHWISE_CONV_2D, plain C: four output channels of a pixel at a time. */
#include "../convolution.h"

static edge_convolution fields(const edge_depthwise *p)
{
    edge_convolution copy;
    memcpy(&copy, p, sizeof copy);
    return copy;
}

bool edge_check_depthwise(const edge_model *m, const edge_depthwise *p)
{
    const edge_convolution copy = fields(p);
    return p->groups == p->in_c && edge_convolution_ok(m, &copy) &&
           edge_walk_ok(p->out_h, p->stride_h, p->k_h, p->dilation_h, p->pad_top) &&
           edge_walk_ok(p->out_w, p->stride_w, p->k_w, p->dilation_w, p->pad_left);
}

/* Taps from input column x on, at most `left`, that lie on the same side of the borders as the first. */
static int32_t run_length(int32_t x, int32_t dilation, int32_t in_w, int32_t left)
{
    if (x >= in_w)
        return left;
    const int32_t to = x < 0 ? 0 : in_w;
    if (x + (left - 1) * dilation < to)
        return left;
    return (to - x + dilation - 1) / dilation;
}

/* n > 0 taps of a row: sum[k] += x[offset[k]] * w[k], k below lanes (1 or 4); then on by x_step and w_step. */
static void taps(const int8_t *x, int32_t x_step, const int8_t *w, int32_t w_step, int32_t n,
                 const int32_t *offset, int32_t lanes, uint32_t *sum)
{
    if (lanes == 1) {
        uint32_t s = sum[0];
        for (x += offset[0];; x += x_step, w += w_step) {
            s += (uint32_t)(*x * *w);
            if (--n == 0)
                break;
        }
        sum[0] = s;
        return;
    }
    const int32_t o1 = offset[1] - offset[0], o2 = offset[2] - offset[0], o3 = offset[3] - offset[0];
    uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    for (x += offset[0];; x += x_step, w += w_step) {
        s0 += (uint32_t)(x[0] * w[0]);
        s1 += (uint32_t)(x[o1] * w[1]);
        s2 += (uint32_t)(x[o2] * w[2]);
        s3 += (uint32_t)(x[o3] * w[3]);
        if (--n == 0)
            break;
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}

/* The sums of `lanes` output channels of the pixel whose first tap reads input pixel (y, x). */
static void accumulate(const edge_convolution *p, const int8_t *input, int32_t y, int32_t x0, const int8_t *w,
                       const int32_t *offset, int32_t lanes, uint32_t *sum)
{
    static const int32_t none[4] = {0, 0, 0, 0};
    const int8_t border = (int8_t)p->input_zero;
    for (int32_t ky = 0; ky < p->k_h; ky++, y += p->dilation_h) {
        const bool inside = y >= 0 && y < p->in_h;
        const int8_t *row = input + (inside ? y : 0) * p->in_w * p->in_c;
        int32_t x = x0, run;
        for (int32_t kx = 0; kx < p->k_w; kx += run, x += run * p->dilation_w, w += run * p->out_c) {
            run = inside ? run_length(x, p->dilation_w, p->in_w, p->k_w - kx) : p->k_w - kx;
            if (!inside || x < 0 || x >= p->in_w)
                taps(&border, 0, w, p->out_c, run, none, lanes, sum);
            else
                taps(row + x * p->in_c, run > 1 ? p->dilation_w * p->in_c : 0, w, p->out_c, run, offset, lanes, sum);
        }
    }
}

static void pixel(const edge_convolution *p, const int8_t *input, int32_t y, int32_t x, const int8_t *weights,
                  const int32_t *channels, int8_t *output)
{
    const int32_t multiplier = p->out_c / p->in_c;
    int32_t offset[4], lanes, source = 0, uses = 0; /* how often this input channel has been taken */
    for (int32_t c = 0; c < p->out_c; c += lanes) {
        uint32_t sum[4] = {0, 0, 0, 0};
        lanes = p->out_c - c >= 4 ? 4 : 1;
        for (int32_t k = 0; k < lanes; k++) {
            offset[k] = source;
            if (++uses == multiplier) {
                uses = 0;
                source++;
            }
        }
        accumulate(p, input, y, x, weights + c, offset, lanes, sum);
        for (int32_t k = 0; k < lanes; k++)
            output[c + k] = edge_channel_out(p, channels, c + k, sum[k]);
    }
}

void edge_run_depthwise(const edge_model *m, const edge_depthwise *record)
{
    const edge_convolution copy = fields(record), *p = &copy;
    const int8_t *input = edge_at(m, p->input), *weights = edge_at(m, p->weights);
    const int32_t *channels = edge_at(m, p->channels);
    int8_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->in_h * p->in_w * p->in_c)
        for (int32_t i = 0; i < p->out_h; i++) {
            int32_t x = -p->pad_left;
            for (int32_t j = 0; j < p->out_w; j++, x += p->stride_w, output += p->out_c)
                pixel(p, input, i * p->stride_h - p->pad_top, x, weights, channels, output);
        }
}
