/* Rows of weights times a window in 16 bits for Cortex-M4 and M7: two products an instruction (SMLAD), four rows at
 * once, no value to be widened: fewer instructions than with 8 bits. */
#include "../../rows16.h"

#ifndef __ARM_FEATURE_DSP
#error "these kernels need the DSP extension (Cortex-M4, M7, M33, M55)"
#endif

/* What four rows need beside their weights, biases and outputs; `four_rows` knows the places. loops: times round the loop
 * of four pairs, the first time entered `enter` bytes late. skip, gap: in bytes, gap of four rows. multipliers: bytes
 * behind the biases. half, down: of the upper word of a product, half up, which is enough for scales below 1/4, where the
 * lower word is less than what rounds. hidden: kept within 0 to 2^14 - 1, else within 16 bits. */
typedef struct {
    const int16_t *x;
    int32_t count, loops, enter, skip, gap, multipliers, half, down, hidden;
} walk;

#define PAIR_BYTES 24
#define PAIR                           \
    "ldr.w r12, [r2], #4\n\t"          \
    "ldmia.w r1!, {r4, r5, r6, r7}\n\t" \
    "smlad r8, r12, r4, r8\n\t"        \
    "smlad r9, r12, r5, r9\n\t"        \
    "smlad r10, r12, r6, r10\n\t"      \
    "smlad r11, r12, r7, r11\n\t"

/* output[r] of four rows. In assembler because the compiler, which all registers are asked of, moves them about between
 * two parts of the loop. r0: at, r1: w, r2: x, r8 to r11: sums, lr: stretches left. */
static __attribute__((naked, noinline)) void four_rows(const walk *at __attribute__((unused)),
                                                       const uint32_t *w __attribute__((unused)),
                                                       const int32_t *bias __attribute__((unused)),
                                                       int16_t *output __attribute__((unused)))
{
    __asm volatile("push {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n\t"
                   "ldmia.w r2, {r8, r9, r10, r11}\n\t"
                   "ldrd r2, lr, [r0]\n\t"
                   "cmp lr, #0\n\t"
                   "beq 3f\n"
                   "1:\n\t"
                   "ldrd r3, r12, [r0, #8]\n\t"
                   "add pc, r12\n\t"
                   "nop\n" /* a branch counts from the fourth byte behind it */
                   "2:\n\t" PAIR PAIR PAIR PAIR
                   "subs r3, #1\n\t"
                   "bne 2b\n\t"
                   "subs lr, #1\n\t"
                   "beq 3f\n\t"
                   "ldrd r3, r12, [r0, #16]\n\t"
                   "add r2, r3\n\t"
                   "add r1, r12\n\t"
                   "b 1b\n"
                   "3:\n\t"
                   "pop {r2, r3}\n\t"
                   "ldr r12, [r0, #24]\n\t"
                   "add r2, r12\n\t"
                   "ldmia.w r2, {r4, r5, r6, r7}\n\t"
                   "ldrd r1, r12, [r0, #28]\n\t"
                   "smull r2, r8, r8, r4\n\t"
                   "smull r2, r9, r9, r5\n\t"
                   "smull r2, r10, r10, r6\n\t"
                   "smull r2, r11, r11, r7\n\t"
                   "add r8, r1\n\t"
                   "add r9, r1\n\t"
                   "add r10, r1\n\t"
                   "add r11, r1\n\t"
                   "ldr r2, [r0, #36]\n\t"
                   "asr r8, r12\n\t"
                   "asr r9, r12\n\t"
                   "asr r10, r12\n\t"
                   "asr r11, r12\n\t"
                   "cbz r2, 4f\n\t"
                   "usat r8, #14, r8\n\t"
                   "usat r9, #14, r9\n\t"
                   "usat r10, #14, r10\n\t"
                   "usat r11, #14, r11\n\t"
                   "b 5f\n"
                   "4:\n\t"
                   "ssat r8, #16, r8\n\t"
                   "ssat r9, #16, r9\n\t"
                   "ssat r10, #16, r10\n\t"
                   "ssat r11, #16, r11\n"
                   "5:\n\t"
                   "strh r8, [r3]\n\t"
                   "strh r9, [r3, #2]\n\t"
                   "strh r10, [r3, #4]\n\t"
                   "strh r11, [r3, #6]\n\t"
                   "pop {r4, r5, r6, r7, r8, r9, r10, r11, r12, pc}");
}

/* One of `rows` rows of a group. */
static __attribute__((noinline, cold)) uint32_t one_row(const edge_window16 *window, const uint32_t *w, int32_t rows,
                                                        uint32_t sum)
{
    const int16_t *x = window->x;
    w += rows * window->first / EDGE_RUN16;
    for (int32_t left = window->count; left > 0; left--, x += window->skip, w += rows * window->gap / EDGE_RUN16)
        for (int32_t i = window->runs; i > 0; i--, x += EDGE_RUN16, w += rows) {
            uint32_t pair;
            memcpy(&pair, x, sizeof pair);
            __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(pair), "r"(*w));
        }
    return sum;
}

/* Rows that `four_rows` does not take: what groups of four leave over, and all where scales are 1/4 and above. They are
 * rare, so that size counts (cold). */
static __attribute__((noinline, cold)) void other_rows(const edge_window16 *window, const uint32_t *w, int32_t pairs,
                                                       int32_t rows, const edge_scaling16 *scaling, int32_t row,
                                                       int16_t *output)
{
    const edge_scaling16 s = *scaling; /* no store to output can change it */
    while (row < rows) {
        const int32_t n = rows - row < 4 ? rows - row : 4;
        for (int32_t r = 0; r < n; r++, row++)
            output[row] = edge_scale16(one_row(window, w + r, n, (uint32_t)s.bias[row]), s.multipliers[row], &s);
        w += n * pairs;
    }
}

void edge_rows16(const edge_window16 *window, const int16_t *weights, int32_t depth, int32_t rows,
                 const edge_scaling16 *s, int16_t *output)
{
    const uint32_t *w = (const uint32_t *)(const void *)weights;
    const int32_t pairs = depth >> 1, down = -1 - s->shift, fours = down > 0 ? rows & ~3 : 0;
    if (fours) {
        const int32_t *bias = s->bias;
        const walk at = {window->x, window->count, (window->runs + 3) >> 2, PAIR_BYTES * (-window->runs & 3),
                         2 * window->skip, 8 * window->gap,
                         (int32_t)((const char *)s->multipliers - (const char *)bias), 1 << (down - 1), down,
                         s->kept == EDGE_KEPT_HIDDEN};
        const uint32_t *first = w + 2 * window->first;
        for (int16_t *y = output, *const end = output + fours; y != end; y += 4, first += 4 * pairs, bias += 4)
            four_rows(&at, first, bias, y);
        if (s->kept == EDGE_KEPT_ANY)
            for (int32_t r = 0; r < fours; r++)
                output[r] = (int16_t)edge_clamp(output[r], s->low, s->high);
    }
    if (fours < rows)
        other_rows(window, w + fours * pairs, pairs, rows, s, fours, output);
}
