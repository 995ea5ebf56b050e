/* Roots, reciprocals and logarithms, bit by bit or by table. */
#include "../functions.h"

#include "../fixed.h"

int64_t edge_scale_rarely(int32_t x, int32_t multiplier, int32_t shift) { return edge_scale_long(x, multiplier, shift); }

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

/* 2^24 / (256 + i + 1/2) */
static const uint16_t reciprocals[256] = {
    65408, 65154, 64902, 64652, 64404, 64158, 63913, 63671, 63430, 63191, 62954, 62719, 62485, 62253, 62023, 61795,
    61568, 61343, 61119, 60897, 60677, 60458, 60241, 60026, 59812, 59599, 59388, 59179, 58971, 58764, 58559, 58356,
    58153, 57952, 57753, 57555, 57358, 57163, 56968, 56776, 56584, 56394, 56205, 56017, 55831, 55646, 55462, 55279,
    55098, 54917, 54738, 54560, 54383, 54207, 54033, 53859, 53687, 53516, 53346, 53177, 53009, 52842, 52676, 52511,
    52347, 52184, 52022, 51862, 51702, 51543, 51385, 51228, 51072, 50917, 50763, 50610, 50458, 50306, 50156, 50007,
    49858, 49710, 49563, 49417, 49272, 49128, 48985, 48842, 48700, 48559, 48419, 48280, 48141, 48003, 47867, 47730,
    47595, 47460, 47326, 47193, 47061, 46929, 46798, 46668, 46539, 46410, 46282, 46155, 46028, 45902, 45777, 45652,
    45528, 45405, 45283, 45161, 45040, 44919, 44799, 44680, 44561, 44443, 44326, 44209, 44093, 43977, 43862, 43748,
    43634, 43521, 43408, 43296, 43185, 43074, 42963, 42854, 42744, 42636, 42528, 42420, 42313, 42207, 42101, 41996,
    41891, 41786, 41683, 41579, 41476, 41374, 41272, 41171, 41070, 40970, 40870, 40771, 40672, 40574, 40476, 40378,
    40281, 40185, 40089, 39993, 39898, 39804, 39709, 39616, 39522, 39429, 39337, 39245, 39153, 39062, 38971, 38881,
    38791, 38702, 38613, 38524, 38436, 38348, 38260, 38173, 38087, 38000, 37915, 37829, 37744, 37659, 37575, 37491,
    37407, 37324, 37241, 37159, 37077, 36995, 36914, 36833, 36752, 36672, 36592, 36512, 36433, 36354, 36275, 36197,
    36119, 36041, 35964, 35887, 35810, 35734, 35658, 35583, 35507, 35432, 35358, 35283, 35209, 35136, 35062, 34989,
    34916, 34844, 34771, 34700, 34628, 34557, 34486, 34415, 34344, 34274, 34204, 34135, 34065, 33996, 33928, 33859,
    33791, 33723, 33655, 33588, 33521, 33454, 33387, 33321, 33255, 33189, 33124, 33059, 32994, 32929, 32864, 32800
};

uint32_t edge_near_reciprocal(uint32_t x)
{
    const uint32_t near = reciprocals[x >> 23 & 0xFF];
    const int64_t left = (INT64_C(1) << 62) - (int64_t)((uint64_t)x * ((uint64_t)near << 15));
    return (near << 15) + (uint32_t)(int32_t)(((int64_t)near * (left >> 31)) >> 16);
}

uint32_t edge_near_root(uint32_t x)
{
    uint32_t fraction = 0, root = 0;
    for (; fraction < 4 && x < 1u << 30; fraction++)
        x <<= 2;
    for (uint32_t bit = 1u << 15; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= x)
            root |= bit;
    return root << (4 - fraction);
}

uint32_t edge_near_share(uint64_t part, uint32_t whole, int32_t bits)
{
    const int32_t up = 32 - edge_bit_length(whole | 1);
    const uint64_t raised = (part << up) >> 8;
    const uint64_t most = raised >> 32 ? UINT32_MAX : raised;
    const uint64_t share = (most * edge_near_reciprocal(whole << up) + (UINT64_C(1) << (61 - bits))) >> (62 - bits);
    return share >> bits ? 1u << bits : (uint32_t)share;
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
