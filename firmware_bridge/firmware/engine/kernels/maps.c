/* Anomaly maps: squared differences, means over windows, affine sums, the maximum. */
#include "../fixed.h"
#include "../functions.h"

bool edge_check_squared_difference(const edge_model *m, const edge_squared_difference *p)
{
    const uint64_t size = edge_extent(p->positions, p->channels, 1, 1);
    return size && size < (uint64_t)1 << 29 && p->shift >= 0 && p->shift <= 40 && edge_readable(m, p->a, 2 * size, 2) &&
           (p->b == EDGE_NO_REF || edge_readable(m, p->b, 2 * size, 2)) &&
           edge_writable(m, p->output, 4 * (uint64_t)p->positions, 4);
}

void edge_run_squared_difference(const edge_model *m, const edge_squared_difference *p)
{
    const int16_t *a = edge_at(m, p->a), *b = p->b == EDGE_NO_REF ? NULL : edge_at(m, p->b);
    int32_t *output = edge_to(m, p->output);
    for (int32_t i = 0; i < p->positions; i++) {
        uint64_t sum = 0;
        for (int32_t c = 0; c < p->channels; c++) {
            const uint32_t d = (uint32_t)(b ? *a++ - *b++ : *a++); /* its square is below 2^32 */
            sum += d * d;
        }
        *output++ = edge_int32(edge_round_shift((int64_t)sum, p->shift));
    }
}

bool edge_check_box_mean(const edge_model *m, const edge_box_mean *p)
{
    const uint64_t input = edge_extent(p->in_h, p->width, 1, 1), output = edge_extent(p->out_h, p->width, 1, 1);
    return input && output && (input | output) >> 29 == 0 && p->side > 0 && p->side < 256 && p->side % 2 &&
           p->top >= 0 && p->top <= p->side / 2 && p->out_h - 1 - p->top < p->in_h && /* each holds a value */
           edge_readable(m, p->input, 4 * input, 4) && edge_writable(m, p->output, 4 * output, 4) &&
           edge_apart(p->input, 4 * input, p->output, 4 * output);
}

static uint32_t column_sum(const int32_t *from, int32_t rows, int32_t width)
{
    uint32_t sum = 0;
    for (; rows > 0; rows--, from += width)
        sum += (uint32_t)*from;
    return sum;
}

void edge_run_box_mean(const edge_model *m, const edge_box_mean *p)
{
    const int32_t *input = edge_at(m, p->input);
    int32_t *output = edge_to(m, p->output);
    const int32_t half = p->side / 2, width = p->width;
    for (int32_t y = 0; y < p->out_h; y++) {
        const int32_t begin = y - p->top < 0 ? 0 : y - p->top;
        const int32_t end = y - p->top + p->side < p->in_h ? y - p->top + p->side : p->in_h, rows = end - begin;
        const int32_t *from = input + begin * width;
        uint32_t sum = 0, columns = 0;
        for (int32_t x = 0; x < half && x < width; x++, columns++)
            sum += column_sum(from + x, rows, width);
        for (int32_t x = 0; x < width; x++) {
            if (x + half < width)
                sum += column_sum(from + x + half, rows, width), columns++;
            if (x > half)
                sum -= column_sum(from + x - half - 1, rows, width), columns--;
            const uint32_t count = (uint32_t)rows * columns, whole = sum / count;
            *output++ = (int32_t)(whole + (sum - whole * count >= count - count / 2));
        }
    }
}

bool edge_check_affine_map(const edge_model *m, const edge_affine_map *p)
{
    const uint64_t n = edge_extent(p->positions, 1, 1, 1), constants = p->each ? n : 1;
    return n && (p->each == 0 || p->each == 1) && p->shift >= 0 && p->shift <= 46 &&
           edge_readable(m, p->input, 4 * n, 4) && (p->base == EDGE_NO_REF || edge_readable(m, p->base, 4 * n, 4)) &&
           edge_writable(m, p->output, 4 * n, 4) && edge_readable(m, p->mean, 4 * constants, 4) &&
           edge_readable(m, p->gain, 2 * constants, 2);
}

void edge_run_affine_map(const edge_model *m, const edge_affine_map *p)
{
    const int32_t *input = edge_at(m, p->input), *mean = edge_at(m, p->mean);
    const int32_t *base = p->base == EDGE_NO_REF ? NULL : edge_at(m, p->base);
    const uint16_t *gain = edge_at(m, p->gain);
    int32_t *output = edge_to(m, p->output);
    for (int32_t i = 0; i < p->positions; i++, mean += p->each, gain += p->each) {
        const int64_t scaled = edge_round_shift(((int64_t)input[i] - *mean) * *gain, p->shift);
        output[i] = edge_int32(scaled + (base ? base[i] : 0));
    }
}

bool edge_check_map_max(const edge_model *m, const edge_map_max *p)
{
    const uint64_t n = edge_extent(p->positions, 1, 1, 1);
    return n && edge_readable(m, p->input, 4 * n, 4) && edge_writable(m, p->output, 4, 4);
}

void edge_run_map_max(const edge_model *m, const edge_map_max *p)
{
    const int32_t *input = edge_at(m, p->input);
    int32_t largest = input[0];
    for (int32_t i = 1; i < p->positions; i++)
        if (input[i] > largest)
            largest = input[i];
    *(int32_t *)edge_to(m, p->output) = edge_int32((int64_t)largest - p->offset);
}
