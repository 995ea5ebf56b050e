/* What stands between matrix products on a 16-bit residual stream; defined in runtime/integer/residual.py. */
#include "../functions.h"

#define MOST_OFFSET (1 << 24) /* of a feature: leaves its sums in 32 bits */

static bool grid_ok(int32_t rows, int32_t columns, int32_t transposed)
{
    return edge_extent(rows, columns, 1, 1) && !(edge_extent(rows, columns, 1, 1) >> 30) &&
           (transposed == 0 || transposed == 1);
}

bool edge_check_feature_scale(const edge_model *m, const edge_feature_scale *p)
{
    if (!grid_ok(p->rows, p->columns, p->transposed))
        return false;
    const uint64_t bytes = 2 * edge_extent(p->rows, p->columns, 1, 1);
    if (!edge_readable(m, p->input, bytes, 2) || !edge_writable(m, p->output, bytes, 2) ||
        !(p->features & EDGE_IN_IMAGE) || !edge_readable(m, p->features, (uint64_t)p->columns * 12, 4))
        return false;
    const int32_t *shifts = (const int32_t *)edge_at(m, p->features) + p->columns, *offsets = shifts + p->columns;
    for (int32_t c = 0; c < p->columns; c++)
        if (!edge_scales16(shifts[c]) || offsets[c] < -MOST_OFFSET || offsets[c] > MOST_OFFSET)
            return false;
    return true;
}

void edge_run_feature_scale(const edge_model *m, const edge_feature_scale *p)
{
    const int32_t *multipliers = edge_at(m, p->features);
    const int32_t *shifts = multipliers + p->columns, *offsets = shifts + p->columns;
    const int32_t row_step = p->transposed ? 1 : p->columns, step = p->transposed ? p->rows : 1;
    for (int32_t c = 0; c < p->columns; c++) { /* a feature's constants stay in registers */
        const edge_scaling16 scaling = edge_scaling16_of(multipliers[c], shifts[c]);
        const int32_t offset = offsets[c];
        const int16_t *input = (const int16_t *)edge_at(m, p->input) + c;
        int16_t *output = (int16_t *)edge_to(m, p->output) + c * step;
        for (int32_t r = 0; r < p->rows; r++, input += p->columns, output += row_step)
            *output = edge_short(edge_scale16(*input, &scaling) + offset);
    }
}

bool edge_check_curve(const edge_model *m, const edge_curve *p)
{
    const uint64_t size = edge_extent(p->size, 1, 1, 1);
    return size && edge_readable(m, p->input, 2 * size, 2) && edge_writable(m, p->output, 2 * size, 2) &&
           edge_curve_ok(m, p->table, p->bits);
}

void edge_run_curve(const edge_model *m, const edge_curve *p)
{
    const int16_t *input = edge_at(m, p->input), *table = edge_at(m, p->table);
    const int32_t bits = p->bits;
    int16_t *output = edge_to(m, p->output);
    for (const int16_t *const end = output + p->size; output < end;)
        *output++ = (int16_t)edge_curve_at(table, bits, *input++);
}

bool edge_check_gated_add(const edge_model *m, const edge_gated_add *p)
{
    if (!grid_ok(p->rows, p->columns, p->transposed))
        return false;
    const uint64_t bytes = 2 * edge_extent(p->rows, p->columns, 1, 1);
    return edge_writable(m, p->stream, bytes, 2) && edge_readable(m, p->hidden, bytes, 2) &&
           edge_readable(m, p->gate, bytes, 2) && edge_curve_ok(m, p->table, p->bits) && p->shift >= -31 && p->shift <= -2;
}

void edge_run_gated_add(const edge_model *m, const edge_gated_add *p)
{
    const int16_t *hidden = edge_at(m, p->hidden), *gate = edge_at(m, p->gate), *table = edge_at(m, p->table);
    const int32_t bits = p->bits, multiplier = p->multiplier, down = -1 - p->shift; /* 1 to 30 */
    const int32_t half = (int32_t)(UINT32_C(1) << (down - 1));
    const int32_t lines = p->transposed ? p->columns : p->rows, length = p->transposed ? p->rows : p->columns;
    const int32_t line_step = p->transposed ? 1 : p->columns, step = p->transposed ? p->columns : 1;
    int16_t *line = edge_to(m, p->stream);
    for (int32_t i = 0; i < lines; i++, line += line_step) {
        int16_t *stream = line;
        for (int32_t j = 0; j < length; j++, stream += step) {
            const int32_t product = *hidden++ * edge_curve_at(table, bits, *gate++); /* 31 bits */
            const int32_t upper = (int32_t)((int64_t)product * multiplier >> 32);
            *stream = edge_short(*stream + ((upper + half) >> down));
        }
    }
}

/* Most values of a token_norm: their distances from the mean, times their number, stay below 2^31. */
#define MOST_NORMED (1 << 14)

bool edge_check_token_norm(const edge_model *m, const edge_token_norm *p)
{
    const uint64_t a = edge_extent(p->a_size, 1, 1, 1), b = edge_extent(p->b_size, 1, 1, 1);
    const uint64_t c = edge_extent(p->c_size, 1, 1, 1), n = a + b + c;
    return a && b && c && n <= MOST_NORMED && edge_readable(m, p->a, 2 * a, 2) && edge_readable(m, p->b, 2 * b, 2) &&
           edge_readable(m, p->c, 2 * c, 2) && edge_writable(m, p->output, 2 * n, 2) &&
           edge_readable(m, p->gains, 2 * n, 2) && edge_readable(m, p->biases, 2 * n, 2) &&
           edge_floor_ok(p->floor_low, p->floor_high) && p->shift >= 1 && p->shift <= 46;
}

typedef struct {
    int64_t total;
    uint64_t squares;
} sums;

static void add(sums *s, const int16_t *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        s->total += x[i];
        s->squares += (uint64_t)(uint32_t)(x[i] * x[i]);
    }
}

static int16_t *normed(const int16_t *x, int32_t n, const edge_spread *s, int32_t all, const int16_t *gains,
                       const int16_t *biases, int32_t shift, int16_t *output)
{
    for (int32_t i = 0; i < n; i++) {
        const int64_t product = (int64_t)edge_standardised(s, all, x[i], 16) * gains[i];
        *output++ = edge_int16(edge_round_shift(product, shift) + biases[i]);
    }
    return output;
}

void edge_run_token_norm(const edge_model *m, const edge_token_norm *p)
{
    const int16_t *x[3] = {edge_at(m, p->a), edge_at(m, p->b), edge_at(m, p->c)};
    const int32_t size[3] = {p->a_size, p->b_size, p->c_size}, all = size[0] + size[1] + size[2];
    const int16_t *gains = edge_at(m, p->gains), *biases = edge_at(m, p->biases);
    sums s = {0, 0};
    for (int i = 0; i < 3; i++)
        add(&s, x[i], size[i]);
    const edge_spread spread =
        edge_spread_of(all, s.total, s.squares, edge_floor(p->floor_low, p->floor_high), true);
    int16_t *output = edge_to(m, p->output);
    for (int i = 0; i < 3; i++) {
        output = normed(x[i], size[i], &spread, all, gains, biases, p->shift, output);
        gains += size[i], biases += size[i];
    }
}
