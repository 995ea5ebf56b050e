/* MEAN over any axes, plain C. */
#include "../internal.h"
#include "../rounding.h"

/* The last element that these extents and strides reach; false for one that cannot be. */
static bool reach(const int32_t *size, const int32_t *stride, uint64_t *last)
{
    for (int i = 0; i < 3; i++) {
        if (stride[i] < 0 || stride[i] > 1 << 24)
            return false;
        *last += (uint64_t)(size[i] - 1) * (uint32_t)stride[i];
    }
    return true;
}

/* Every element of the input is read once: no more work than there is memory. */
bool edge_check_mean(const edge_model *m, const edge_mean *p)
{
    uint64_t last = 0;
    const uint64_t kept = edge_extent(p->kept0, p->kept1, p->kept2, 1);
    const uint64_t reduced = edge_extent(p->reduced0, p->reduced1, p->reduced2, 1);
    return kept && reduced && reach(&p->kept0, &p->kept_stride0, &last) &&
           reach(&p->reduced0, &p->reduced_stride0, &last) && last < (uint64_t)1 << 31 &&
           kept * reduced == last + 1 && edge_readable(m, p->input, last + 1, 1) &&
           edge_writable(m, p->output, kept, 1) && edge_scales_ok(&p->multiplier, &p->shift, 1);
}

static int32_t sum(const edge_mean *p, const int8_t *input)
{
    uint32_t total = (uint32_t)p->bias;
    for (int32_t i = 0; i < p->reduced0; i++)
        for (int32_t j = 0; j < p->reduced1; j++) {
            const int8_t *value = input + i * p->reduced_stride0 + j * p->reduced_stride1;
            for (int32_t k = 0; k < p->reduced2; k++, value += p->reduced_stride2)
                total += (uint32_t)(int32_t)*value;
        }
    return (int32_t)total;
}

void edge_run_mean(const edge_model *m, const edge_mean *p)
{
    const int8_t *input = edge_at(m, p->input);
    int8_t *output = edge_to(m, p->output);
    for (int32_t i = 0; i < p->kept0; i++)
        for (int32_t j = 0; j < p->kept1; j++)
            for (int32_t k = 0; k < p->kept2; k++) {
                const int32_t at = i * p->kept_stride0 + j * p->kept_stride1 + k * p->kept_stride2;
                const int32_t scaled = edge_scale_twice(sum(p, input + at), p->multiplier, p->shift);
                *output++ = edge_int8(scaled, p->output_zero, -128, 127);
            }
}
