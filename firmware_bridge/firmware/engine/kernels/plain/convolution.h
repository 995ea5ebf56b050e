/* CONV_2D, plain C: four output channels of a pixel at a time, over as long runs of memory as there are. */
#include "../../convolution.h"

static bool check(const edge_model *m, const edge_convolution *p)
{
    return edge_convolution_ok(m, p) &&
           edge_walk_ok(p->out_h, p->stride_h, p->k_h, p->dilation_h, p->pad_top) &&
           edge_walk_ok(p->out_w, p->stride_w, p->k_w, p->dilation_w, p->pad_left);
}

/* One pixel's window: the input pixel of its first tap, and how it is walked. */
typedef struct {
    const edge_convolution *p;
    const int8_t *input; /* of this batch and group */
    int32_t y, x;
    int32_t depth; /* input channels of a group */
    bool dense;    /* taps that are neighbours in a row are neighbours in memory */
} window;

/* sum[k] += value * (sum of n weights), for taps outside the input */
static void fill(int32_t value, const int8_t *w, int32_t stride, int32_t n, int32_t lanes, uint32_t *sum)
{
    if (value == 0)
        return;
    for (int32_t k = 0; k < lanes; k++, w += stride) {
        for (int32_t i = 0; i < n; i++)
            sum[k] += (uint32_t)(value * w[i]);
    }
}

/* How many taps from input column x on, at most `left`, lie on the same side of the borders as the first. */
static int32_t run_length(int32_t x, int32_t in_w, int32_t left)
{
    const int32_t run = x < 0 ? -x : x < in_w ? in_w - x : left;
    return run < left ? run : left;
}

/* The window's sums of `lanes` (1 or 4) output channels whose weights begin at w. */
static void accumulate(const window *v, const int8_t *w, int32_t lanes, uint32_t *sum)
{
    const edge_convolution *p = v->p;
    const int32_t stride = p->k_h * p->k_w * v->depth;
    int32_t y = v->y;
    for (int32_t ky = 0; ky < p->k_h; ky++, y += p->dilation_h) {
        const bool inside = y >= 0 && y < p->in_h;
        const int8_t *row = v->input + (inside ? y : 0) * p->in_w * p->in_c;
        int32_t x = v->x, run;
        for (int32_t kx = 0; kx < p->k_w; kx += run, x += run * p->dilation_w) {
            run = !v->dense ? 1 : inside ? run_length(x, p->in_w, p->k_w - kx) : p->k_w - kx;
            const int32_t n = run * v->depth;
            if (!inside || x < 0 || x >= p->in_w)
                fill(p->input_zero, w, stride, n, lanes, sum);
            else if (lanes == 4)
                edge_dot4(row + x * p->in_c, w, stride, n, sum);
            else
                *sum = edge_dot(row + x * p->in_c, w, n, *sum);
            w += n;
        }
    }
}

static void pixel(window *v, const int8_t *weights, const int32_t *channels, edge_out *output)
{
    const edge_convolution *p = v->p;
    const int32_t size = p->k_h * p->k_w * v->depth, group = p->out_c / p->groups;
    for (int32_t c = 0; c < p->out_c; v->input += v->depth)
        for (int32_t end = c + group, lanes; c < end; c += lanes, weights += lanes * size) {
            uint32_t sum[4] = {0, 0, 0, 0};
            lanes = end - c >= 4 ? 4 : 1;
            accumulate(v, weights, lanes, sum);
            for (int32_t k = 0; k < lanes; k++)
                output[c + k] = edge_channel_out(p, channels, c + k, sum[k]);
        }
    v->input -= p->in_c;
}

static void run(const edge_model *m, const edge_convolution *p)
{
    const int8_t *weights = edge_at(m, p->weights);
    const int32_t *channels = edge_at(m, p->channels);
    edge_out *output = edge_to(m, p->output);
    window v = {p, edge_at(m, p->input), 0, 0, p->in_c / p->groups, p->groups == 1 && p->dilation_w == 1};
    for (int32_t b = 0; b < p->batch; b++, v.input += p->in_h * p->in_w * p->in_c)
        for (int32_t i = 0; i < p->out_h; i++) {
            v.y = i * p->stride_h - p->pad_top;
            v.x = -p->pad_left;
            for (int32_t j = 0; j < p->out_w; j++, v.x += p->stride_w, output += p->out_c)
                pixel(&v, weights, channels, output);
        }
}
