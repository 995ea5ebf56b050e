/* SOFTMAX over rows, plain C. The exponentials come as a table; sums have 19 fractional bits. */
#include "../internal.h"
#include "../rounding.h"

/* Rows are shorter than this, so that a sum of exponentials (each at most 2^19) stays below 2^31. */
#define MAX_DEPTH 4095

bool edge_check_softmax(const edge_model *m, const edge_softmax *p)
{
    const uint64_t size = edge_extent(p->rows, p->depth, 1, 1);
    if (!size || p->depth > MAX_DEPTH || !edge_readable(m, p->input, size, 1) ||
        !edge_writable(m, p->output, size, 1) || !(p->exponentials & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->exponentials, 256 * 4, 4))
        return false;
    const int32_t *exponentials = edge_at(m, p->exponentials);
    for (int i = 0; i < 256; i++)
        if (exponentials[i] < 0)
            return false;
    return exponentials[0] == INT32_MAX; /* the largest value's own: no sum is below 2^19 */
}

static int32_t saturated(int64_t x)
{
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

/* 1 / (1 + x) of x from 0 to 1, both with 31 fractional bits: Newton's division from 48/17 - 32/17 d. */
static int32_t reciprocal(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1); /* (1 + x) / 2 */
    int32_t y = 1515870810 + edge_high_product(half, -1010580540);     /* 29 fractional bits */
    for (int i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - edge_high_product(half, y);
        y += saturated((int64_t)edge_high_product(y, error) * 4);
    }
    return saturated((int64_t)y * 2);
}

/* exp(value - largest); the cast holds the index in the table even where input and output overlap. */
static int32_t exponential(const int32_t *exponentials, int32_t largest, int8_t value)
{
    return exponentials[(uint8_t)(largest - value)];
}

static void softmax_row(const int8_t *input, int8_t *output, int32_t depth, const int32_t *exponentials)
{
    int32_t largest = input[0];
    for (int32_t i = 1; i < depth; i++)
        if (input[i] > largest)
            largest = input[i];
    int32_t sum = 0;
    for (int32_t i = 0; i < depth; i++)
        sum += edge_divide_power(exponential(exponentials, largest, input[i]), 12);
    int32_t headroom = 0; /* bits that the sum can move up until it lies between 1 and 2 */
    while (!((uint32_t)sum << headroom & 0x80000000u))
        headroom++;
    const int32_t scale = reciprocal((int32_t)(((uint32_t)sum << headroom) & 0x7FFFFFFFu));
    const int32_t exponent = 12 - headroom + 31 - 8; /* above 31, what is left rounds to 0 */
    for (int32_t i = 0; i < depth; i++) {
        const int32_t product = edge_high_product(scale, exponential(exponentials, largest, input[i]));
        const int32_t share = exponent > 31 ? 0 : edge_divide_power(product, exponent);
        output[i] = edge_int8(share, -128, -128, 127);
    }
}

void edge_run_softmax(const edge_model *m, const edge_softmax *p)
{
    const int8_t *input = edge_at(m, p->input);
    int8_t *output = edge_to(m, p->output);
    for (int32_t r = 0; r < p->rows; r++, input += p->depth, output += p->depth)
        softmax_row(input, output, p->depth, edge_at(m, p->exponentials));
}
