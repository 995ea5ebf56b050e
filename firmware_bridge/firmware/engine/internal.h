/* What kernels share: references, checks, requantization. */
#ifndef EDGE_INTERNAL_H
#define EDGE_INTERNAL_H

#include <stdbool.h>
#include <string.h>

#include "edge_engine.h"
#include "records.h"

#define EDGE_NO_REF 0xFFFFFFFFu
#define EDGE_IN_IMAGE 0x80000000u

static inline const void *edge_at(const edge_model *m, edge_ref ref)
{
    return ref & EDGE_IN_IMAGE ? m->image + (ref & ~EDGE_IN_IMAGE) : m->arena + ref;
}

static inline void *edge_to(const edge_model *m, edge_ref ref) { return m->arena + ref; }

/* Whether `bytes` bytes at `ref` lie in image or arena, aligned to `align` (1, 2 or 4). */
bool edge_readable(const edge_model *m, edge_ref ref, uint64_t bytes, uint32_t align);
/* The same, in the arena alone. */
bool edge_writable(const edge_model *m, edge_ref ref, uint64_t bytes, uint32_t align);

/* Whether two stretches of memory share no byte: what one memcpy may copy. */
static inline bool edge_apart(edge_ref a, uint64_t a_bytes, edge_ref b, uint64_t b_bytes)
{
    return (a ^ b) & EDGE_IN_IMAGE || a + a_bytes <= b || b + b_bytes <= a;
}

/* The product of four extents, each 1 to 2^24, or 0 when one is out of range or the product above 2^31. */
uint64_t edge_extent(int32_t a, int32_t b, int32_t c, int32_t d);

/* For loops: whether steps first to first + count - 1 lie before each step that has this record and run no others
 * themselves, so that edge_run_step on them ends and they are checked when it does. */
bool edge_steps_before(const edge_model *m, const void *record, int32_t first, int32_t count);

/* Multipliers and shifts that a kernel may use: shifts from -31 to 30, multipliers not negative. */
bool edge_scales_ok(const int32_t *multipliers, const int32_t *shifts, int32_t count);

static inline int32_t edge_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* x * multiplier / 2^31 * 2^shift, rounded once, half up: LiteRT's MultiplyByQuantizedMultiplier in its
 * single-rounding form. */
static inline int32_t edge_scale_once(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t total = 31 - shift; /* 1 to 62 */
    const int64_t round = (int64_t)1 << (total - 1);
    return (int32_t)(((int64_t)x * multiplier + round) >> total);
}

/* A scaled sum with the output's zero point added, as the INT8 it becomes. */
static inline int8_t edge_int8(int32_t scaled, int32_t zero, int32_t low, int32_t high)
{
    return (int8_t)edge_clamp((int32_t)((uint32_t)scaled + (uint32_t)zero), low, high);
}

#endif
