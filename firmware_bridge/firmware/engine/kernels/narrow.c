/* int16 to the INT8 grid of another tensor, and INT8 to int16; defined in edge_ad/runtime/integer/narrow.py, wider.py. */
#include "../convolution.h"
#include "../functions.h"

EDGE_SAME_LAYOUT(widen, narrow);

/* reads, writes: bytes of a value. */
static bool check(const edge_model *m, const edge_narrow *p, uint32_t reads, uint32_t writes)
{
    const uint64_t size = edge_extent(p->size, 1, 1, 1);
    return size && edge_readable(m, p->input, size * reads, reads) && edge_writable(m, p->output, size * writes, writes) &&
           edge_scales_ok(&p->multiplier, &p->shift, 1) && p->zero >= -128 && p->zero <= 127;
}

/* In place, a value is written where none is read any more; other overlaps only mix values. */
bool edge_check_narrow(const edge_model *m, const edge_narrow *p)
{
    return check(m, p, 2, 1) && p->shift <= 15;
}

void edge_run_narrow(const edge_model *m, const edge_narrow *p)
{
    const int16_t *input = edge_at(m, p->input);
    int8_t *output = edge_to(m, p->output);
    for (const int8_t *const end = output + p->size; output < end;)
        *output++ = edge_int8(edge_scale_once(*input++, p->multiplier, p->shift), p->zero, -128, 127);
}

/* Overlaps only mix values. */
bool edge_check_widen(const edge_model *m, const edge_widen *p) { return check(m, (const edge_narrow *)p, 1, 2); }

void edge_run_widen(const edge_model *m, const edge_widen *p)
{
    const int8_t *input = edge_at(m, p->input);
    int16_t *output = edge_to(m, p->output);
    for (const int16_t *const end = output + p->size; output < end;)
        *output++ = edge_int16(edge_scale_long(*input++ - p->zero, p->multiplier, p->shift));
}
