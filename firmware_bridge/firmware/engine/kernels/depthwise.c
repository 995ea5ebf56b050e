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

/* A rectangle of taps, and the steps in memory to the next row and to the next tap. Outside the input the steps of x
 * are 0: all taps read input_zero. */
typedef struct {
    const int8_t *x, *w;
    int32_t rows, columns, x_row, x_tap, w_row, w_tap;
    bool inside;
} block;

static EDGE_NOINLINE uint32_t sum1(const block *b, int32_t at, uint32_t sum)
{
    for (int32_t i = 0; i < b->rows; i++) {
        const int8_t *x = b->x + i * b->x_row + at, *w = b->w + i * b->w_row;
        for (int32_t n = b->columns;; x += b->x_tap, w += b->w_tap) {
            sum += (uint32_t)(*x * *w);
            if (--n == 0)
                break;
        }
    }
    return sum;
}

/* sum[k] += the block's products of channel k, whose input channel is `at` for k = 0, and by1 to by3 further on. */
static inline void add4(const block *b, int32_t at, int32_t by1, int32_t by2, int32_t by3, uint32_t *sum)
{
    uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    const int8_t *x = b->x + at, *w = b->w;
    for (int32_t rows = b->rows;; x += b->x_row, w += b->w_row) {
        const int8_t *xx = x, *ww = w;
        for (int32_t n = b->columns;; xx += b->x_tap, ww += b->w_tap) {
            s0 += (uint32_t)(xx[0] * ww[0]);
            s1 += (uint32_t)(xx[by1] * ww[1]);
            s2 += (uint32_t)(xx[by2] * ww[2]);
            s3 += (uint32_t)(xx[by3] * ww[3]);
            if (--n == 0)
                break;
        }
        if (--rows == 0)
            break;
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}

static EDGE_NOINLINE void sum4(const block *b, const int32_t *source, uint32_t *sum)
{
    add4(b, source[0], source[1] - source[0], source[2] - source[0], source[3] - source[0], sum);
}

/* Of an input channel each: these offsets need no registers. */
static EDGE_NOINLINE void sum4_neighbours(const block *b, int32_t at, uint32_t *sum)
{
    add4(b, at, 1, 2, 3, sum);
}

/* The pixel's taps as blocks: those inside the input, and up to eight around them. Returns how many. */
static int32_t blocks_of(const edge_convolution *p, const int8_t *input, int32_t y, int32_t x, const int8_t *zero,
                         const int8_t *weights, block *blocks)
{
    int32_t rows[4], columns[4], n = 0;
    edge_inside(y, p->dilation_h, p->in_h, p->k_h, rows);
    edge_inside(x, p->dilation_w, p->in_w, p->k_w, columns);
    for (int32_t i = 0; i < 3; i++)
        for (int32_t j = 0; j < 3; j++) {
            const int32_t ky = rows[i], kx = columns[j];
            block b = {zero, weights + (ky * p->k_w + kx) * p->out_c, rows[i + 1] - ky, columns[j + 1] - kx, 0, 0, 0, 0, false};
            if (b.rows == 0 || b.columns == 0)
                continue;
            b.w_tap = p->out_c;
            b.w_row = b.rows > 1 ? p->k_w * p->out_c : 0;
            if (i == 1 && j == 1) {
                b.inside = true;
                b.x = input + ((y + ky * p->dilation_h) * p->in_w + x + kx * p->dilation_w) * p->in_c;
                b.x_tap = b.columns > 1 ? p->dilation_w * p->in_c : 0;
                b.x_row = b.rows > 1 ? p->dilation_h * p->in_w * p->in_c : 0;
            }
            blocks[n++] = b;
        }
    return n;
}

/* Sums of `lanes` channels from c on; all read input_zero in the blocks outside. */
static inline void accumulate(const block *blocks, int32_t n, const int32_t *source, int32_t lanes, uint32_t *sum)
{
    static const int32_t border[4] = {0, 0, 0, 0};
    for (const block *b = blocks; b != blocks + n; b++) {
        const int32_t *from = b->inside ? source : border;
        if (lanes == 1)
            sum[0] = sum1(b, from[0], sum[0]);
        else if (from[3] == from[0] + 3)
            sum4_neighbours(b, from[0], sum);
        else
            sum4(b, from, sum);
    }
}

static void pixel(const edge_convolution *p, block *blocks, int32_t n, const int32_t *channels, int8_t *output)
{
    const int32_t multiplier = p->out_c / p->in_c;
    int32_t next = 0, uses = 0; /* the input channel that comes next, and how often it was taken */
    for (int32_t c = 0, lanes; c < p->out_c; c += lanes) {
        uint32_t sum[4] = {0, 0, 0, 0};
        int32_t source[4];
        lanes = p->out_c - c >= 4 ? 4 : 1;
        for (int32_t k = 0; k < lanes; k++) {
            source[k] = next;
            if (++uses == multiplier) {
                uses = 0;
                next++;
            }
        }
        accumulate(blocks, n, source, lanes, sum);
        for (block *b = blocks; b != blocks + n; b++)
            b->w += lanes;
        for (int32_t k = 0; k < lanes; k++)
            output[c + k] = edge_channel_out(p, channels, c + k, sum[k]);
    }
}

void edge_run_depthwise(const edge_model *m, const edge_depthwise *record)
{
    const edge_convolution copy = fields(record), *p = &copy;
    const int8_t *input = edge_at(m, p->input), *weights = edge_at(m, p->weights);
    const int32_t *channels = edge_at(m, p->channels);
    const int8_t zero = (int8_t)p->input_zero;
    int8_t *output = edge_to(m, p->output);
    block blocks[9];
    for (int32_t b = 0; b < p->batch; b++, input += p->in_h * p->in_w * p->in_c)
        for (int32_t i = 0; i < p->out_h; i++) {
            int32_t x = -p->pad_left;
            for (int32_t j = 0; j < p->out_w; j++, x += p->stride_w, output += p->out_c) {
                const int32_t n = blocks_of(p, input, i * p->stride_h - p->pad_top, x, &zero, weights, blocks);
                pixel(p, blocks, n, channels, output);
            }
        }
}
