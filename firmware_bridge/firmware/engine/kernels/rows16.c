/* Rows of weights times a window in 16 bits, plain C. */
#include "../rows16.h"

/* sum[r] += x . w[r] of `rows` (4 or fewer) rows; `pairs` pairs of values. */
static EDGE_NOINLINE void sums(const int16_t *x, const int16_t *w, int32_t pairs, int32_t rows, uint32_t *sum)
{
    if (rows == 4) {
        uint32_t a = sum[0], b = sum[1], c = sum[2], d = sum[3];
        for (const int16_t *end = x + 2 * pairs; x != end; x += 2, w += 8) {
            const int32_t u = x[0], v = x[1];
            a += (uint32_t)(u * w[0]) + (uint32_t)(v * w[1]);
            b += (uint32_t)(u * w[2]) + (uint32_t)(v * w[3]);
            c += (uint32_t)(u * w[4]) + (uint32_t)(v * w[5]);
            d += (uint32_t)(u * w[6]) + (uint32_t)(v * w[7]);
        }
        sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
        return;
    }
    for (int32_t i = 0; i < pairs; i++, x += 2)
        for (int32_t r = 0; r < rows; r++, w += 2)
            sum[r] += (uint32_t)(x[0] * w[0]) + (uint32_t)(x[1] * w[1]);
}

void edge_rows16(const edge_window16 *window, const int16_t *weights, int32_t depth, int32_t rows,
                 const edge_scaling16 *s, int16_t *output)
{
    const int32_t length = EDGE_RUN16 * window->runs;
    for (int32_t row = 0, n; row < rows; row += n, weights += depth * n) {
        uint32_t sum[4];
        n = rows - row < 4 ? rows - row : 4;
        memcpy(sum, s->bias + row, 4 * (size_t)n);
        const int16_t *x = window->x, *w = weights + n * window->first;
        for (int32_t i = 0; i < window->count; i++, x += length + window->skip, w += n * (length + window->gap))
            sums(x, w, window->runs, n, sum);
        for (int32_t r = 0; r < n; r++)
            output[row + r] = edge_scale16(sum[r], s->multipliers[row + r], s);
    }
}
