/* The FFT of real samples: radix-2 butterflies, decimation in time, on half as many complex values. */
#include "../fft.h"
#include "../internal.h"

#define QUARTER 512 /* twiddles to a quarter of a circle */
#define ONE 30      /* their fractional bits */

/* sin(2 pi i / 2048) in units of 2^-30: edge_ad/runtime/integer/rfft.py, quarter_wave. */
static const int32_t wave[QUARTER + 1] = {
    0, 3294193, 6588356, 9882456, 13176464, 16470347, 19764076, 23057618,
    26350943, 29644021, 32936819, 36229307, 39521455, 42813230, 46104602, 49395541,
    52686014, 55975992, 59265442, 62554335, 65842639, 69130324, 72417357, 75703709,
    78989349, 82274245, 85558366, 88841683, 92124163, 95405776, 98686491, 101966277,
    105245103, 108522939, 111799753, 115075515, 118350194, 121623759, 124896179, 128167423,
    131437462, 134706263, 137973796, 141240030, 144504935, 147768480, 151030634, 154291367,
    157550647, 160808445, 164064728, 167319468, 170572633, 173824192, 177074115, 180322371,
    183568930, 186813762, 190056834, 193298119, 196537583, 199775198, 203010932, 206244756,
    209476638, 212706549, 215934457, 219160334, 222384147, 225605867, 228825464, 232042906,
    235258165, 238471210, 241682010, 244890535, 248096755, 251300640, 254502159, 257701283,
    260897982, 264092224, 267283981, 270473223, 273659918, 276844038, 280025552, 283204430,
    286380643, 289554160, 292724951, 295892988, 299058239, 302220676, 305380268, 308536985,
    311690799, 314841679, 317989595, 321134518, 324276419, 327415267, 330551034, 333683689,
    336813204, 339939549, 343062693, 346182609, 349299266, 352412636, 355522689, 358629395,
    361732726, 364832652, 367929144, 371022173, 374111709, 377197725, 380280190, 383359076,
    386434353, 389505993, 392573967, 395638246, 398698801, 401755603, 404808624, 407857835,
    410903207, 413944711, 416982319, 420016002, 423045732, 426071480, 429093217, 432110916,
    435124548, 438134084, 441139496, 444140756, 447137835, 450130706, 453119340, 456103710,
    459083786, 462059541, 465030947, 467997976, 470960600, 473918791, 476872522, 479821764,
    482766489, 485706671, 488642281, 491573292, 494499676, 497421405, 500338453, 503250791,
    506158392, 509061229, 511959275, 514852502, 517740883, 520624391, 523502998, 526376678,
    529245404, 532109148, 534967884, 537821584, 540670223, 543513772, 546352205, 549185496,
    552013618, 554836544, 557654248, 560466703, 563273883, 566075761, 568872310, 571663506,
    574449320, 577229728, 580004702, 582774218, 585538248, 588296766, 591049748, 593797166,
    596538995, 599275210, 602005783, 604730691, 607449906, 610163404, 612871159, 615573145,
    618269338, 620959711, 623644239, 626322897, 628995660, 631662503, 634323400, 636978327,
    639627258, 642270169, 644907034, 647537830, 650162530, 652781111, 655393548, 657999816,
    660599890, 663193747, 665781362, 668362709, 670937767, 673506508, 676068911, 678624950,
    681174602, 683717842, 686254647, 688784993, 691308855, 693826211, 696337036, 698841307,
    701339000, 703830092, 706314559, 708792378, 711263525, 713727978, 716185713, 718636707,
    721080937, 723518380, 725949013, 728372813, 730789757, 733199822, 735602987, 737999228,
    740388522, 742770848, 745146182, 747514503, 749875788, 752230015, 754577161, 756917205,
    759250125, 761575898, 763894504, 766205919, 768510122, 770807092, 773096806, 775379244,
    777654384, 779922204, 782182683, 784435800, 786681534, 788919863, 791150767, 793374223,
    795590213, 797798714, 799999706, 802193167, 804379079, 806557419, 808728167, 810891304,
    813046808, 815194659, 817334838, 819467323, 821592095, 823709135, 825818421, 827919934,
    830013654, 832099562, 834177638, 836247863, 838310216, 840364679, 842411232, 844449856,
    846480531, 848503239, 850517961, 852524677, 854523370, 856514019, 858496606, 860471112,
    862437520, 864395810, 866345964, 868287963, 870221790, 872147426, 874064853, 875974054,
    877875009, 879767701, 881652112, 883528225, 885396022, 887255485, 889106597, 890949341,
    892783698, 894609652, 896427186, 898236282, 900036924, 901829095, 903612776, 905387953,
    907154608, 908912725, 910662286, 912403276, 914135678, 915859476, 917574653, 919281194,
    920979082, 922668302, 924348837, 926020672, 927683790, 929338177, 930983817, 932620694,
    934248793, 935868098, 937478595, 939080267, 940673101, 942257081, 943832191, 945398418,
    946955747, 948504163, 950043650, 951574196, 953095785, 954608403, 956112036, 957606670,
    959092290, 960568883, 962036435, 963494932, 964944360, 966384706, 967815955, 969238095,
    970651112, 972054994, 973449725, 974835295, 976211688, 977578894, 978936898, 980285688,
    981625251, 982955574, 984276646, 985588453, 986890984, 988184225, 989468165, 990742793,
    992008094, 993264059, 994510675, 995747930, 996975812, 998194311, 999403415, 1000603111,
    1001793390, 1002974239, 1004145648, 1005307605, 1006460100, 1007603122, 1008736660, 1009860704,
    1010975242, 1012080264, 1013175761, 1014261721, 1015338134, 1016404991, 1017462281, 1018509994,
    1019548121, 1020576651, 1021595575, 1022604883, 1023604567, 1024594615, 1025575020, 1026545772,
    1027506862, 1028458280, 1029400018, 1030332067, 1031254418, 1032167062, 1033069992, 1033963197,
    1034846671, 1035720404, 1036584389, 1037438617, 1038283080, 1039117770, 1039942680, 1040757802,
    1041563127, 1042358649, 1043144360, 1043920252, 1044686319, 1045442553, 1046188946, 1046925492,
    1047652185, 1048369016, 1049075980, 1049773069, 1050460278, 1051137599, 1051805027, 1052462555,
    1053110176, 1053747885, 1054375676, 1054993543, 1055601479, 1056199480, 1056787540, 1057365653,
    1057933813, 1058492016, 1059040255, 1059578527, 1060106826, 1060625146, 1061133483, 1061631833,
    1062120190, 1062598550, 1063066909, 1063525261, 1063973603, 1064411931, 1064840240, 1065258526,
    1065666786, 1066065015, 1066453210, 1066831367, 1067199483, 1067557554, 1067905576, 1068243547,
    1068571464, 1068889322, 1069197120, 1069494854, 1069782521, 1070060120, 1070327646, 1070585099,
    1070832474, 1071069770, 1071296985, 1071514117, 1071721163, 1071918122, 1072104991, 1072281769,
    1072448455, 1072605046, 1072751542, 1072887940, 1073014240, 1073130440, 1073236540, 1073332538,
    1073418433, 1073494225, 1073559913, 1073615496, 1073660973, 1073696345, 1073721611, 1073736771,
    1073741824
};

typedef struct {
    int64_t re, im;
} product;

/* (re + i im) * exp(-i angle), in units of 2^-30; angle in 2048ths of a circle, 0 to 1024. */
static inline product turned(int32_t re, int32_t im, int32_t cosine, int32_t sine)
{
    const product p = {(int64_t)re * cosine + (int64_t)im * sine, (int64_t)im * cosine - (int64_t)re * sine};
    return p;
}

static inline int32_t cosine_of(int32_t angle)
{
    return angle <= QUARTER ? wave[QUARTER - angle] : -wave[angle - QUARTER];
}

int32_t edge_cosine(int32_t angle) { return cosine_of(angle); }

static inline int32_t sine_of(int32_t angle)
{
    return wave[angle <= QUARTER ? angle : 2 * QUARTER - angle];
}

static void swap_pairs(int32_t *a, int32_t *b)
{
    const int32_t re = a[0], im = a[1];
    a[0] = b[0], a[1] = b[1];
    b[0] = re, b[1] = im;
}

/* Each complex value to where its index, read backwards, says. */
static void bit_reverse(int32_t *z, int32_t count)
{
    for (int32_t i = 0, j = 0; i < count; i++) {
        if (i < j)
            swap_pairs(z + 2 * i, z + 2 * j);
        int32_t bit = count >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j |= bit;
    }
}

static inline void butterfly(int32_t *upper, int32_t *lower, int32_t re, int32_t im)
{
    const int32_t a = upper[0], b = upper[1];
    lower[0] = a - re, lower[1] = b - im;
    upper[0] = a + re, upper[1] = b + im;
}

/* The first two stages: their twiddles are 1 and -i, which turn without rounding. */
static void first_stages(int32_t *z, int32_t count)
{
    for (const int32_t *const end = z + 2 * count; z < end; z += 8) {
        butterfly(z, z + 2, z[2], z[3]);
        butterfly(z + 4, z + 6, z[6], z[7]);
        butterfly(z, z + 4, z[4], z[5]);
        butterfly(z + 2, z + 6, z[7], -z[6]);
    }
}

static void stage(int32_t *z, int32_t count, int32_t half)
{
    const int32_t *const end = z + 2 * count;
    for (int32_t j = 0; j < half; j++, z += 2) {
        const int32_t angle = j * (2 * QUARTER / half), c = cosine_of(angle), s = sine_of(angle);
        for (int32_t *upper = z; upper < end; upper += 4 * half) {
            int32_t *lower = upper + 2 * half;
            const product p = turned(lower[0], lower[1], c, s);
            const int64_t round = (int64_t)1 << (ONE - 1);
            butterfly(upper, lower, (int32_t)((p.re + round) >> ONE), (int32_t)((p.im + round) >> ONE));
        }
    }
}

static inline int32_t half_of(int64_t twice) { return (int32_t)((twice + ((int64_t)1 << ONE)) >> (ONE + 1)); }

/* X[k] and X[count - k] of the real samples, from the transform of their even ones (real) and odd ones. */
static void split(int32_t *z, int32_t count)
{
    const int32_t zero = z[0];
    z[0] = zero + z[1], z[1] = zero - z[1];
    for (int32_t k = 1; k <= count / 2; k++) {
        int32_t *a = z + 2 * k, *b = z + 2 * (count - k);
        const int32_t angle = k * (2 * QUARTER / count);
        const product odd = turned(a[1] + b[1], b[0] - a[0], cosine_of(angle), sine_of(angle));
        const int64_t one = (int64_t)1 << ONE, re = (a[0] + b[0]) * one, im = (a[1] - b[1]) * one;
        a[0] = half_of(re + odd.re), a[1] = half_of(im + odd.im);
        b[0] = half_of(re - odd.re), b[1] = half_of(odd.im - im);
    }
}

void edge_rfft(int32_t *work, int32_t log2_n)
{
    const int32_t count = 1 << (log2_n - 1);
    bit_reverse(work, count);
    first_stages(work, count);
    for (int32_t half = 4; half < count; half <<= 1)
        stage(work, count, half);
    split(work, count);
}

static int16_t rounded(int32_t x, int32_t down)
{
    const int64_t value = edge_round_shift(x, down);
    return (int16_t)(value > INT16_MAX ? INT16_MAX : value);
}

int32_t edge_rfft_bins(const int32_t *work, int32_t log2_n, int32_t shift, int16_t *bins)
{
    const int32_t n = 1 << log2_n;
    uint32_t magnitude = 0;
    for (int32_t i = 0; i < n; i++)
        magnitude |= edge_magnitude(work[i]);
    const int32_t bits = edge_bit_length(magnitude), down = bits > 15 ? bits - 15 : 0;
    bins[0] = rounded(work[0], down), bins[1] = 0;
    for (int32_t i = 2; i < n; i++)
        bins[i] = rounded(work[i], down);
    bins[n] = rounded(work[1], down), bins[n + 1] = 0;
    return down - shift;
}

/* Input and results lie apart from the work: its bounds hold only for what this operator puts there. */
bool edge_check_rfft_rows(const edge_model *m, const edge_rfft_rows *p)
{
    if (p->log2_size < EDGE_RFFT_LEAST || p->log2_size > EDGE_RFFT_MOST)
        return false;
    const uint64_t n = (uint64_t)1 << p->log2_size;
    const uint64_t rows = edge_extent(p->rows, 1, 1, 1);
    return rows && edge_readable(m, p->input, rows * n * 2, 2) &&
           edge_writable(m, p->bins, rows * (n + 2) * 2, 2) && edge_writable(m, p->exponents, rows * 4, 4) &&
           edge_writable(m, p->work, n * 4, 4) && edge_apart(p->work, n * 4, p->input, rows * n * 2) &&
           edge_apart(p->work, n * 4, p->bins, rows * (n + 2) * 2) &&
           edge_apart(p->work, n * 4, p->exponents, rows * 4);
}

/* Samples into `work`, shifted for the transform: by how much. */
static int32_t loaded(int32_t *work, const int16_t *samples, int32_t log2_n)
{
    const int32_t n = 1 << log2_n;
    uint32_t magnitude = 0;
    for (int32_t i = 0; i < n; i++)
        magnitude |= edge_magnitude(samples[i]);
    const int32_t shift = edge_rfft_shift(magnitude, log2_n); /* 4 or more: samples have 15 bits */
    for (int32_t i = 0; i < n; i++)
        work[i] = edge_shift_rounded(samples[i], shift);
    return shift;
}

void edge_run_rfft_rows(const edge_model *m, const edge_rfft_rows *p)
{
    const int32_t n = 1 << p->log2_size;
    const int16_t *input = edge_at(m, p->input);
    int16_t *bins = edge_to(m, p->bins);
    int32_t *exponents = edge_to(m, p->exponents), *work = edge_to(m, p->work);
    for (int32_t r = 0; r < p->rows; r++, input += n, bins += n + 2) {
        const int32_t shift = loaded(work, input, p->log2_size);
        edge_rfft(work, p->log2_size);
        exponents[r] = edge_rfft_bins(work, p->log2_size, shift, bins);
    }
}
