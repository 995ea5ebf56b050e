/* Earlier steps again, once for each further channel. */
#include "../internal.h"

#define MOST_TIMES 4096 /* as many channels as the head takes */

bool edge_check_repeat(const edge_model *m, const edge_repeat *p)
{
    return p->times >= 1 && p->times <= MOST_TIMES && edge_writable(m, p->counter, 4, 4) &&
           edge_steps_before(m, p, p->first, p->count);
}

void edge_run_repeat(const edge_model *m, const edge_repeat *p)
{
    for (int32_t round = 1; round < p->times; round++) {
        *(int32_t *)edge_to(m, p->counter) = round;
        for (int32_t step = 0; step < p->count; step++)
            edge_run_step(m, (uint32_t)(p->first + step));
    }
}
