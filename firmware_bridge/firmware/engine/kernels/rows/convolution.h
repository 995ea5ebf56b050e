/* CONV_2D for kernel sets with edge_rows, edge_packed_bytes, edge_copy_bytes and edge_fill_bytes.
 *
 * A pixel's window becomes one run of memory, a column: copied to scratch, or where it lies when it is one already
 * (1x1, and windows of one row that touch no border). A tap outside the input is input_zero, as the bias expects.
 */
#include "scaling.h"

/* No window leaves the input, none needs to be copied. */
static bool pointwise(const edge_convolution *p)
{
    return p->k_h == 1 && p->k_w == 1 && p->pad_top == 0 && p->pad_left == 0 &&
           (int64_t)(p->out_h - 1) * p->stride_h < p->in_h && (int64_t)(p->out_w - 1) * p->stride_w < p->in_w;
}

static bool check(const edge_model *m, const edge_convolution *p)
{
    if (!edge_convolution_ok(m, p) ||
        !edge_walk_ok(p->out_h, p->stride_h, p->k_h, p->dilation_h, p->pad_top) ||
        !edge_walk_ok(p->out_w, p->stride_w, p->k_w, p->dilation_w, p->pad_left))
        return false;
    const uint64_t column = edge_extent(p->k_h, p->k_w, p->in_c / p->groups, 1);
    return column && edge_readable(m, p->weights, edge_packed_bytes((uint64_t)p->out_c, column), 4) &&
           (pointwise(p) || edge_writable(m, p->scratch, column, 1));
}

/* One row of a window whose taps are neighbours in memory: what lies outside left, inside, outside right. */
static void dense_row(const edge_convolution *p, const int8_t *row, int32_t x, int8_t *to)
{
    const int32_t first = edge_clamp(-x, 0, p->k_w), end = edge_clamp(p->in_w - x, first, p->k_w);
    edge_fill_bytes(to, p->input_zero, first * p->in_c);
    edge_copy_bytes(to + first * p->in_c, row + (x + first) * p->in_c, (end - first) * p->in_c);
    edge_fill_bytes(to + end * p->in_c, p->input_zero, (p->k_w - end) * p->in_c);
}

/* A window that touches no border, its taps neighbours in memory. */
static inline const int8_t *inner_column(const edge_convolution *p, const int8_t *from, int8_t *to)
{
    const int32_t row_bytes = p->k_w * p->in_c, rows = p->k_h;
    if (rows == 1)
        return from;
    const int32_t step = p->dilation_h * p->in_w * p->in_c; /* fits: two rows lie in the input */
    const int8_t *column = to;
    for (int32_t ky = 0; ky < rows; ky++, from += step, to += row_bytes)
        edge_copy_bytes(to, from, row_bytes);
    return column;
}

/* input: of this batch and group; (y, x): the input pixel of the first tap; depth: channels of a group. */
EDGE_INNER const int8_t *column(const edge_convolution *p, const int8_t *input, int32_t y, int32_t x, int32_t depth,
                                int8_t *scratch)
{
    const bool dense = p->groups == 1 && p->dilation_w == 1;
    if ((dense || (p->k_w == 1 && p->k_h == 1)) && y >= 0 && x >= 0 && x + p->k_w <= p->in_w &&
        y + (p->k_h - 1) * p->dilation_h < p->in_h)
        return inner_column(p, input + (y * p->in_w + x) * p->in_c, scratch);
    const int32_t row_bytes = p->k_w * depth;
    int8_t *to = scratch;
    for (int32_t ky = 0; ky < p->k_h; ky++, y += p->dilation_h, to += row_bytes) {
        if (y < 0 || y >= p->in_h) {
            edge_fill_bytes(to, p->input_zero, row_bytes);
            continue;
        }
        const int8_t *row = input + y * p->in_w * p->in_c;
        if (dense)
            dense_row(p, row, x, to);
        else
            for (int32_t kx = 0, at = x; kx < p->k_w; kx++, at += p->dilation_w) {
                if (at < 0 || at >= p->in_w)
                    edge_fill_bytes(to + kx * depth, p->input_zero, depth);
                else
                    edge_copy_bytes(to + kx * depth, row + at * p->in_c, depth);
            }
    }
    return scratch;
}

static void one_group(const edge_convolution *p, const int8_t *input, const int8_t *weights, int8_t *scratch,
                      const edge_scaling *scaling, edge_out *output)
{
    const int32_t depth = p->in_c / p->groups, rows = p->out_c / p->groups;
    for (int32_t i = 0, y = -p->pad_top; i < p->out_h; i++, y += p->stride_h)
        for (int32_t j = 0, x = -p->pad_left; j < p->out_w; j++, x += p->stride_w, output += p->out_c)
            edge_rows(column(p, input, y, x, depth, scratch), weights, p->k_h * p->k_w * depth, rows, scaling, output);
}

static void run(const edge_model *m, const edge_convolution *p)
{
    const int8_t *input = edge_at(m, p->input);
    int8_t *scratch = pointwise(p) ? NULL : edge_to(m, p->scratch);
    edge_out *output = edge_to(m, p->output);
    const edge_scaling all = edge_scaling_of(edge_at(m, p->channels), p->out_c, p->output_zero, p->low, p->high);
    const int32_t depth = p->in_c / p->groups, rows = p->out_c / p->groups;
    const uint64_t group_bytes = edge_packed_bytes((uint64_t)rows, (uint64_t)(p->k_h * p->k_w * depth));
    for (int32_t b = 0; b < p->batch; b++) {
        const int8_t *weights = edge_at(m, p->weights);
        for (int32_t g = 0; g < p->groups; g++, weights += group_bytes) {
            const edge_scaling scaling = edge_scaling_from(&all, g * rows);
            one_group(p, input + g * depth, weights, scratch, &scaling, output + g * rows);
        }
        input += p->in_h * p->in_w * p->in_c;
        output += p->out_h * p->out_w * p->out_c;
    }
}
