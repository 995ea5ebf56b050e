/* Layers in 16 bits: edge_ad/runtime/integer/layers16.py. */
#include "../rows16.h"

bool edge_check_standardise16(const edge_model *m, const edge_standardise16 *p)
{
    const uint64_t size = edge_extent(p->channels, p->size, 1, 1);
    if (!size || size > (uint64_t)1 << 29 || !edge_readable(m, p->input, 2 * size, 2) ||
        !edge_writable(m, p->output, 2 * size, 2) || !(p->constants & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->constants, 12 * (uint64_t)p->channels, 4))
        return false;
    const int32_t *offset = edge_at(m, p->constants);
    for (int32_t c = 0; c < p->channels; c++)
        if (offset[c] < -(1 << 30) || offset[c] > 1 << 30)
            return false;
    return edge_scales_ok(offset + p->channels, offset + 2 * p->channels, p->channels);
}

/* A channel's `n` values into every `step`th of the output, by the upper word of the product: enough for scales below
 * 1/4, where the lower word is less than what rounds. */
static EDGE_NOINLINE void standardise(const int16_t *x, int32_t n, int32_t offset, int32_t multiplier, int32_t shift,
                                      int16_t *output, int32_t step)
{
    const int32_t down = -1 - shift, half = 1 << (down - 1);
    for (const int16_t *const end = x + n; x != end; output += step) {
        const int32_t upper = (int32_t)((int64_t)(*x++ * 256 - offset) * multiplier >> 32);
        *output = edge_short((upper + half) >> down);
    }
}

/* The same for any scale. */
static EDGE_NOINLINE void standardise_any(const int16_t *x, int32_t n, int32_t offset, int32_t multiplier, int32_t shift,
                                      int16_t *output, int32_t step)
{
    for (const int16_t *const end = x + n; x != end; output += step)
        *output = edge_int16(edge_scale_rarely(*x++ * 256 - offset, multiplier, shift));
}

void edge_run_standardise16(const edge_model *m, const edge_standardise16 *p)
{
    const int16_t *input = edge_at(m, p->input);
    const int32_t *offset = edge_at(m, p->constants), *multiplier = offset + p->channels;
    const int32_t *shift = multiplier + p->channels;
    for (int32_t c = 0; c < p->channels; c++, input += p->size) {
        int16_t *output = (int16_t *)edge_to(m, p->output) + c;
        (shift[c] < -1 ? standardise : standardise_any)(input, p->size, offset[c], multiplier[c], shift[c], output,
                                                        p->channels);
    }
}

static uint64_t whole_runs(uint64_t n) { return (n + EDGE_RUN16 - 1) / EDGE_RUN16 * EDGE_RUN16; }

/* Both layers' records begin with these words. */
typedef edge_doubling16 layer;

/* Whether all that a layer with these extents of its output and its window (of k_h x k_w pixels) asks for lies in
 * bounds; offsets fit an int32_t. spare: values of scratch behind the window's. */
static bool layer_ok(const edge_model *m, const layer *p, uint64_t output, int32_t k_h, int32_t k_w, uint64_t spare)
{
    const uint64_t input = edge_extent(p->in_h, p->in_w, p->in_c, 1), depth = edge_extent(k_h, k_w, p->in_c, 1);
    const uint64_t rows = edge_extent(p->rows, 1, 1, 1), limit = (uint64_t)1 << 29;
    if (!input || !output || !depth || !rows || input > limit || output > limit || depth > limit || rows * depth > limit)
        return false;
    const uint64_t scratch = 2 * (whole_runs(depth) + spare);
    if (!edge_readable(m, p->input, 2 * input, 2) || !edge_writable(m, p->output, 2 * output, 2) ||
        !edge_readable(m, p->weights, 2 * rows * whole_runs(depth), 4) || !edge_writable(m, p->scratch, scratch, 4) ||
        !edge_apart(p->scratch, scratch, p->input, 2 * input) ||
        !edge_apart(p->scratch, scratch, p->output, 2 * output) || !(p->channels & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->channels, 8 * rows, 4) || !edge_shift_ok(p->shift) || p->low < INT16_MIN ||
        p->low > p->high || p->high > INT16_MAX)
        return false;
    const int32_t *multipliers = (const int32_t *)edge_at(m, p->channels) + p->rows;
    for (int32_t r = 0; r < p->rows; r++)
        if (multipliers[r] < 0)
            return false;
    return true;
}

static edge_scaling16 scaling_of(const edge_model *m, const layer *p)
{
    return edge_scaling16_of(edge_at(m, p->channels), p->rows, p->shift, p->low, p->high);
}

static EDGE_NOINLINE void copy(int16_t *to, const int16_t *from, int32_t n)
{
    for (int32_t i = n / 8; i > 0; i--, to += 8, from += 8)
        memcpy(to, from, 16);
    for (int32_t i = n % 8 / 2; i > 0; i--, to += 2, from += 2)
        memcpy(to, from, 4);
    if (n & 1) /* by a loop that counts n down, GCC 12 copies one more on Cortex-M55 when it compiles for size */
        *to = *from;
}

static void zero(int16_t *to, int32_t n)
{
    while (n-- > 0)
        *to++ = 0;
}

/* What of the rows of windows from row y on lies in the image: `count` rows, the first one at `x` (its pixel in column
 * 0), `above` values of a window in front of it. */
typedef struct {
    const int16_t *x;
    int32_t count, above;
} band;

static inline band band_of(const layer *p, const int16_t *image, int32_t y, int32_t k_h, int32_t k_w)
{
    const int32_t top = edge_clamp(-y, 0, k_h), end = edge_clamp(p->in_h - y, top, k_h);
    const band found = {top < end ? image + (y + top) * p->in_w * p->in_c : image, end - top, top * k_w * p->in_c};
    return found;
}

/* The window of k_h x k_w pixels from column x of a band on: in the image itself where what of it lies inside is made of
 * whole runs, else gathered into `spare`. */
static EDGE_NOINLINE edge_window16 window_of(const layer *p, const band *at, int32_t x, int32_t k_h, int32_t k_w,
                                             int16_t *spare)
{
    const int32_t c = p->in_c, left = edge_clamp(-x, 0, k_w), end = edge_clamp(p->in_w - x, left, k_w);
    const int32_t row = k_w * c, before = left * c, length = (end - left) * c, line = p->in_w * c, size = k_h * row;
    const int32_t count = length ? at->count : 0;
    const int16_t *pixel = count ? at->x + (x + left) * c : at->x;
    if (!((row | before | length) % EDGE_RUN16)) {
        const edge_window16 found = {pixel, count, length / EDGE_RUN16, line - length, at->above + before, row - length};
        return found;
    }
    if (count * length < size)
        zero(spare, size);
    for (int32_t i = 0; i < count; i++)
        copy(spare + at->above + i * row + before, pixel + i * line, length);
    const edge_window16 gathered = {spare, 1, (int32_t)(whole_runs((uint64_t)size) / EDGE_RUN16), 0, 0, 0};
    return gathered;
}

bool edge_check_convolution16(const edge_model *m, const edge_convolution16 *p)
{
    return layer_ok(m, (const layer *)p, edge_extent(p->out_h, p->out_w, p->rows, 1), p->k_h, p->k_w, 0) &&
           edge_walk_ok(p->out_h, p->stride, p->k_h, 1, p->pad_top) &&
           edge_walk_ok(p->out_w, p->stride, p->k_w, 1, p->pad_left);
}

void edge_run_convolution16(const edge_model *m, const edge_convolution16 *p)
{
    const layer *common = (const layer *)p;
    const edge_scaling16 scaling = scaling_of(m, common);
    const int16_t *input = edge_at(m, p->input), *weights = edge_at(m, p->weights);
    int16_t *spare = edge_to(m, p->scratch), *output = edge_to(m, p->output);
    const int32_t depth = (int32_t)whole_runs((uint64_t)(p->k_h * p->k_w * p->in_c));
    for (int32_t i = 0, y = -p->pad_top; i < p->out_h; i++, y += p->stride) {
        const band at = band_of(common, input, y, p->k_h, p->k_w);
        for (int32_t j = 0, x = -p->pad_left; j < p->out_w; j++, x += p->stride, output += p->rows) {
            const edge_window16 window = window_of(common, &at, x, p->k_h, p->k_w, spare);
            edge_rows16(&window, weights, depth, p->rows, &scaling, output);
        }
    }
}

bool edge_check_doubling16(const edge_model *m, const edge_doubling16 *p)
{
    if (p->rows < 4 || p->rows % 4)
        return false;
    const uint64_t input = edge_extent(p->in_h, p->in_w, 1, 1); /* output: a quarter of the rows a pixel, four pixels */
    return input && input <= (uint64_t)1 << 29 &&
           layer_ok(m, p, edge_extent((int32_t)input, p->rows, 1, 1), 2, 2, (uint64_t)p->rows);
}

void edge_run_doubling16(const edge_model *m, const edge_doubling16 *p)
{
    const edge_scaling16 all = scaling_of(m, p);
    const int16_t *input = edge_at(m, p->input), *weights = edge_at(m, p->weights);
    const int32_t depth = (int32_t)whole_runs((uint64_t)(4 * p->in_c)), c = p->rows / 4, w = 2 * p->in_w;
    int16_t *spare = edge_to(m, p->scratch), *made = spare + depth, *output = edge_to(m, p->output);
    for (int32_t i = 0; i <= p->in_h; i++) {
        /* At the upper and lower border only the lower and upper two pixels are there: whole groups of rows. */
        const int32_t from = i ? 0 : (2 * c) & ~3, to = i < p->in_h ? p->rows : (2 * c + 3) & ~3;
        const edge_scaling16 scaling = {all.bias + from, all.multipliers + from, all.shift, all.low, all.high, all.kept};
        const band at = band_of(p, input, i - 1, 2, 2);
        for (int32_t j = 0; j <= p->in_w; j++) {
            const edge_window16 window = window_of(p, &at, j - 1, 2, 2, spare);
            edge_rows16(&window, weights + from * depth, depth, to - from, &scaling, made + from);
            /* Two pixels of a row lie side by side; at a border there is one of them. */
            const int32_t first = j ? 0 : c, end = j < p->in_w ? 2 * c : c;
            for (int32_t below = i ? 0 : 1; below < (i < p->in_h ? 2 : 1); below++)
                copy(output + ((2 * i - 1 + below) * w + 2 * j - 1) * c + first, made + 2 * below * c + first, end - first);
        }
    }
}
