/* The FFT of real samples, in integers; defined in edge_ad/runtime/integer/rfft.py. */
#ifndef EDGE_FFT_H
#define EDGE_FFT_H

#include <stdint.h>

#include "fixed.h"

/* 2^6 to 2^11 samples. */
#define EDGE_RFFT_LEAST 6
#define EDGE_RFFT_MOST 11

/* How far samples are shifted left (right where negative) before edge_rfft. magnitude: edge_magnitude of all,
 * or-ed. */
static inline int32_t edge_rfft_shift(uint32_t magnitude, int32_t log2_n)
{
    return 30 - log2_n - edge_bit_length(magnitude);
}

/* work: N = 2^log2_n samples, |x| <= 2^(30 - log2_n). In place becomes the transform: X[0] and X[N/2], which
 * are real, then real and imaginary part of X[1] to X[N/2 - 1]. No component exceeds 2^30 by more than what
 * rounding adds. Stack: under 100 bytes. */
void edge_rfft(int32_t *work, int32_t log2_n);

/* cos(2 pi angle / 2048) with 30 fractional bits; angle from 0 to 1024. */
int32_t edge_cosine(int32_t angle);

/* The transform in `work` as 16-bit bins: (N/2 + 1) pairs of real and imaginary part, of which X = bins *
 * 2^exponent where X is that of the samples before they were shifted left by `shift`. Returns the exponent. */
int32_t edge_rfft_bins(const int32_t *work, int32_t log2_n, int32_t shift, int16_t *bins);

#endif
