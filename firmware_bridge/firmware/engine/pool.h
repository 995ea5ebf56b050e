/* Pooling of `value`s: a kernel's file defines that, LEAST, the record's type `pool`, and includes this. */
#ifndef EDGE_POOL_H
#define EDGE_POOL_H

#include "internal.h"

static bool check(const edge_model *m, const pool *p)
{
    const int32_t limit = 1 << 14;
    const uint64_t input = edge_extent(p->batch, p->in_h, p->in_w, p->channels);
    const uint64_t output = edge_extent(p->batch, p->out_h, p->out_w, p->channels);
    return input && output && edge_readable(m, p->input, input * sizeof(value), sizeof(value)) &&
           edge_writable(m, p->output, output * sizeof(value), sizeof(value)) &&
           p->k_h > 0 && p->k_h <= limit && p->k_w > 0 && p->k_w <= limit && p->stride_h > 0 &&
           p->stride_h <= limit && p->stride_w > 0 && p->stride_w <= limit && p->pad_top >= 0 &&
           p->pad_top < p->k_h && p->pad_left >= 0 && p->pad_left < p->k_w && p->out_h <= limit &&
           p->out_w <= limit &&
           /* each window holds at least one pixel */
           (p->out_h - 1) * p->stride_h - p->pad_top < p->in_h &&
           (p->out_w - 1) * p->stride_w - p->pad_left < p->in_w;
}

/* One channel of one window: `rows` rows of `columns` pixels. */
static int32_t pooled(const value *row, int32_t rows, int32_t columns, int32_t width, int32_t channels, int maximum)
{
    int32_t sum = 0, highest = LEAST;
    for (int32_t y = 0; y < rows; y++, row += width * channels) {
        const value *pixel = row;
        for (int32_t x = 0; x < columns; x++, pixel += channels) {
            sum += *pixel;
            if (*pixel > highest)
                highest = *pixel;
        }
    }
    if (maximum)
        return highest;
    const int32_t count = rows * columns;
    return sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
}

static void run(const edge_model *m, const pool *p)
{
    const value *input = edge_at(m, p->input);
    value *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->in_h * p->in_w * p->channels) {
        for (int32_t y = 0; y < p->out_h; y++) {
            const int32_t top = y * p->stride_h - p->pad_top, first_y = top < 0 ? 0 : top;
            const int32_t end_y = top + p->k_h < p->in_h ? top + p->k_h : p->in_h;
            for (int32_t x = 0; x < p->out_w; x++) {
                const int32_t left = x * p->stride_w - p->pad_left, first_x = left < 0 ? 0 : left;
                const int32_t end_x = left + p->k_w < p->in_w ? left + p->k_w : p->in_w;
                const value *window = input + (first_y * p->in_w + first_x) * p->channels;
                for (int32_t c = 0; c < p->channels; c++) {
                    const int32_t found =
                        pooled(window + c, end_y - first_y, end_x - first_x, p->in_w, p->channels, p->maximum);
                    *output++ = (value)edge_clamp(found, p->low, p->high);
                }
            }
        }
    }
}

#endif
