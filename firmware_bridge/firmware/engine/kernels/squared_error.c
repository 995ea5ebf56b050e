/* The sum of squared differences of an INT8 or int16 tensor and an INT8 one, of different scales, as one int32. */
#include "../internal.h"

#define SPAN 255         /* largest distance of an INT8 value from a zero point */
#define WIDE_SPAN 32768 /* of an int16 value, whose zero point is 0 */

static bool zero_ok(int32_t zero) { return zero >= -128 && zero <= 127; }

static bool multiplier_ok(int32_t multiplier) { return multiplier >= 0 && multiplier <= 1 << 20; }

static int64_t half(int32_t shift) { return shift ? (int64_t)1 << (shift - 1) : 0; }

bool edge_check_squared_error(const edge_model *m, const edge_squared_error *p)
{
    if (p->count < 1 || p->shift < 0 || p->shift > 62 || !zero_ok(p->a_zero) || !zero_ok(p->b_zero) ||
        !multiplier_ok(p->a_multiplier) || !multiplier_ok(p->b_multiplier) || (p->wide != 0 && p->wide != 1) ||
        (p->wide && p->a_zero))
        return false;
    const int64_t span = p->wide ? WIDE_SPAN : SPAN, most = span * p->a_multiplier + (int64_t)SPAN * p->b_multiplier;
    if (most > INT32_MAX)
        return false;
    if (most && p->count > (INT64_MAX - half(p->shift)) / (most * most))
        return false;
    const uint32_t width = p->wide ? 2 : 1;
    return edge_readable(m, p->a, (uint64_t)p->count * width, width) && edge_readable(m, p->b, (uint64_t)p->count, 1) &&
           edge_writable(m, p->output, 4, 4);
}

void edge_run_squared_error(const edge_model *m, const edge_squared_error *p)
{
    const int8_t *a = edge_at(m, p->a), *b = edge_at(m, p->b);
    const int16_t *wide = edge_at(m, p->a);
    int64_t sum = half(p->shift);
    for (int32_t i = 0; i < p->count; i++) {
        const int32_t d = ((p->wide ? wide[i] : a[i]) - p->a_zero) * p->a_multiplier - (b[i] - p->b_zero) * p->b_multiplier;
        sum += (int64_t)d * d;
    }
    sum >>= p->shift;
    *(int32_t *)edge_to(m, p->output) = sum > INT32_MAX ? INT32_MAX : (int32_t)sum;
}
