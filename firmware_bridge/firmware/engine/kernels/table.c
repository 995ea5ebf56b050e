/* Any function of one value, as a table of its 256 results. */
#include "../internal.h"

bool edge_check_table(const edge_model *m, const edge_table *p)
{
    const uint64_t size = edge_extent(p->size, 1, 1, 1);
    return size && edge_readable(m, p->input, size, 1) && edge_writable(m, p->output, size, 1) &&
           edge_readable(m, p->table, 256, 1);
}

void edge_run_table(const edge_model *m, const edge_table *p)
{
    const uint8_t *input = edge_at(m, p->input);
    const uint8_t *table = edge_at(m, p->table);
    uint8_t *output = edge_to(m, p->output);
    for (const uint8_t *const end = output + p->size; output < end;)
        *output++ = table[*input++];
}
