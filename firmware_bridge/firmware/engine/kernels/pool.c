/* AVERAGE_POOL_2D and MAX_POOL_2D of INT8; of int16, defined in edge_ad/runtime/integer/wider.py. */
#include "../convolution.h"

EDGE_SAME_LAYOUT(pool16, pool);

/* size: bytes of a value. */
static bool check(const edge_model *m, const edge_pool *p, uint32_t size)
{
    const int32_t limit = 1 << 14;
    const uint64_t input = size * edge_extent(p->batch, p->in_h, p->in_w, p->channels);
    const uint64_t output = size * edge_extent(p->batch, p->out_h, p->out_w, p->channels);
    return input && output && edge_readable(m, p->input, input, size) && edge_writable(m, p->output, output, size) &&
           p->k_h > 0 && p->k_h <= limit && p->k_w > 0 && p->k_w <= limit && p->stride_h > 0 &&
           p->stride_h <= limit && p->stride_w > 0 && p->stride_w <= limit && p->pad_top >= 0 &&
           p->pad_top < p->k_h && p->pad_left >= 0 && p->pad_left < p->k_w && p->out_h <= limit &&
           p->out_w <= limit &&
           /* each window holds at least one pixel */
           (p->out_h - 1) * p->stride_h - p->pad_top < p->in_h &&
           (p->out_w - 1) * p->stride_w - p->pad_left < p->in_w;
}

/* One channel of one window: `rows` rows of `columns` pixels of VALUE. */
#define POOLED(name, VALUE, LEAST)                                                                                     \
    static int32_t name(const VALUE *row, int32_t rows, int32_t columns, int32_t width, int32_t channels, int maximum) \
    {                                                                                                                  \
        int32_t sum = 0, highest = LEAST;                                                                              \
        for (int32_t y = 0; y < rows; y++, row += width * channels) {                                                  \
            const VALUE *pixel = row;                                                                                  \
            for (int32_t x = 0; x < columns; x++, pixel += channels) {                                                 \
                sum += *pixel;                                                                                         \
                if (*pixel > highest)                                                                                  \
                    highest = *pixel;                                                                                  \
            }                                                                                                          \
        }                                                                                                              \
        if (maximum)                                                                                                   \
            return highest;                                                                                            \
        const int32_t count = rows * columns;                                                                          \
        return sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;                                        \
    }
POOLED(pooled, int8_t, INT8_MIN)
POOLED(pooled16, int16_t, INT16_MIN)

static EDGE_NOINLINE void run(const edge_model *m, const edge_pool *p, bool wide)
{
    const int8_t *input = edge_at(m, p->input);
    const int16_t *input16 = edge_at(m, p->input);
    int8_t *output = edge_to(m, p->output);
    int16_t *output16 = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++) {
        for (int32_t y = 0; y < p->out_h; y++) {
            const int32_t top = y * p->stride_h - p->pad_top, first_y = top < 0 ? 0 : top;
            const int32_t end_y = top + p->k_h < p->in_h ? top + p->k_h : p->in_h, rows = end_y - first_y;
            for (int32_t x = 0; x < p->out_w; x++) {
                const int32_t left = x * p->stride_w - p->pad_left, first_x = left < 0 ? 0 : left;
                const int32_t end_x = left + p->k_w < p->in_w ? left + p->k_w : p->in_w, columns = end_x - first_x;
                const int32_t at = ((b * p->in_h + first_y) * p->in_w + first_x) * p->channels;
                for (int32_t c = at; c < at + p->channels; c++)
                    if (wide)
                        *output16++ = (int16_t)edge_clamp(
                            pooled16(input16 + c, rows, columns, p->in_w, p->channels, p->maximum), p->low, p->high);
                    else
                        *output++ = (int8_t)edge_clamp(
                            pooled(input + c, rows, columns, p->in_w, p->channels, p->maximum), p->low, p->high);
            }
        }
    }
}

bool edge_check_pool(const edge_model *m, const edge_pool *p) { return check(m, p, 1); }

void edge_run_pool(const edge_model *m, const edge_pool *p) { run(m, p, false); }

/* The sum of a window fits 32 bits. */
bool edge_check_pool16(const edge_model *m, const edge_pool16 *p)
{
    return check(m, (const edge_pool *)p, 2) && p->k_h * p->k_w <= 1 << 15;
}

void edge_run_pool16(const edge_model *m, const edge_pool16 *p) { run(m, (const edge_pool *)p, true); }
