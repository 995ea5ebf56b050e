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

/* sum[k] += the block's products of channel k, whose input channel is `at` for k = 0, by[k - 1] more for the others. */
static EDGE_NOINLINE void sum4(const block *b, int32_t at, const int32_t *by, uint32_t *sum)
{
    const int32_t by1 = by[0], by2 = by[1], by3 = by[2], x_tap = b->x_tap, w_tap = b->w_tap;
    uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    for (int32_t i = 0; i < b->rows; i++) {
        const int8_t *x = b->x + i * b->x_row + at, *w = b->w + i * b->w_row;
        for (int32_t n = b->columns;; x += x_tap, w += w_tap) {
            s0 += (uint32_t)(x[0] * w[0]);
            s1 += (uint32_t)(x[by1] * w[1]);
            s2 += (uint32_t)(x[by2] * w[2]);
            s3 += (uint32_t)(x[by3] * w[3]);
            if (--n == 0)
                break;
        }
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
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

static void pixel(const edge_convolution *p, block *blocks, int32_t n, const int32_t *channels, int8_t *output)
{
    static const int32_t none[3] = {0, 0, 0};
    const int32_t multiplier = p->out_c / p->in_c;
    int32_t source[4], lanes, next = 0, uses = 0; /* the input channel that comes next, and how often it was taken */
    for (int32_t c = 0; c < p->out_c; c += lanes) {
        uint32_t sum[4] = {0, 0, 0, 0};
        lanes = p->out_c - c >= 4 ? 4 : 1;
        for (int32_t k = 0; k < lanes; k++) {
            source[k] = k ? next - source[0] : next;
            if (++uses == multiplier) {
                uses = 0;
                next++;
            }
        }
        for (block *b = blocks; b != blocks + n; b->w += lanes, b++) {
            const bool inside = b->inside;
            if (lanes == 4)
                sum4(b, inside ? source[0] : 0, inside ? source + 1 : none, sum);
            else
                sum[0] = sum1(b, inside ? source[0] : 0, sum[0]);
        }
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
