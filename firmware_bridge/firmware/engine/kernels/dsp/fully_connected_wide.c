/* FULLY_CONNECTED of int16 activations with INT8 weights for Cortex-M4 and M7: two products an instruction (SMLAD),
 * four units at once. Weights are packed as those of dsp/rows.h; values come in pairs (0, 2) and (1, 3) as SXTB16 makes
 * them of four weights. */
#define EDGE_ROUNDINGS 1
#include "dsp.h"

#include "../../wide.h"

bool edge_check_fully_connected_wide(const edge_model *m, const edge_fully_connected_wide *p)
{
    return edge_fully_connected_wide_ok(m, p, ((uint64_t)p->depth + 3) / 4 * 4);
}

/* Four values times four units. */
#define FOUR_BY_FOUR                        \
    "ldr %[x], [%[input]], #4\n\t"          \
    "ldr %[t], [%[input]], #4\n\t"          \
    "ldrd %[u], %[v], [%[weights]], #8\n\t" \
    "pkhbt %[even], %[x], %[t], lsl #16\n\t" \
    "pkhtb %[x], %[t], %[x], asr #16\n\t"   \
    EDGE_TWO_ROWS("a", "b")                 \
    "ldrd %[u], %[v], [%[weights]], #8\n\t" \
    EDGE_TWO_ROWS("c", "d")

/* Four values as their pairs. */
typedef struct {
    uint32_t even, odd;
} pairs;

static inline pairs four(const int16_t *x)
{
    uint32_t first, second;
    memcpy(&first, x, 4);
    memcpy(&second, x + 2, 4);
    const pairs found = {(first & 0xFFFF) | second << 16, first >> 16 | (second & 0xFFFF0000)};
    return found;
}

/* The last 1 to 3 values, zeros behind them. */

static inline pairs few(const int16_t *x, int32_t count)
{
    const uint32_t second = count > 1 ? (uint16_t)x[1] : 0, third = count > 2 ? (uint16_t)x[2] : 0;
    const pairs found = {(uint16_t)x[0] | third << 16, second};
    return found;
}

/* sums[r] += x . w[r] of four units. */
static inline void four_sums(const int16_t *x, const uint32_t *w, int32_t depth, uint32_t *sums)
{
    uint32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], value, even, t, u, v;
    const int16_t *end = x + (depth & ~7);
    if (x != end)
        __asm volatile("1:\n\t" FOUR_BY_FOUR FOUR_BY_FOUR "cmp %[input], %[end]\n\t"
                       "bne 1b"
                       : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [input] "+r"(x), [weights] "+r"(w),
                         [x] "=&r"(value), [even] "=&r"(even), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v)
                       : [end] "r"(end)
                       : "cc", "memory");
    for (int32_t left = depth & 7; left > 0; left -= 4, x += 4, w += 4) {
        const pairs p = left >= 4 ? four(x) : few(x, left);
        a = edge_multiply_bytes(p.even, p.odd, w[0], a);
        b = edge_multiply_bytes(p.even, p.odd, w[1], b);
        c = edge_multiply_bytes(p.even, p.odd, w[2], c);
        d = edge_multiply_bytes(p.even, p.odd, w[3], d);
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

/* edge_wide_scaled of a scale with EDGE_WIDE_FAR. */
static inline int16_t scaled(uint32_t sum, int32_t scale)
{
    const int32_t upper = (int32_t)(((int64_t)(int32_t)sum * scale) >> 32) >> (scale & 31);
    int32_t result;
    __asm("ssat %0, #16, %1" : "=r"(result) : "r"((upper + 1) >> 1));
    return (int16_t)result;
}

EDGE_INNER void scale_slowly(const uint32_t *sums, const int32_t *scales, int32_t count, int16_t *output)
{
    for (int32_t r = 0; r < count; r++)
        output[r] = edge_wide_scaled((int32_t)sums[r], scales[r]);
}

static inline void four_out(const int16_t *x, const uint32_t *w, int32_t depth, const int32_t *bias,
                            const int32_t *scales, int16_t *output)
{
    uint32_t sums[4] = {(uint32_t)bias[0], (uint32_t)bias[1], (uint32_t)bias[2], (uint32_t)bias[3]};
    four_sums(x, w, depth, sums);
    const int32_t a = scales[0], b = scales[1], c = scales[2], d = scales[3];
    if (!(a & b & c & d & EDGE_WIDE_FAR)) {
        scale_slowly(sums, scales, 4, output);
        return;
    }
    output[0] = scaled(sums[0], a), output[1] = scaled(sums[1], b);
    output[2] = scaled(sums[2], c), output[3] = scaled(sums[3], d);
}

/* One of `rows` units of the last group. */
static inline uint32_t one_sum(const int16_t *x, const uint32_t *w, int32_t depth, int32_t rows, uint32_t sum)
{
    for (int32_t left = depth; left > 0; left -= 4, x += 4, w += rows) {
        const pairs p = left >= 4 ? four(x) : few(x, left);
        sum = edge_multiply_bytes(p.even, p.odd, *w, sum);
    }
    return sum;
}

EDGE_INNER void one_row(const int16_t *x, const uint32_t *w, int32_t depth, int32_t units, const int32_t *bias,
                        int16_t *output)
{
    const int32_t words = (depth + 3) / 4, *scales = bias + units;
    int32_t u = 0;
    for (; u + 4 <= units; u += 4, w += 4 * words)
        four_out(x, w, depth, bias + u, scales + u, output + u);
    const int32_t left = units - u;
    for (; u < units; u++, w++) {
        const uint32_t sum = one_sum(x, w, depth, left, (uint32_t)bias[u]);
        scale_slowly(&sum, scales + u, 1, output + u);
    }
}

void edge_run_fully_connected_wide(const edge_model *m, const edge_fully_connected_wide *p)
{
    const int16_t *input = (const int16_t *)edge_at(m, p->input) + p->first * p->depth;
    int16_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->depth, output += p->units)
        one_row(input, edge_at(m, p->weights), p->depth, p->units, edge_at(m, p->channels), output);
}
