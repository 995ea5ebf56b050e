/* Constants of output channels, for kernels that multiply a run of memory with rows of weights. */
#ifndef EDGE_SCALING_H
#define EDGE_SCALING_H

#include "../../convolution.h"
#include "../../rounding.h"

/* How often the operator rounds: FULLY_CONNECTED once (EDGE_ROUNDINGS 1), convolutions twice (2). */
#if EDGE_ROUNDINGS == 1
#define edge_scale edge_scale_once
#elif EDGE_ROUNDINGS == 2
#define edge_scale edge_scale_twice
#else
#error "define EDGE_ROUNDINGS"
#endif

/* Inner functions stay functions: inlined into one another they would not fit the registers. */
#define EDGE_INNER static __attribute__((noinline))

typedef struct {
    const int32_t *bias, *multipliers, *shifts; /* one a channel */
    int32_t zero, low, high;
} edge_scaling;

/* channels: the record's bias[count], multiplier[count], shift[count]. */
static inline edge_scaling edge_scaling_of(const int32_t *channels, int32_t count, int32_t zero, int32_t low,
                                           int32_t high)
{
    const edge_scaling scaling = {channels, channels + count, channels + 2 * count, zero, low, high};
    return scaling;
}

/* The same, from channel `first` on. */
static inline edge_scaling edge_scaling_from(const edge_scaling *all, int32_t first)
{
    edge_scaling scaling = *all;
    scaling.bias += first;
    scaling.multipliers += first;
    scaling.shifts += first;
    return scaling;
}

#endif
