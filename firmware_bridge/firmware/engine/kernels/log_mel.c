/* Log-mel features of a window of samples; defined in edge_ad/runtime/integer/log_mel.py. */
#include "../fft.h"
#include "../functions.h"

#define ONE (1 << 14) /* of filter weights */
#define POWER_SHIFT 12
#define WINDOW_BITS 31
#define GAIN_BITS 16
#define DB_SHIFT 38
#define DB_MULTIPLIER INT64_C(1616142483) /* 10 log10(2) * 128 / 2^16 * 2^38 */

/* Segments follow one another and end with the bins, and weights are none above 1, for good: they lie in the
 * image. */
static bool filters_ok(const edge_model *m, const edge_log_mel *p, uint64_t bins)
{
    const uint64_t bands = (uint64_t)p->bands;
    if (!(p->starts & p->fractions & EDGE_IN_IMAGE) || !edge_readable(m, p->starts, (bands + 2) * 2, 2) ||
        !edge_readable(m, p->fractions, bins * 2, 2) || !edge_readable(m, p->offsets, bands * 4, 4) ||
        !edge_readable(m, p->means, bands * 2, 2) || !edge_readable(m, p->gains, bands * 4, 4))
        return false;
    const uint16_t *starts = edge_at(m, p->starts), *fractions = edge_at(m, p->fractions);
    for (uint64_t i = 0; i <= bands; i++)
        if (starts[i] > starts[i + 1])
            return false;
    for (uint64_t k = 0; k < bins; k++)
        if (fractions[k] > ONE)
            return false;
    return starts[bands + 1] <= bins;
}

bool edge_check_log_mel(const edge_model *m, const edge_log_mel *p)
{
    if (p->log2_size < EDGE_RFFT_LEAST || p->log2_size > EDGE_RFFT_MOST)
        return false;
    const uint64_t n = (uint64_t)1 << p->log2_size, values = edge_extent(p->frames, p->bands, 1, 1);
    if (!values || values > 1 << 16 || p->hop < 1 || (uint64_t)p->hop > n || p->floor < INT16_MIN ||
        p->floor > INT16_MAX)
        return false;
    const uint64_t input = ((uint64_t)(p->frames - 1) * (uint64_t)p->hop + n) * 2;
    return edge_readable(m, p->input, input, 2) && edge_writable(m, p->output, values * 2, 2) &&
           edge_writable(m, p->work, n * 4, 4) && edge_apart(p->work, n * 4, p->input, input) &&
           edge_apart(p->work, n * 4, p->output, values * 2) && filters_ok(m, p, n / 2 + 1);
}

/* A frame under a Hann window, shifted for the transform: by how much. */
static int32_t windowed(int32_t *work, const int16_t *frame, int32_t log2_n)
{
    const int32_t n = 1 << log2_n, step = 11 - log2_n;
    uint32_t magnitude = 0;
    for (int32_t i = 0; i < n; i++)
        magnitude |= edge_magnitude(frame[i]);
    const int32_t shift = edge_rfft_shift(magnitude, log2_n) + 1, down = WINDOW_BITS - shift; /* 6 or more */
    for (int32_t i = 0; i <= n / 2; i++) {
        const int64_t hann = ((int64_t)1 << 30) - edge_cosine(i << step);
        work[i] = (int32_t)edge_round_shift(frame[i] * hann, down);
        if (i > 0)
            work[n - i] = (int32_t)edge_round_shift(frame[n - i] * hann, down);
    }
    return shift;
}

static inline uint64_t power(int32_t re, int32_t im)
{
    const int64_t squares = (int64_t)re * re + (int64_t)im * im;
    return (uint64_t)(squares + (1 << (POWER_SHIFT - 1))) >> POWER_SHIFT;
}

static inline uint64_t bin_power(const int32_t *work, int32_t k, int32_t half)
{
    if (k == 0 || k == half)
        return power(work[k ? 1 : 0], 0);
    return power(work[2 * k], work[2 * k + 1]);
}

/* 10 log10 of sum * 2^(offset / 2^16), in units of 1/128 dB. */
static int32_t decibels(uint64_t sum, int32_t offset, int32_t shift, int32_t floor)
{
    if (sum == 0)
        return floor;
    const int64_t log2 = (int64_t)edge_log2(sum) + offset - shift * (1 << 17);
    const int64_t value = edge_round_shift(log2 * DB_MULTIPLIER, DB_SHIFT);
    return value < floor ? floor : edge_int16(value);
}

/* The features of a frame, `frames` apart from band to band. Each segment lies on the falling side of one filter,
 * `below`, and on the rising side of the next. */
static void filtered(const edge_model *m, const edge_log_mel *p, const int32_t *work, int32_t shift,
                     int16_t *output)
{
    const uint16_t *starts = edge_at(m, p->starts), *fractions = edge_at(m, p->fractions);
    const int32_t *offsets = edge_at(m, p->offsets), *gains = edge_at(m, p->gains);
    const int16_t *means = edge_at(m, p->means);
    const int32_t half = 1 << (p->log2_size - 1);
    uint64_t below = 0;
    for (int32_t segment = 0; segment <= p->bands; segment++) {
        uint64_t above = 0;
        for (int32_t k = starts[segment]; k < starts[segment + 1]; k++) {
            const uint64_t value = bin_power(work, k, half);
            above += value * fractions[k];
            below += value * (uint32_t)(ONE - fractions[k]);
        }
        if (segment > 0) {
            const int32_t band = segment - 1;
            const int32_t distance = decibels(below, offsets[band], shift, p->floor) - means[band];
            *output = edge_int16(edge_round_shift((int64_t)distance * gains[band], GAIN_BITS));
            output += p->frames;
        }
        below = above;
    }
}

void edge_run_log_mel(const edge_model *m, const edge_log_mel *p)
{
    const int16_t *input = edge_at(m, p->input);
    int16_t *output = edge_to(m, p->output);
    int32_t *work = edge_to(m, p->work);
    for (int32_t f = 0; f < p->frames; f++, input += p->hop) {
        const int32_t shift = windowed(work, input, p->log2_size);
        edge_rfft(work, p->log2_size);
        filtered(m, p, work, shift, output + f);
    }
}
