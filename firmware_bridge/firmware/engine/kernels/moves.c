/* Strided copies and fills. */
#include "../internal.h"

#define DIMENSIONS 5

/* Lowest and highest place of a walk that begins at `start`, relative to its tensor. */
static bool reach(const int32_t *extents, const int32_t *strides, int32_t start, int64_t *low, int64_t *high)
{
    *low = *high = start;
    for (int i = 0; i < DIMENSIONS; i++) {
        if (extents[i] < 1 || extents[i] > 1 << 24)
            return false;
        const int64_t span = (int64_t)(extents[i] - 1) * strides[i];
        if (span < 0)
            *low += span;
        else
            *high += span;
    }
    return *low >= 0 && *high < (int64_t)1 << 31;
}

/* Places that do not overlap are no more than there is room for, so that no image keeps a board busy for ever. */
static bool room_for(const int32_t *extents, int64_t run, int64_t bytes)
{
    for (int i = 0; i < DIMENSIONS && run <= bytes; i++)
        run *= extents[i];
    return run <= bytes;
}

bool edge_check_copy(const edge_model *m, const edge_copy *p)
{
    int64_t from, from_end, to, to_end;
    if (p->run < 1 || !edge_readable(m, p->geometry, 4 * 3 * DIMENSIONS, 4) || !(p->geometry & EDGE_IN_IMAGE))
        return false;
    const int32_t *extents = edge_at(m, p->geometry);
    if (!reach(extents, extents + DIMENSIONS, p->input_start, &from, &from_end) ||
        !reach(extents, extents + 2 * DIMENSIONS, p->output_start, &to, &to_end))
        return false;
    from_end += p->run;
    to_end += p->run;
    return room_for(extents, p->run, to_end - to) && edge_readable(m, p->input, (uint64_t)from_end, 1) &&
           edge_writable(m, p->output, (uint64_t)to_end, 1) &&
           edge_apart(p->input + (uint32_t)from, (uint64_t)(from_end - from), p->output + (uint32_t)to,
                      (uint64_t)(to_end - to));
}

static void copy_row(const int8_t *from, int8_t *to, int32_t count, int32_t from_step, int32_t to_step, int32_t run)
{
    if (run == 1) {
        for (int32_t i = 0; i < count; i++, from += from_step, to += to_step)
            *to = *from;
        return;
    }
    for (int32_t i = 0; i < count; i++, from += from_step, to += to_step)
        memcpy(to, from, (size_t)run);
}

void edge_run_copy(const edge_model *m, const edge_copy *p)
{
    const int32_t *n = edge_at(m, p->geometry);
    const int32_t *a = n + DIMENSIONS, *b = a + DIMENSIONS;
    const int8_t *from = (const int8_t *)edge_at(m, p->input) + p->input_start;
    int8_t *to = (int8_t *)edge_to(m, p->output) + p->output_start;
    for (int32_t i = 0; i < n[0]; i++)
        for (int32_t j = 0; j < n[1]; j++)
            for (int32_t k = 0; k < n[2]; k++)
                for (int32_t l = 0; l < n[3]; l++)
                    copy_row(from + i * a[0] + j * a[1] + k * a[2] + l * a[3],
                             to + i * b[0] + j * b[1] + k * b[2] + l * b[3], n[4], a[4], b[4], p->run);
}

bool edge_check_fill(const edge_model *m, const edge_fill *p)
{
    return p->count > 0 && edge_writable(m, p->output, (uint64_t)p->count, 1);
}

void edge_run_fill(const edge_model *m, const edge_fill *p)
{
    memset(edge_to(m, p->output), p->value & 0xFF, (size_t)p->count);
}
