/* INT8 to int16; defined in edge_ad/runtime/integer/wider.py. */
#include "../functions.h"

bool edge_check_widen(const edge_model *m, const edge_widen *p)
{
    const uint64_t size = edge_extent(p->size, 1, 1, 1);
    return size && edge_readable(m, p->input, size, 1) && edge_writable(m, p->output, size * 2, 2) &&
           edge_apart(p->input, size, p->output, size * 2) && edge_scales_ok(&p->multiplier, &p->shift, 1) &&
           p->zero >= -128 && p->zero <= 127;
}

void edge_run_widen(const edge_model *m, const edge_widen *p)
{
    const int8_t *input = edge_at(m, p->input);
    int16_t *output = edge_to(m, p->output);
    for (const int16_t *const end = output + p->size; output < end;)
        *output++ = edge_int16(edge_scale_long(*input++ - p->zero, p->multiplier, p->shift));
}
