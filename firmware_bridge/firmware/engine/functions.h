/* Roots, reciprocals, logarithms and tabulated curves; defined in edge_ad/runtime/integer/functions.py. */
#ifndef EDGE_FUNCTIONS_H
#define EDGE_FUNCTIONS_H

#include "fixed.h"
#include "internal.h"

static inline int16_t edge_int16(int64_t x)
{
    return (int16_t)(x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : x);
}

static inline int16_t edge_short(int32_t x)
{
#ifdef __ARM_FEATURE_SAT /* one instruction, which compilers do not find */
    __asm("ssat %0, #16, %1" : "=r"(x) : "r"(x));
    return (int16_t)x;
#else
    return (int16_t)(x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : x);
#endif
}

static inline int32_t edge_int32(int64_t x)
{
    return (int32_t)(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
}

/* x * multiplier / 2^31 * 2^shift, rounded once, half up; shift from -31 to 30. */
static inline int64_t edge_scale_long(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t total = 31 - shift; /* 1 to 62 */
    return ((int64_t)x * multiplier + ((int64_t)1 << (total - 1))) >> total;
}

/* The same, out of line: where it is rare, since 64 bits take much code to shift. */
int64_t edge_scale_rarely(int32_t x, int32_t multiplier, int32_t shift);

/* edge_scale_long of many int16 values: of their product with the multiplier, raised by 14 bits, the upper 32 are
 * enough. */
typedef struct {
    int32_t multiplier, down, half;
} edge_short_scaling;

static inline bool edge_scales16(int32_t shift) { return shift >= -18 && shift <= 12; }

static inline edge_short_scaling edge_short_scaling_of(int32_t multiplier, int32_t shift)
{
    const int32_t down = 13 - shift; /* 1 to 31 */
    const edge_short_scaling s = {multiplier, down, (int32_t)(UINT32_C(1) << (down - 1))};
    return s;
}

static inline int32_t edge_scale_short(int32_t x, const edge_short_scaling *s)
{
    return ((int32_t)((int64_t)(x * 16384) * s->multiplier >> 32) + s->half) >> s->down;
}

static inline bool edge_shift_ok(int32_t shift) { return shift >= -31 && shift <= 30; }

/* A function of int16 values by 2^(16 - bits) + 1 of its values, linear between them. */
static inline int32_t edge_curve_at(const int16_t *table, int32_t bits, int32_t x)
{
    const int32_t place = x + 32768, rest = place & ((1 << bits) - 1);
    const int16_t *at = table + (place >> bits);
    return at[0] + (((at[1] - at[0]) * rest + (1 << (bits - 1))) >> bits);
}

/* Whether `table` is one of a curve with these bits. */
static inline bool edge_curve_table_ok(const edge_model *m, edge_ref table, int32_t bits)
{
    return bits >= 1 && bits <= 14 && edge_readable(m, table, 2 * ((UINT64_C(65536) >> bits) + 1), 2);
}

/* The least variance of a record, of two words: 1 to 2^62 - 1. */
static inline uint64_t edge_floor(int32_t low, int32_t high) { return (uint64_t)(uint32_t)high << 32 | (uint32_t)low; }

static inline bool edge_floor_ok(int32_t low, int32_t high)
{
    const uint64_t floor = edge_floor(low, high);
    return floor >= 1 && !(floor >> 62);
}

/* sqrt(x) = s / 2^t, x > 0, s of 32 bits. Returns s. */
uint32_t edge_root(uint64_t x, int32_t *t);

/* floor(2^62 / x), x of 32 bits, the highest of which is set. */
uint32_t edge_reciprocal(uint32_t x);

/* 2^62 / x within 2^-17 of it, x of 32 bits, the highest of which is set: a table and a step of Newton's. */
uint32_t edge_near_reciprocal(uint32_t x);

/* sqrt(x) in units of 1/16: exact but for what is cut off, that unit or 2^-15 of it. */
uint32_t edge_near_root(uint32_t x);

/* part / (256 * whole) in units of 2^-bits (1 to 24), at most 1; whole not 0. */
uint32_t edge_near_share(uint64_t part, uint32_t whole, int32_t bits);

/* log2(x) in units of 2^-16, x from 1 to 2^63 - 1. */
int32_t edge_log2(uint64_t x);

/* The spread of n values: with S = sum, V = n * sum of squares - S^2, of which s / 2^t is the root. */
typedef struct {
    int64_t total;
    uint32_t multiplier; /* 2^62 / s */
    uint32_t s;
    int32_t t;
} edge_spread;

/* From `total` and the sum of squares. floor: what V is at least, or, `added`, what is added to it. */
edge_spread edge_spread_of(int32_t n, int64_t total, uint64_t squares, uint64_t floor, bool added);

/* (n * x - total) / (s / 2^t) in units of 2^-bits. */
static inline int32_t edge_standardised(const edge_spread *s, int32_t n, int32_t x, int32_t bits)
{
    const int32_t shift = 62 - s->t - bits;
    const int64_t distance = (int64_t)n * x - s->total;
    return (int32_t)((distance * s->multiplier + ((int64_t)1 << (shift - 1))) >> shift);
}

#endif
