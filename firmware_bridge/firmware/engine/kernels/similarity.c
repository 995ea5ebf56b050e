/* How gradient magnitudes of two images differ, at several scales. */
#include "../fixed.h"
#include "../functions.h"

bool edge_check_halve(const edge_model *m, const edge_halve *p)
{
    const uint64_t input = edge_extent(2, p->out_h, p->in_w, p->channels);
    const uint64_t output = p->in_w < 2 ? 0 : edge_extent(p->out_h, p->in_w / 2, p->channels, 1);
    return input && output && input >> 30 == 0 && edge_readable(m, p->input, 2 * input, 2) &&
           edge_writable(m, p->output, 2 * output, 2) && edge_apart(p->input, 2 * input, p->output, 2 * output);
}

void edge_run_halve(const edge_model *m, const edge_halve *p)
{
    const int16_t *input = edge_at(m, p->input);
    int16_t *output = edge_to(m, p->output);
    const int32_t c = p->channels, row = p->in_w * c;
    for (int32_t y = 0; y < p->out_h; y++, input += 2 * row)
        for (int32_t x = 0; x < p->in_w / 2; x++)
            for (int32_t k = 0; k < c; k++) {
                const int16_t *at = input + 2 * x * c + k;
                *output++ = (int16_t)((at[0] + at[c] + at[row] + at[row + c] + 2) >> 2);
            }
}

bool edge_check_gradient_dissimilarity(const edge_model *m, const edge_gradient_dissimilarity *p)
{
    const uint64_t input = edge_extent(p->in_h, p->width, p->channels, 1), output = edge_extent(p->out_h, p->width, 1, 1);
    return input && output && (input | output) >> 29 == 0 && p->top >= 0 && p->top <= 1 && p->constant > 0 &&
           p->constant <= 1 << 30 && p->bits > 0 && p->bits <= 24 && (uint64_t)p->channels << p->bits < UINT64_C(1) << 31 &&
           edge_readable(m, p->a, 2 * input, 2) && edge_readable(m, p->b, 2 * input, 2) &&
           edge_writable(m, p->output, 4 * output, 4) && edge_apart(p->a, 2 * input, p->output, 4 * output) &&
           edge_apart(p->b, 2 * input, p->output, 4 * output);
}

/* Rows above, at and below a place, columns left, at and right of it: offsets. */
typedef struct {
    int32_t above, at, below, left, middle, right;
} around;

/* The squared magnitude of Prewitt's gradient, and in units of 1/16 its root. */
static uint32_t magnitude(const int16_t *image, const around *o, uint32_t *squared)
{
    const int16_t *above = image + o->above, *at = image + o->at, *below = image + o->below;
    const int32_t across = above[o->right] + at[o->right] + below[o->right] - above[o->left] - at[o->left] - below[o->left];
    const int32_t down = below[o->left] + below[o->middle] + below[o->right] - above[o->left] - above[o->middle] -
                         above[o->right];
    *squared = (uint32_t)across * (uint32_t)across + (uint32_t)down * (uint32_t)down;
    return edge_near_root(*squared);
}

static int32_t row_at(int32_t y, int32_t rows, int32_t width)
{
    return (y < 0 ? 0 : y < rows ? y : rows - 1) * width;
}

void edge_run_gradient_dissimilarity(const edge_model *m, const edge_gradient_dissimilarity *p)
{
    const int16_t *a = edge_at(m, p->a), *b = edge_at(m, p->b);
    int32_t *output = edge_to(m, p->output);
    const int32_t c = p->channels, width = p->width * c;
    for (int32_t i = 0; i < p->out_h; i++)
        for (int32_t x = 0; x < width; x += c) {
            const int32_t y = i - p->top + 1;
            around o = {row_at(y - 1, p->in_h, width), row_at(y, p->in_h, width), row_at(y + 1, p->in_h, width),
                        x ? x - c : x, x, x + c < width ? x + c : x};
            uint32_t total = 0;
            for (int32_t k = 0; k < c; k++, o.left++, o.middle++, o.right++) {
                uint32_t a_squared, b_squared;
                const uint32_t g = magnitude(a, &o, &a_squared), h = magnitude(b, &o, &b_squared);
                const uint32_t apart = g > h ? g - h : h - g;
                total += edge_near_share((uint64_t)apart * apart, a_squared + b_squared + (uint32_t)p->constant, p->bits);
            }
            *output++ = (int32_t)total;
        }
}

bool edge_check_stretch_sum(const edge_model *m, const edge_stretch_sum *p)
{
    const uint64_t input = edge_extent(p->in_h, p->in_w, 1, 1), output = edge_extent(p->out_h, p->out_w, 1, 1);
    const uint64_t places = edge_extent(3, 1, 1, 1) * ((uint64_t)p->out_h + (uint64_t)p->out_w);
    if (!input || !output || (input | output) >> 29 || !edge_readable(m, p->input, 4 * input, 4) ||
        (p->base != EDGE_NO_REF && !edge_readable(m, p->base, 4 * output, 4)) ||
        !edge_writable(m, p->output, 4 * output, 4) || !(p->places & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->places, 4 * places, 4))
        return false;
    const int32_t *at = edge_at(m, p->places);
    for (int32_t i = 0; i < p->out_h + p->out_w; i++, at += 3) {
        const int32_t size = i < p->out_h ? p->in_h : p->in_w;
        if (at[0] < 0 || at[0] >= size || at[1] < 0 || at[1] >= size || at[2] < -1024 || at[2] > 1024)
            return false;
    }
    return true;
}

void edge_run_stretch_sum(const edge_model *m, const edge_stretch_sum *p)
{
    const int32_t *input = edge_at(m, p->input), *rows = edge_at(m, p->places);
    const int32_t *base = p->base == EDGE_NO_REF ? NULL : edge_at(m, p->base);
    int32_t *output = edge_to(m, p->output);
    for (int32_t y = 0; y < p->out_h; y++, rows += 3) {
        const int32_t *low = input + rows[0] * p->in_w, *high = input + rows[1] * p->in_w;
        const int32_t *column = (const int32_t *)edge_at(m, p->places) + 3 * p->out_h;
        for (int32_t x = 0; x < p->out_w; x++, column += 3) {
            const int64_t left = (int64_t)low[column[0]] * (1024 - rows[2]) + (int64_t)high[column[0]] * rows[2];
            const int64_t right = (int64_t)low[column[1]] * (1024 - rows[2]) + (int64_t)high[column[1]] * rows[2];
            const int64_t value = edge_round_shift(left * (1024 - column[2]) + right * column[2], 20);
            *output++ = edge_int32(value + (base ? *base++ : 0));
        }
    }
}
