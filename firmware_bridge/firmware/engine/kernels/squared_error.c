/* The sum of squared differences of two tensors of different scales, each INT8 or int16, as one int32. */
#include "../internal.h"

#define SPAN 255         /* largest distance of an INT8 value from a zero point */
#define WIDE_SPAN 32768 /* of an int16 value, whose zero point is 0 */

static bool zero_ok(int32_t zero) { return zero >= -128 && zero <= 127; }

static bool multiplier_ok(int32_t multiplier) { return multiplier >= 0 && multiplier <= 1 << 20; }

static int64_t half(int32_t shift) { return shift ? (int64_t)1 << (shift - 1) : 0; }

bool edge_check_squared_error(const edge_model *m, const edge_squared_error *p)
{
    if (p->count < 1 || p->shift < 0 || p->shift > 62 || !zero_ok(p->a_zero) || !zero_ok(p->b_zero) ||
        !multiplier_ok(p->a_multiplier) || !multiplier_ok(p->b_multiplier) || p->wide < 0 || p->wide > 2 ||
        (p->wide && p->a_zero) || (p->wide == 2 && p->b_zero))
        return false;
    const int64_t a_span = p->wide ? WIDE_SPAN : SPAN, b_span = p->wide == 2 ? WIDE_SPAN : SPAN;
    const int64_t most = a_span * p->a_multiplier + b_span * p->b_multiplier;
    if (most > INT32_MAX)
        return false;
    if (most && p->count > (INT64_MAX - half(p->shift)) / (most * most))
        return false;
    const uint32_t a_width = p->wide ? 2 : 1, b_width = p->wide == 2 ? 2 : 1;
    return edge_readable(m, p->a, (uint64_t)p->count * a_width, a_width) &&
           edge_readable(m, p->b, (uint64_t)p->count * b_width, b_width) &&
           edge_writable(m, p->output, 4, 4);
}

void edge_run_squared_error(const edge_model *m, const edge_squared_error *p)
{
    const int8_t *a = edge_at(m, p->a), *b = edge_at(m, p->b);
    const int16_t *a_wide = edge_at(m, p->a), *b_wide = edge_at(m, p->b);
    int64_t sum = half(p->shift);
    for (int32_t i = 0; i < p->count; i++) {
        const int32_t x = p->wide ? a_wide[i] : a[i], y = p->wide == 2 ? b_wide[i] : b[i];
        const int32_t d = (x - p->a_zero) * p->a_multiplier - (y - p->b_zero) * p->b_multiplier;
        sum += (int64_t)d * d;
    }
    sum >>= p->shift;
    *(int32_t *)edge_to(m, p->output) = sum > INT32_MAX ? INT32_MAX : (int32_t)sum;
}
