/* DEPTHWISE_CONV_2D for kernel sets with EDGE_BLOCK and edge_block.
 *
 * For each pixel a list of pointers to the input pixels of its taps; those outside the input point to a pixel of
 * input_zero. Weights come in blocks of EDGE_BLOCK channels, the last with what is left; a block has all taps of its
 * channels, tap by tap. Scratch: the pointers, then that pixel.
 */
#include "scaling.h"

static edge_convolution fields(const edge_depthwise *p)
{
    edge_convolution copy;
    memcpy(&copy, p, sizeof copy);
    return copy;
}

static bool apart(edge_ref a, uint64_t a_bytes, edge_ref b, uint64_t b_bytes)
{
    return a + a_bytes <= b || b + b_bytes <= a;
}

bool edge_check_depthwise(const edge_model *m, const edge_depthwise *record)
{
    const edge_convolution copy = fields(record), *p = &copy;
    if (p->groups != p->in_c || !edge_convolution_ok(m, p) ||
        !edge_walk_ok(p->out_h, p->stride_h, p->k_h, p->dilation_h, p->pad_top) ||
        !edge_walk_ok(p->out_w, p->stride_w, p->k_w, p->dilation_w, p->pad_left))
        return false;
    /* Results written over the pointers would make other pointers of them. */
    const uint64_t scratch = 4 * edge_extent(p->k_h, p->k_w, 1, 1) + (uint64_t)p->in_c;
    return edge_writable(m, p->scratch, scratch, 4) &&
           apart(p->scratch, scratch, p->output, edge_extent(p->batch, p->out_h, p->out_w, p->out_c));
}

EDGE_INNER void find_taps(const edge_convolution *p, const int8_t *input, int32_t y, int32_t x0,
                          const int8_t *outside, const int8_t **taps)
{
    for (int32_t ky = 0; ky < p->k_h; ky++, y += p->dilation_h) {
        const bool inside = y >= 0 && y < p->in_h;
        for (int32_t kx = 0, x = x0; kx < p->k_w; kx++, x += p->dilation_w)
            *taps++ = inside && x >= 0 && x < p->in_w ? input + (y * p->in_w + x) * p->in_c : outside;
    }
}

/* Channels one by one, also where several read the same input channel; w, output: of a block of n channels. */
EDGE_INNER void one_by_one(const int8_t *const *taps, int32_t n_taps, const int8_t *w, int32_t n, int32_t first,
                           int32_t multiplier, const edge_scaling *s, int8_t *output)
{
    for (int32_t k = 0; k < n; k++) {
        const int32_t c = first + k, source = c / multiplier;
        uint32_t sum = (uint32_t)s->bias[c];
        for (int32_t t = 0; t < n_taps; t++)
            sum += (uint32_t)(taps[t][source] * w[t * n + k]);
        output[c] = edge_int8(edge_scale((int32_t)sum, s->multipliers[c], s->shifts[c]), s->zero, s->low, s->high);
    }
}

static void pixel(const edge_convolution *p, const int8_t *const *taps, const int8_t *w, const edge_scaling *s,
                  int8_t *output)
{
    const int32_t n_taps = p->k_h * p->k_w, multiplier = p->out_c / p->in_c;
    int32_t c = 0;
    if (multiplier == 1)
        for (; c + EDGE_BLOCK <= p->out_c; c += EDGE_BLOCK, w += n_taps * EDGE_BLOCK)
            edge_block(taps, n_taps, w, c, s, output);
    for (int32_t n; c < p->out_c; c += n, w += n_taps * n) {
        n = p->out_c - c < EDGE_BLOCK ? p->out_c - c : EDGE_BLOCK;
        one_by_one(taps, n_taps, w, n, c, multiplier, s, output);
    }
}

void edge_run_depthwise(const edge_model *m, const edge_depthwise *record)
{
    const edge_convolution copy = fields(record), *p = &copy;
    const int8_t *input = edge_at(m, p->input), *weights = edge_at(m, p->weights);
    const edge_scaling scaling =
        edge_scaling_of(edge_at(m, p->channels), p->out_c, p->output_zero, p->low, p->high);
    const int8_t **taps = edge_to(m, p->scratch);
    int8_t *outside = (int8_t *)(taps + p->k_h * p->k_w), *output = edge_to(m, p->output);
    memset(outside, p->input_zero, (size_t)p->in_c);
    for (int32_t b = 0; b < p->batch; b++, input += p->in_h * p->in_w * p->in_c)
        for (int32_t i = 0, y = -p->pad_top; i < p->out_h; i++, y += p->stride_h)
            for (int32_t j = 0, x = -p->pad_left; j < p->out_w; j++, x += p->stride_w, output += p->out_c) {
                find_taps(p, input, y, x, outside, taps);
                pixel(p, taps, weights, &scaling, output);
            }
}
