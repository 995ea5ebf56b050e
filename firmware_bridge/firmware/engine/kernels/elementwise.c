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

/* An operand in units that leave room for the other one: 20 bits more than it has. */
static inline int32_t raised(int8_t value, int32_t zero, int32_t multiplier, int32_t shift)
{
    const uint32_t offset = (uint32_t)value - (uint32_t)zero;
    return edge_scale_twice((int32_t)(offset << 20), multiplier, shift);
}

static void add_row(const void *record, const int8_t *a, int32_t a_step, const int8_t *b, int32_t b_step,
                    int8_t *output, int32_t n)
{
    const edge_add *p = record;
    for (; n > 0; n--, a += a_step, b += b_step) {
        const uint32_t left = (uint32_t)raised(*a, p->a_zero, p->a_multiplier, p->a_shift);
        const uint32_t right = (uint32_t)raised(*b, p->b_zero, p->b_multiplier, p->b_shift);
        const int32_t sum = (int32_t)(left + (uint32_t)p->b_sign * right);
        *output++ = edge_int8(edge_scale_twice(sum, p->multiplier, p->shift), p->output_zero, p->low, p->high);
    }
}

static void multiply_row(const void *record, const int8_t *a, int32_t a_step, const int8_t *b,
                         int32_t b_step, int8_t *output, int32_t n)
{
    const edge_multiply *p = record;
    for (; n > 0; n--, a += a_step, b += b_step) {
        const uint32_t left = (uint32_t)(int32_t)*a - (uint32_t)p->a_zero;
        const uint32_t right = (uint32_t)(int32_t)*b - (uint32_t)p->b_zero;
        const int32_t scaled = edge_scale_twice((int32_t)(left * right), p->multiplier, p->shift);
        *output++ = edge_int8(scaled, p->output_zero, p->low, p->high);
    }
}

bool edge_check_add(const edge_model *m, const edge_add *p)
{
    return operands_ok(m, p->a, p->b, p->output, p->geometry) && edge_scales_ok(&p->multiplier, &p->shift, 1) &&
           edge_scales_ok(&p->a_multiplier, &p->a_shift, 1) && edge_scales_ok(&p->b_multiplier, &p->b_shift, 1);
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
