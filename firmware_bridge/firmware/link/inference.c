/* A live model over the link: its input, a run of all or of some steps, and what they have written. */
#include <string.h>

#include "../ports/port.h"
#include "requests.h"

static bool inside(uint32_t offset, uint32_t length, uint32_t limit)
{
    return offset <= limit && length <= limit - offset;
}

uint8_t edge_set_input(edge_session *s, const edge_frame *f)
{
    const edge_model *m = &s->slots.model;
    if (f->length < 5 || f->payload[0] >= m->header->n_inputs)
        return BAD_ARGUMENTS;
    const uint32_t offset = edge_get32(f->payload + 1), length = (uint32_t)f->length - 5;
    if (!inside(offset, length, m->inputs[f->payload[0]].bytes))
        return BAD_ARGUMENTS;
    memcpy(edge_input(m, f->payload[0]) + offset, f->payload + 5, length);
    edge_session_disturb(s);
    s->steps = 0;
    return DONE;
}

uint8_t edge_run(edge_session *s, const edge_frame *f, writer *w)
{
    const edge_model *m = &s->slots.model;
    if (f->length != 4)
        return BAD_ARGUMENTS;
    const uint32_t asked = edge_get32(f->payload), all = m->header->n_steps;
    const uint32_t steps = asked == 0xFFFFFFFFu ? all : asked;
    if (steps == 0 || steps > all)
        return BAD_ARGUMENTS;
    const uint64_t from = edge_port_ticks();
    if (steps == all)
        edge_invoke(m);
    else
        for (uint32_t i = 0; i < steps; i++)
            edge_run_step(m, i);
    const uint64_t ticks = edge_port_ticks() - from;
    s->inferences += steps == all;
    edge_session_disturb(s);
    if (steps == all && edge_watching(&s->watch) && s->watch.monitor->hop == 0)
        edge_watch_frame(&s->watch, (uint32_t)(ticks * 1000000u / edge_port_describe()->ticks_hz));
    s->steps = steps;
    put64(w, ticks);
    put32(w, edge_port_describe()->ticks_hz);
    put32(w, edge_port_instructions(ticks));
    return DONE;
}

/* Bytes of an output, or of what the last step that ran has written. */
uint8_t edge_read_back(const edge_session *s, const edge_frame *f, writer *w)
{
    const edge_model *m = &s->slots.model;
    const uint32_t head = f->type == OUTPUT ? 1 : 4;
    if (f->length != head + 6)
        return BAD_ARGUMENTS;
    const uint32_t which = f->type == OUTPUT ? f->payload[0] : edge_get32(f->payload);
    const uint32_t offset = edge_get32(f->payload + head), length = edge_get16(f->payload + head + 4);
    const uint8_t *from;
    uint32_t limit;
    if (f->type == OUTPUT) {
        if (which >= m->header->n_outputs || s->steps != m->header->n_steps)
            return BAD_ARGUMENTS;
        from = edge_output(m, which);
        limit = m->outputs[which].bytes;
    } else {
        if (which >= m->header->n_steps || s->steps != which + 1 || m->steps[which].output == 0xFFFFFFFFu)
            return BAD_ARGUMENTS;
        from = m->arena + m->steps[which].output;
        limit = m->steps[which].output_bytes;
    }
    if (length > EDGE_MAX_PAYLOAD - 1 || !inside(offset, length, limit))
        return BAD_ARGUMENTS;
    memcpy(w->bytes + w->at, from + offset, length);
    w->at = (uint16_t)(w->at + length);
    return DONE;
}
