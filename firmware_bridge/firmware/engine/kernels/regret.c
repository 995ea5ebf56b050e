/* Likelihood regret: edge_ad/runtime/integer/regret.py. */
#include "../fixed.h"
#include "../functions.h"
#include "../pairs.h"

#define STATE_BITS 11
#define BOUND_BITS 10
#define NOISE_BITS 16
#define EXP_BITS 20
#define MEAN_LIMIT (15 << STATE_BITS)
#define LOGVAR_LOW (-(8 << STATE_BITS))
#define LOGVAR_HIGH (4 << STATE_BITS)
#define EXP_SIZE 256
#define EXP_STEP (STATE_BITS + 1 - 4)             /* bits of the table's steps */
#define EXP_FROM (-(10 << (STATE_BITS + 1)))
#define MOST_ERROR (1 << 30)
#define MOST_MOVE ((1 << 16) - 1)
#define MOST_LATENT 1024
#define MOST_ELEMENTS (1 << 15)
#define MOST_STEPS 1000
#define MOST_PROBE (1 << 15)
#define MOST_NOISE (1 << 20)

static bool all_within(const int32_t *values, int32_t n, int32_t low, int32_t high)
{
    for (int32_t i = 0; i < n; i++)
        if (values[i] < low || values[i] > high)
            return false;
    return true;
}

/* Tables that sums and products are safe with, for good: they lie in the image. */
static bool table_ok(const edge_model *m, edge_ref table, int32_t n, int32_t low, int32_t high)
{
    return table & EDGE_IN_IMAGE && edge_readable(m, table, 4 * (uint64_t)n, 4) &&
           all_within(edge_at(m, table), n, low, high);
}

static bool state_ok(const edge_model *m, int32_t latent, edge_ref point, edge_ref z, edge_ref noise, edge_ref exponentials)
{
    return latent >= 1 && latent <= MOST_LATENT && edge_writable(m, point, 4 * (uint64_t)latent, 2) &&
           edge_writable(m, z, 2 * (uint64_t)latent, 2) && table_ok(m, noise, latent, -MOST_NOISE, MOST_NOISE) &&
           table_ok(m, exponentials, EXP_SIZE, 0, 1 << 30);
}

/* exp(x / 2^12) in units of 2^-20. */
static int32_t exponential(const int32_t *table, int32_t x)
{
    const int32_t place = edge_clamp(x - EXP_FROM, 0, ((EXP_SIZE - 1) << EXP_STEP) - 1);
    const int32_t *at = table + (place >> EXP_STEP), rest = place & ((1 << EXP_STEP) - 1);
    return at[0] + (int32_t)edge_round_shift((int64_t)(at[1] - at[0]) * rest, EXP_STEP);
}

/* A point of the latent space: the mean of a state plus, or minus, the draw times its standard deviation. */
static void place(const int16_t *state, int32_t latent, int32_t sign, const int32_t *noise, const int32_t *exponentials,
                  int16_t *z)
{
    for (int32_t i = 0; i < latent; i++) {
        const int64_t product = (int64_t)exponential(exponentials, state[latent + i]) * noise[i];
        z[i] = edge_int16(state[i] + sign * edge_round_shift(product, EXP_BITS + NOISE_BITS - STATE_BITS));
    }
}

/* Of a state from the prior, in units of a bound. */
static int32_t divergence(const int16_t *state, int32_t latent, const int32_t *exponentials)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < latent; i++) {
        const int32_t mean = state[i], logvar = state[latent + i];
        sum += mean * mean + (int64_t)exponential(exponentials, 2 * logvar) * 4 - (1 << 22) -
               (int64_t)logvar * (1 << STATE_BITS);
    }
    return (int32_t)edge_round_shift(sum, 2 * STATE_BITS + 1 - BOUND_BITS);
}

bool edge_check_regret_start(const edge_model *m, const edge_regret_start *p)
{
    return state_ok(m, p->latent, p->point, p->z, p->noise, p->exponentials) &&
           edge_readable(m, p->mean, 2 * (uint64_t)p->latent, 2) &&
           edge_readable(m, p->logvar, 2 * (uint64_t)p->latent, 2);
}

void edge_run_regret_start(const edge_model *m, const edge_regret_start *p)
{
    const int16_t *mean = edge_at(m, p->mean), *logvar = edge_at(m, p->logvar);
    int16_t *point = edge_to(m, p->point);
    for (int32_t i = 0; i < p->latent; i++) {
        point[i] = mean[i];
        point[p->latent + i] = (int16_t)edge_clamp(logvar[i], LOGVAR_LOW, LOGVAR_HIGH);
    }
    place(point, p->latent, 1, edge_at(m, p->noise), edge_at(m, p->exponentials), edge_to(m, p->z));
}

bool edge_check_regret_search(const edge_model *m, const edge_regret_search *p)
{
    if (!state_ok(m, p->latent, p->point, p->z, p->noise, p->exponentials) ||
        !edge_writable(m, p->trial, 4 * (uint64_t)p->latent, 2) || p->elements < 1 || p->elements > MOST_ELEMENTS ||
        !edge_readable(m, p->made, 2 * (uint64_t)p->elements, 2) ||
        !edge_readable(m, p->target, 2 * (uint64_t)p->elements, 2) || !edge_writable(m, p->neg_elbo, 4, 4) ||
        !edge_writable(m, p->kl, 4, 4) || !edge_writable(m, p->regret, 4, 4) || p->multiplier < 0 ||
        p->multiplier >= 1 << 14 || p->shift < 0 || p->shift > 62 || p->gain_shift < 0 || p->gain_shift > 62 ||
        p->steps < 0 || p->steps > MOST_STEPS || p->stop_at < 0)
        return false;
    if (p->steps && !table_ok(m, p->gains, 2 * p->steps, 0, 1 << 30))
        return false;
    return (!p->steps || all_within(edge_at(m, p->gains), p->steps, 0, MOST_PROBE)) &&
           edge_steps_before(m, p, p->first, p->count);
}

static void decode(const edge_model *m, const edge_regret_search *p)
{
    for (int32_t i = 0; i < p->count; i++)
        edge_run_step(m, (uint32_t)(p->first + i));
}

static int64_t squares(const edge_model *m, const edge_regret_search *p)
{
    return edge_squares16(edge_at(m, p->made), edge_at(m, p->target), p->elements);
}

/* -ELBO of a state; begun: the decoder has run at its mean plus the draw. */
static int32_t bound(const edge_model *m, const edge_regret_search *p, const int16_t *state, bool begun)
{
    const int32_t *noise = edge_at(m, p->noise), *exponentials = edge_at(m, p->exponentials);
    int16_t *z = edge_to(m, p->z);
    if (!begun) {
        place(state, p->latent, 1, noise, exponentials, z);
        decode(m, p);
    }
    int64_t sum = squares(m, p);
    place(state, p->latent, -1, noise, exponentials, z);
    decode(m, p);
    sum += squares(m, p);
    const int64_t error = edge_round_shift(sum * p->multiplier, p->shift);
    return (int32_t)(error < MOST_ERROR ? error : MOST_ERROR) + divergence(state, p->latent, exponentials);
}

/* The next sign, by xorshift32. */
static int32_t sign(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = x;
    return x & 1 ? 1 : -1;
}

/* The bound of the state moved by `probe` along the signs that follow `seed`. */
static int32_t tried(const edge_model *m, const edge_regret_search *p, uint32_t seed, int32_t probe)
{
    const int16_t *point = edge_at(m, p->point);
    int16_t *trial = edge_to(m, p->trial);
    for (int32_t i = 0; i < 2 * p->latent; i++)
        trial[i] = edge_int16(point[i] + probe * sign(&seed));
    return bound(m, p, trial, false);
}

/* The state moved against `move` along the signs that follow `seed`; the generator's state after them. */
static uint32_t moved(const edge_model *m, const edge_regret_search *p, uint32_t seed, int32_t move)
{
    int16_t *point = edge_to(m, p->point);
    for (int32_t i = 0; i < 2 * p->latent; i++) {
        const int32_t to = point[i] - move * sign(&seed);
        point[i] = (int16_t)(i < p->latent ? edge_clamp(to, -MEAN_LIMIT, MEAN_LIMIT)
                                           : edge_clamp(to, LOGVAR_LOW, LOGVAR_HIGH));
    }
    return seed;
}

void edge_run_regret_search(const edge_model *m, const edge_regret_search *p)
{
    const int16_t *point = edge_at(m, p->point);
    *(int32_t *)edge_to(m, p->kl) = divergence(point, p->latent, edge_at(m, p->exponentials));
    const int32_t value = bound(m, p, point, true);
    int32_t best = value;
    uint32_t seed = (uint32_t)p->seed;
    const int32_t *probes = p->steps ? edge_at(m, p->gains) : NULL;
    for (int32_t k = 0; k < p->steps; k++) {
        const int32_t plus = tried(m, p, seed, probes[k]), minus = tried(m, p, seed, -probes[k]);
        best = plus < best ? plus : best;
        best = minus < best ? minus : best;
        if ((int64_t)value - best > p->stop_at)
            break;
        const int64_t step = edge_round_shift(((int64_t)plus - minus) * probes[p->steps + k], p->gain_shift);
        seed = moved(m, p, seed, (int32_t)(step < -MOST_MOVE ? -MOST_MOVE : step > MOST_MOVE ? MOST_MOVE : step));
    }
    *(int32_t *)edge_to(m, p->neg_elbo) = value;
    *(int32_t *)edge_to(m, p->regret) = edge_int32((int64_t)value - best);
}
