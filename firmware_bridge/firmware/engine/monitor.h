/* What a board decides by: the part of a model image that turns its last output, one int32, into verdicts. */
#ifndef EDGE_MONITOR_H
#define EDGE_MONITOR_H

#include <stdbool.h>

#include "edge_engine.h"

#define EDGE_MOST_CHANNELS 64u

/* How a measured number becomes one of the window's: of int16, ((x * 256 - mean_q8) * gain + 2^(shift - 1)) >> shift;
 * of float32, (x - mean) * scale, rounded to the nearest, halves away from zero. To both the window's zero is added, and
 * both saturate. */
typedef struct {
    int32_t mean_q8, gain;
    uint32_t shift;
    float mean, scale;
} edge_channel;

typedef struct {
    int32_t threshold, lower, upper; /* of scores; without a band all three are the same */
    int32_t lowest, highest;         /* what the threshold may be set to */
    int32_t mantissa, exponent;      /* a score means mantissa * 10^exponent times its integer */
    uint32_t hop;                    /* rows from one window to the next; 0: each inference is a frame of its own */
    uint32_t rows, channels;         /* of a window, which is the only input: (channels, rows) */
    uint32_t width;                  /* bytes of one of its integers, which are signed: 1 or 2 */
    int32_t zero;                    /* with a hop, `channels` edge_channel follow */
} edge_monitor;

/* That of a loaded model; NULL for one that only computes. */
const edge_monitor *edge_monitor_of(const edge_model *model);

/* Whether a loaded model's monitor is one; true without one. */
bool edge_check_monitor(const edge_model *model);

static inline const edge_channel *edge_channels(const edge_monitor *monitor)
{
    return (const edge_channel *)(monitor + 1);
}

/* The number of a window for a measured one, before it saturates. */
int32_t edge_standardise_int16(const edge_channel *channel, int16_t x);
int32_t edge_standardise_float32(const edge_channel *channel, float x);

#endif
