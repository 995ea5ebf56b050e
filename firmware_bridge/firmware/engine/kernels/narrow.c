/* int16 to the INT8 grid of another tensor; defined in edge_ad/runtime/integer/narrow.py. */
#include "../internal.h"

/* In place, a value is written where none is read any more; other overlaps only mix values. */
bool edge_check_narrow(const edge_model *m, const edge_narrow *p)
{
    const uint64_t size = edge_extent(p->size, 1, 1, 1);
    return size && edge_readable(m, p->input, size * 2, 2) && edge_writable(m, p->output, size, 1) &&
           edge_scales_ok(&p->multiplier, &p->shift, 1) && p->shift <= 15 && p->zero >= -128 && p->zero <= 127;
}

void edge_run_narrow(const edge_model *m, const edge_narrow *p)
{
    const int16_t *input = edge_at(m, p->input);
    int8_t *output = edge_to(m, p->output);
    for (const int8_t *const end = output + p->size; output < end;)
        *output++ = edge_int8(edge_scale_once(*input++, p->multiplier, p->shift), p->zero, -128, 127);
}
