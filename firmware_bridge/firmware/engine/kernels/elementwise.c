/* ADD, SUB and MUL with broadcasting, plain C. */
#include "../internal.h"
#include "../rounding.h"

typedef struct {
    int32_t size[5]; /* of the output, outermost first */
    int32_t a[5];    /* strides, 0 where the operand repeats */
    int32_t b[5];
} geometry;

/* One innermost row of n elements; a and b move by their steps. */
typedef void (*row_kernel)(const void *record, const int8_t *a, int32_t a_step, const int8_t *b,
                           int32_t b_step, int8_t *output, int32_t n);

/* Number of elements that an operand with these strides spans, or 0 where that cannot be. */
static uint64_t span(const int32_t *size, const int32_t *stride)
{
    uint64_t last = 0;
    for (int i = 0; i < 5; i++) {
        if (stride[i] < 0 || stride[i] > 1 << 24)
            return 0;
        last += (uint64_t)(size[i] - 1) * (uint32_t)stride[i];
    }
    return last >> 31 ? 0 : last + 1;
}

static bool operands_ok(const edge_model *m, edge_ref a, edge_ref b, edge_ref output, edge_ref where)
{
    if (!(where & EDGE_IN_IMAGE) || !edge_readable(m, where, sizeof(geometry), 4))
        return false;
    const geometry *g = edge_at(m, where);
    const uint64_t outer = edge_extent(g->size[0], g->size[1], g->size[2], g->size[3]);
    const uint64_t inner = edge_extent(g->size[4], 1, 1, 1);
    if (!outer || !inner)
        return false;
    const uint64_t a_span = span(g->size, g->a), b_span = span(g->size, g->b);
    return a_span && b_span && edge_readable(m, a, a_span, 1) && edge_readable(m, b, b_span, 1) &&
           edge_writable(m, output, outer * inner, 1);
}

static void walk(const geometry *g, const int8_t *a, const int8_t *b, int8_t *output, row_kernel row,
                 const void *record)
{
    const int32_t n = g->size[4];
    for (int32_t i = 0; i < g->size[0]; i++)
        for (int32_t j = 0; j < g->size[1]; j++)
            for (int32_t k = 0; k < g->size[2]; k++)
                for (int32_t l = 0; l < g->size[3]; l++, output += n)
                    row(record, a + i * g->a[0] + j * g->a[1] + k * g->a[2] + l * g->a[3], g->a[4],
                        b + i * g->b[0] + j * g->b[1] + k * g->b[2] + l * g->b[3], g->b[4], output, n);
}

/* edge_scale_twice of x with shift = -right, for ADD alone: none of its values reaches 2^29, so that twice x
 * fits and both roundings are plain sums. */
typedef struct {
    int32_t multiplier, right;
    uint32_t half, away; /* half of the last place and, for negative values, 1 less; both 0 without a shift */
} scaling;

static scaling prepare(int32_t multiplier, int32_t shift)
{
    const uint32_t half = ((uint32_t)1 << -shift) >> 1;
    const scaling s = {multiplier, -shift, half, half ? UINT32_MAX : 0};
    return s;
}

static inline int32_t scale(uint32_t twice_x, scaling s)
{
    const int64_t product = (int64_t)(int32_t)twice_x * s.multiplier;
    const int32_t high = (int32_t)((product + ((int64_t)1 << 31)) >> 32);
    const uint32_t down = (uint32_t)(high >> 31) & s.away;
    return (int32_t)((uint32_t)high + s.half + down) >> s.right;
}

/* Operands are raised by 20 bits before they are scaled. */
static void add_row(const void *record, const int8_t *a, int32_t a_step, const int8_t *b, int32_t b_step,
                    int8_t *output, int32_t n)
{
    const edge_add p = *(const edge_add *)record; /* a copy: the output cannot alias it */
    const scaling left = prepare(p.a_multiplier, p.a_shift), right = prepare(p.b_multiplier, p.b_shift);
    const scaling last = prepare(p.multiplier, p.shift);
    for (int8_t *const end = output + n; output < end; a += a_step, b += b_step) {
        const int32_t x = scale(((uint32_t)(int32_t)*a - (uint32_t)p.a_zero) << 21, left);
        const int32_t y = scale(((uint32_t)(int32_t)*b - (uint32_t)p.b_zero) << 21, right);
        const uint32_t sum = (uint32_t)x + (uint32_t)p.b_sign * (uint32_t)y;
        *output++ = edge_int8(scale(2u * sum, last), p.output_zero, p.low, p.high);
    }
}

static void multiply_row(const void *record, const int8_t *a, int32_t a_step, const int8_t *b,
                         int32_t b_step, int8_t *output, int32_t n)
{
    const edge_multiply p = *(const edge_multiply *)record; /* a copy: the output cannot alias it */
    for (int8_t *const end = output + n; output < end; a += a_step, b += b_step) {
        const uint32_t left = (uint32_t)(int32_t)*a - (uint32_t)p.a_zero;
        const uint32_t right = (uint32_t)(int32_t)*b - (uint32_t)p.b_zero;
        const int32_t scaled = edge_scale_twice((int32_t)(left * right), p.multiplier, p.shift);
        *output++ = edge_int8(scaled, p.output_zero, p.low, p.high);
    }
}

static bool scales_down(int32_t multiplier, int32_t shift)
{
    return edge_scales_ok(&multiplier, &shift, 1) && shift <= 0;
}

bool edge_check_add(const edge_model *m, const edge_add *p)
{
    return operands_ok(m, p->a, p->b, p->output, p->geometry) && scales_down(p->a_multiplier, p->a_shift) &&
           scales_down(p->b_multiplier, p->b_shift) && scales_down(p->multiplier, p->shift);
}

void edge_run_add(const edge_model *m, const edge_add *p)
{
    walk(edge_at(m, p->geometry), edge_at(m, p->a), edge_at(m, p->b), edge_to(m, p->output), add_row, p);
}

bool edge_check_multiply(const edge_model *m, const edge_multiply *p)
{
    return operands_ok(m, p->a, p->b, p->output, p->geometry) && edge_scales_ok(&p->multiplier, &p->shift, 1);
}

void edge_run_multiply(const edge_model *m, const edge_multiply *p)
{
    walk(edge_at(m, p->geometry), edge_at(m, p->a), edge_at(m, p->b), edge_to(m, p->output), multiply_row, p);
}
