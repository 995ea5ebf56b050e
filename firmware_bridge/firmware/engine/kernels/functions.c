/* Roots, reciprocals and logarithms, bit by bit or by table. */
#include "../functions.h"

static int32_t leading_zeros(uint64_t x)
{
    int32_t count = 0;
    for (; !(x >> 63); x <<= 1)
        count++;
    return count;
}

uint32_t edge_root(uint64_t x, int32_t *t)
{
    *t = leading_zeros(x) / 2;
    x <<= 2 * *t;
    uint64_t left = 0;
    uint32_t s = 0;
    for (int i = 0; i < 32; i++, x <<= 2) {
        left = left << 2 | x >> 62;
        const uint64_t trial = (uint64_t)s << 2 | 1;
        s <<= 1;
        if (left >= trial) {
            left -= trial;
            s |= 1;
        }
    }
    return s;
}

uint32_t edge_reciprocal(uint32_t x)
{
    uint64_t left = UINT64_C(1) << 30;
    uint32_t quotient = 0;
    for (int i = 0; i < 32; i++) {
        left <<= 1;
        quotient <<= 1;
        if (left >= x) {
            left -= x;
            quotient |= 1;
        }
    }
    return quotient;
}

/* log2(1 + i / 64) in units of 2^-30. */
static const int32_t logarithms[65] = {
    0, 24017256, 47667823, 70962728, 93912511, 116527248, 138816582, 160789745,
    182455581, 203822568, 224898839, 245692198, 266210141, 286459867, 306448299, 326182095,
    345667660, 364911162, 383918542, 402695523, 421247625, 439580170, 457698295, 475606957,
    493310944, 510814882, 528123241, 545240343, 562170370, 578917365, 595485245, 611877800,
    628098702, 644151509, 660039669, 675766525, 691335320, 706749198, 722011213, 737124328,
    752091421, 766915285, 781598637, 796144114, 810554283, 824831638, 838978604, 852997541,
    866890747, 880660455, 894308843, 907838029, 921250079, 934547002, 947730758, 960803257,
    973766362, 986621888, 999371606, 1012017244, 1024560487, 1037002979, 1049346328, 1061592099,
    1073741824
};

int32_t edge_log2(uint64_t x)
{
    const int32_t whole = 63 - leading_zeros(x);
    const uint64_t fraction = (x << (62 - whole)) - (UINT64_C(1) << 62);
    const int32_t *at = logarithms + (fraction >> 56), rest = (int32_t)(fraction >> 40 & 0xFFFF);
    const int32_t between = (int32_t)(((int64_t)(at[1] - at[0]) * rest) >> 16);
    return whole * 65536 + ((at[0] + between + (1 << 13)) >> 14);
}

edge_spread edge_spread_of(int32_t n, int64_t total, uint64_t squares, uint64_t floor, bool added)
{
    uint64_t variance = (uint64_t)n * squares - (uint64_t)(total * total);
    if (added)
        variance += floor;
    else if (variance < floor)
        variance = floor;
    edge_spread spread = {.total = total};
    spread.s = edge_root(variance, &spread.t);
    spread.multiplier = edge_reciprocal(spread.s);
    return spread;
}
