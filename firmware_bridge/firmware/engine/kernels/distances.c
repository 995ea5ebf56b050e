/* Distances of a vector from what is normal: edge_ad/runtime/integer/distances.py. */
#include "../fixed.h"
#include "../functions.h"
#include "../pairs.h"

#define MOST_WHITE ((1 << 24) - 1)
#define MOST_LENGTH (1 << 15)
#define MOST_ROWS (1 << 14) /* their squares' sum has 62 bits */
#define MOST_GAUSSIANS 16

bool edge_check_row_sums(const edge_model *m, const edge_row_sums *p)
{
    const uint64_t size = edge_extent(p->rows, p->length, 1, 1);
    return size && p->length <= MOST_LENGTH && edge_readable(m, p->input, 2 * size, 2) &&
           edge_writable(m, p->output, 4 * (uint64_t)p->rows, 4);
}

void edge_run_row_sums(const edge_model *m, const edge_row_sums *p)
{
    const int16_t *input = edge_at(m, p->input);
    int32_t *output = edge_to(m, p->output);
    for (int32_t r = 0; r < p->rows; r++, input += p->length)
        *output++ = edge_sum16(input, p->length);
}

bool edge_check_mahalanobis(const edge_model *m, const edge_mahalanobis *p)
{
    if (p->gaussians < 1 || p->gaussians > MOST_GAUSSIANS || p->rows < 1 || p->rows > MOST_ROWS || p->n < 1 ||
        p->n > MOST_LENGTH || (p->diagonal != 0 && p->diagonal != 1) || (p->diagonal && p->rows != p->n) ||
        p->shift < 0 || p->shift > 61 || !(p->shifts & EDGE_IN_IMAGE))
        return false;
    const uint64_t gaussians = (uint64_t)p->gaussians, rows = (uint64_t)p->rows, n = (uint64_t)p->n;
    if (!edge_readable(m, p->input, 4 * n, 4) || !edge_writable(m, p->output, 4, 4) ||
        !edge_readable(m, p->centres, 4 * gaussians * n, 4) ||
        !edge_readable(m, p->whitening, 2 * gaussians * (p->diagonal ? 1 : rows) * n, 2) ||
        !edge_readable(m, p->shifts, 4 * gaussians * rows, 4))
        return false;
    const int32_t *shifts = edge_at(m, p->shifts);
    for (uint64_t i = 0; i < gaussians * rows; i++)
        if (shifts[i] < 0 || shifts[i] > 61)
            return false;
    return true;
}

static int32_t difference(int32_t x, int32_t centre)
{
    const int64_t off = (int64_t)x - centre;
    return (int32_t)(off < -INT32_MAX ? -INT32_MAX : off > INT32_MAX ? INT32_MAX : off);
}

/* The square of one whitened value. */
static int64_t white_square(int64_t product, int32_t shift)
{
    const int64_t rounded = edge_round_shift(product, shift);
    const int64_t white = rounded < -MOST_WHITE ? -MOST_WHITE : rounded > MOST_WHITE ? MOST_WHITE : rounded;
    return white * white;
}

static int64_t product(const int32_t *x, const int32_t *centre, const int16_t *whitening, int32_t n)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (int64_t)whitening[i] * difference(x[i], centre[i]);
    return sum;
}

void edge_run_mahalanobis(const edge_model *m, const edge_mahalanobis *p)
{
    const int32_t *x = edge_at(m, p->input), *centre = edge_at(m, p->centres), *shifts = edge_at(m, p->shifts);
    const int16_t *whitening = edge_at(m, p->whitening);
    int32_t least = INT32_MAX;
    for (int32_t g = 0; g < p->gaussians; g++, centre += p->n) {
        int64_t sum = 0;
        for (int32_t r = 0; r < p->rows; r++) {
            const int64_t made = p->diagonal ? (int64_t)*whitening++ * difference(x[r], centre[r])
                                             : product(x, centre, whitening, p->n);
            sum += white_square(made, *shifts++);
            whitening += p->diagonal ? 0 : p->n;
        }
        const int32_t distance = edge_int32(edge_round_shift(sum, p->shift));
        least = distance < least ? distance : least;
    }
    *(int32_t *)edge_to(m, p->output) = least;
}

bool edge_check_two_sided(const edge_model *m, const edge_two_sided *p)
{
    return edge_readable(m, p->input, 4, 4) && edge_writable(m, p->output, 4, 4) &&
           edge_scales_ok(&p->below_multiplier, &p->below_shift, 1) &&
           edge_scales_ok(&p->above_multiplier, &p->above_shift, 1);
}

void edge_run_two_sided(const edge_model *m, const edge_two_sided *p)
{
    const int32_t off = difference(*(const int32_t *)edge_at(m, p->input), p->centre);
    const int64_t score = off >= 0 ? edge_scale_rarely(off, p->above_multiplier, p->above_shift)
                                   : edge_scale_rarely(-off, p->below_multiplier, p->below_shift);
    *(int32_t *)edge_to(m, p->output) = edge_int32(score);
}
