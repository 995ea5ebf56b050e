/* A series' window scaled by itself, its spectrum, its newest patch; defined in runtime/integer/windows.py. */
#include "../fft.h"
#include "../functions.h"

#define Z_BITS 20
#define MOST_SAMPLES (1 << 13) /* of a window: n * sum of squares stays below 2^62 */

/* The channel of a round, as its counter says, or 0 where that cannot be. */
static int32_t channel_of(const edge_model *m, edge_ref counter, int32_t channels)
{
    const int32_t channel = *(const int32_t *)edge_at(m, counter);
    return channel >= 0 && channel < channels ? channel : 0;
}

static bool windows_ok(const edge_model *m, edge_ref input, edge_ref channel, int32_t channels, int32_t size,
                       int32_t patch)
{
    const uint64_t samples = edge_extent(channels, size, 1, 1);
    return samples && size <= MOST_SAMPLES && patch >= 1 && patch < size && edge_readable(m, input, 2 * samples, 2) &&
           edge_readable(m, channel, 4, 4);
}

bool edge_check_window_scale(const edge_model *m, const edge_window_scale *p)
{
    return windows_ok(m, p->input, p->channel, p->channels, p->size, p->patch) &&
           edge_readable(m, p->token, 2 * (uint64_t)p->patch, 2) &&
           edge_writable(m, p->output, 2 * (uint64_t)p->size, 2) && edge_writable(m, p->statistics, 8, 4) &&
           edge_floor_ok(p->floor_low, p->floor_high) && edge_shift_ok(p->shift);
}

void edge_run_window_scale(const edge_model *m, const edge_window_scale *p)
{
    const int32_t n = p->size - p->patch;
    const int16_t *x = (const int16_t *)edge_at(m, p->input) + channel_of(m, p->channel, p->channels) * p->size;
    int64_t total = 0;
    uint64_t squares = 0;
    for (int32_t i = 0; i < n; i++) {
        total += x[i];
        squares += (uint64_t)(uint32_t)(x[i] * x[i]);
    }
    const edge_spread s = edge_spread_of(n, total, squares, edge_floor(p->floor_low, p->floor_high), false);
    int16_t *output = edge_to(m, p->output);
    for (int32_t i = 0; i < n; i++) {
        const int32_t z = edge_standardised(&s, n, x[i], Z_BITS);
        *output++ = edge_int16(edge_scale_long(z, p->multiplier, p->shift) + p->offset);
    }
    memmove(output, edge_at(m, p->token), 2 * (size_t)p->patch);
    int32_t *statistics = edge_to(m, p->statistics);
    const int64_t up = (int64_t)n << 15; /* makes the sum positive, so that the division rounds down */
    statistics[0] = (int32_t)((int64_t)(((uint64_t)(total + up) << 16) / (uint32_t)n) - ((int64_t)1 << 31));
    const uint64_t deviation = ((uint64_t)s.s << 16) / (uint32_t)n >> s.t;
    statistics[1] = (int32_t)(deviation > INT32_MAX ? INT32_MAX : deviation);
}

bool edge_check_half_spectra(const edge_model *m, const edge_half_spectra *p)
{
    if (p->log2_size < EDGE_RFFT_LEAST || p->log2_size > EDGE_RFFT_MOST)
        return false;
    const uint64_t n = (uint64_t)1 << p->log2_size;
    return edge_readable(m, p->input, 2 * n, 2) && edge_writable(m, p->output, 2 * n, 2) &&
           edge_writable(m, p->sizes, 16, 4) && edge_writable(m, p->work, 4 * n, 4) &&
           edge_apart(p->work, 4 * n, p->input, 2 * n) && edge_apart(p->work, 4 * n, p->output, 2 * n) &&
           edge_apart(p->work, 4 * n, p->sizes, 16) && p->floor >= 0 && p->floor <= 1 << 20;
}

/* Every second of `count` words, the first instead of what lies at `work[0]`, over their largest. Returns that. */
static int32_t half(const int32_t *work, int32_t first, int32_t count, int32_t floor, int16_t *output)
{
    int32_t size = first < 0 ? -first : first, t = 0;
    for (int32_t k = 1; k < count; k++) {
        const int32_t bin = work[2 * k] < 0 ? -work[2 * k] : work[2 * k];
        if (bin > size)
            size = bin;
    }
    size += floor;
    uint32_t scaled = (uint32_t)size;
    for (; !(scaled >> 31); scaled <<= 1)
        t++;
    const int64_t multiplier = edge_reciprocal(scaled);
    for (int32_t k = 0; k < count; k++) {
        const int64_t value = edge_round_shift((k ? work[2 * k] : first) * multiplier, 47 - t);
        output[k] = (int16_t)(value > INT16_MAX ? INT16_MAX : value);
    }
    return size;
}

void edge_run_half_spectra(const edge_model *m, const edge_half_spectra *p)
{
    const int32_t n = 1 << p->log2_size;
    const int16_t *input = edge_at(m, p->input);
    int16_t *output = edge_to(m, p->output);
    int32_t *work = edge_to(m, p->work), *sizes = edge_to(m, p->sizes);
    uint32_t magnitude = 0;
    for (int32_t i = 0; i < n; i++)
        magnitude |= edge_magnitude(input[i]);
    const int32_t shift = edge_rfft_shift(magnitude, p->log2_size); /* 4 to 24 */
    for (int32_t i = 0; i < n; i++)
        work[i] = edge_shift_rounded(input[i], shift);
    edge_rfft(work, p->log2_size);
    const int64_t least = ((int64_t)p->floor << shift) >> 16;
    const int32_t floor = least > 1 ? (int32_t)least : 1;
    sizes[0] = half(work, work[0], n / 2, floor, output);
    sizes[1] = half(work + 1, 0, n / 2, floor, output + n / 2);
    sizes[2] = work[1]; /* bin N/2 */
    sizes[3] = shift;
}

bool edge_check_inverse_patch(const edge_model *m, const edge_inverse_patch *p)
{
    if (p->log2_size < EDGE_RFFT_LEAST || p->log2_size > EDGE_RFFT_MOST)
        return false;
    const int32_t n = 1 << p->log2_size;
    return p->patch >= 1 && p->patch <= n && p->bits >= 0 && p->bits <= 16 && p->extra >= 0 && p->extra <= 30 &&
           edge_shift_ok(p->shift) && edge_readable(m, p->values, 2 * (uint64_t)n, 2) &&
           edge_readable(m, p->sizes, 16, 4) && edge_writable(m, p->output, 4 * (uint64_t)p->patch, 4);
}

/* Row `row` of the inverse transform over one half: sum of value * 2 (bin 0: 1) * sine(row * k + quarter). */
static int64_t row_sum(const int16_t *values, int32_t row, int32_t log2_n, int32_t quarter)
{
    const int32_t n = 1 << log2_n, unit = EDGE_TURN_BITS - log2_n;
    int64_t sum = values[0] * (int64_t)(edge_sine((uint32_t)quarter) / 2);
    uint32_t angle = (uint32_t)quarter;
    for (int32_t k = 1; k < n / 2; k++) {
        angle += (uint32_t)row << unit;
        sum += values[k] * (int64_t)edge_sine(angle);
    }
    return 2 * sum;
}

void edge_run_inverse_patch(const edge_model *m, const edge_inverse_patch *p)
{
    const int32_t n = 1 << p->log2_size;
    const int16_t *values = edge_at(m, p->values);
    const int32_t *sizes = edge_at(m, p->sizes);
    const int64_t real_size = sizes[0], imaginary_size = sizes[1], last = (int64_t)sizes[2] * (1 << p->bits);
    const int32_t down = edge_clamp(sizes[3], 0, 31) + p->extra;
    int32_t *output = edge_to(m, p->output);
    for (int32_t row = n - p->patch; row < n; row++) {
        const int64_t real = edge_round_shift(row_sum(values, row, p->log2_size, EDGE_QUARTER_TURN), 30);
        const int64_t imaginary = edge_round_shift(-row_sum(values + n / 2, row, p->log2_size, 0), 30);
        const int64_t words = real * real_size + imaginary * imaginary_size + (row & 1 ? -last : last);
        const int32_t found = edge_int32(edge_round_shift(words, down));
        *output++ = edge_int32(edge_scale_long(found, p->multiplier, p->shift) + p->offset);
    }
}

bool edge_check_patch_errors(const edge_model *m, const edge_patch_errors *p)
{
    return windows_ok(m, p->input, p->channel, p->channels, p->size, p->patch) &&
           edge_readable(m, p->time, 2 * (uint64_t)p->patch, 2) &&
           edge_readable(m, p->spectrum, 4 * (uint64_t)p->patch, 4) && edge_readable(m, p->statistics, 8, 4) &&
           edge_writable(m, p->errors, 12 * (uint64_t)p->channels, 4) && edge_shift_ok(p->shift);
}

/* foretold - came, both in 2^-25 standard deviations, in 2^-14, squared. */
static uint64_t square(int64_t difference)
{
    const int64_t rounded = edge_round_shift(difference, 11), most = 1 << 21;
    const int64_t kept = rounded >= most ? most - 1 : rounded < -most ? -most : rounded;
    return (uint64_t)(kept * kept);
}

void edge_run_patch_errors(const edge_model *m, const edge_patch_errors *p)
{
    const int32_t channel = channel_of(m, p->channel, p->channels);
    const int16_t *time = edge_at(m, p->time);
    const int16_t *newest = (const int16_t *)edge_at(m, p->input) + (channel + 1) * p->size - p->patch;
    const int32_t *spectrum = edge_at(m, p->spectrum), *statistics = edge_at(m, p->statistics);
    const int64_t mean = statistics[0], deviation = statistics[1];
    uint64_t sums[3] = {0, 0, 0};
    for (int32_t i = 0; i < p->patch; i++) {
        const int64_t came = newest[i] * 65536, base = mean - came;
        const int32_t z = edge_int32(edge_scale_long(time[i], p->multiplier, p->shift) + p->offset);
        sums[0] += square(edge_round_shift(z * deviation, Z_BITS) + base);
        sums[1] += square(edge_round_shift(spectrum[i] * deviation, Z_BITS) + base);
        sums[2] += square(-came);
    }
    const uint64_t divisor = (uint64_t)p->patch << 12;
    int32_t *errors = (int32_t *)edge_to(m, p->errors) + channel;
    for (int k = 0; k < 3; k++)
        errors[k * p->channels] = (int32_t)((sums[k] + divisor / 2) / divisor);
}
