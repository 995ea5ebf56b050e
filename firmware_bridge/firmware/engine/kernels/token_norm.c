/* Layer norm over all tokens together; defined in edge_ad/runtime/integer/residual.py. */
#include "../functions.h"

/* Most values of a token_norm: their distances from the mean, times their number, stay below 2^31. */
#define MOST_NORMED (1 << 14)

bool edge_check_token_norm(const edge_model *m, const edge_token_norm *p)
{
    const uint64_t a = edge_extent(p->a_size, 1, 1, 1), b = edge_extent(p->b_size, 1, 1, 1);
    const uint64_t c = edge_extent(p->c_size, 1, 1, 1), n = a + b + c;
    return a && b && c && n <= MOST_NORMED && edge_readable(m, p->a, 2 * a, 2) && edge_readable(m, p->b, 2 * b, 2) &&
           edge_readable(m, p->c, 2 * c, 2) && edge_writable(m, p->output, 2 * n, 2) &&
           edge_readable(m, p->gains, 2 * n, 2) && edge_readable(m, p->biases, 2 * n, 2) &&
           edge_floor_ok(p->floor_low, p->floor_high) && p->shift >= 1 && p->shift <= 46;
}

typedef struct {
    int64_t total;
    uint64_t squares;
} sums;

static void add(sums *s, const int16_t *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        s->total += x[i];
        s->squares += (uint64_t)(uint32_t)(x[i] * x[i]);
    }
}

static int16_t *normed(const int16_t *x, int32_t n, const edge_spread *s, int32_t all, const int16_t *gains,
                       const int16_t *biases, int32_t shift, int16_t *output)
{
    for (int32_t i = 0; i < n; i++) {
        const int64_t product = (int64_t)edge_standardised(s, all, x[i], 16) * gains[i];
        *output++ = edge_int16(edge_round_shift(product, shift) + biases[i]);
    }
    return output;
}

void edge_run_token_norm(const edge_model *m, const edge_token_norm *p)
{
    const int16_t *x[3] = {edge_at(m, p->a), edge_at(m, p->b), edge_at(m, p->c)};
    const int32_t size[3] = {p->a_size, p->b_size, p->c_size}, all = size[0] + size[1] + size[2];
    const int16_t *gains = edge_at(m, p->gains), *biases = edge_at(m, p->biases);
    sums s = {0, 0};
    for (int i = 0; i < 3; i++)
        add(&s, x[i], size[i]);
    const edge_spread spread =
        edge_spread_of(all, s.total, s.squares, edge_floor(p->floor_low, p->floor_high), true);
    int16_t *output = edge_to(m, p->output);
    for (int i = 0; i < 3; i++) {
        output = normed(x[i], size[i], &spread, all, gains, biases, p->shift, output);
        gains += size[i], biases += size[i];
    }
}
