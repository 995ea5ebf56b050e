#include "monitor.h"

#include "internal.h"

const edge_monitor *edge_monitor_of(const edge_model *m)
{
    return m->header->monitor ? (const edge_monitor *)(m->image + m->header->monitor) : NULL;
}

static bool levels_ok(const edge_monitor *p)
{
    return p->lower <= p->threshold && p->threshold <= p->upper && p->lowest <= p->threshold &&
           p->threshold <= p->highest && p->mantissa > 0 && p->exponent >= -40 && p->exponent <= 20;
}

static bool window_ok(const edge_model *m, const edge_monitor *p)
{
    if (p->channels < 1 || p->channels > EDGE_MOST_CHANNELS || p->rows < 1 || p->rows > 1u << 20 || p->hop > p->rows)
        return false;
    if (p->width < 1 || p->width > 2 || p->zero < -32768 || p->zero > 32767)
        return false;
    if (m->header->n_inputs != 1 || m->inputs[0].bytes != p->rows * p->channels * p->width)
        return false;
    const edge_ref table = (m->header->monitor + (uint32_t)sizeof *p) | EDGE_IN_IMAGE;
    if (!edge_readable(m, table, p->channels * sizeof(edge_channel), 4))
        return false;
    for (uint32_t c = 0; c < p->channels; c++) {
        const uint32_t shift = edge_channels(p)[c].shift;
        if (shift < 1 || shift > 62)
            return false;
    }
    return true;
}

bool edge_check_monitor(const edge_model *m)
{
    const uint32_t at = m->header->monitor;
    if (at == 0)
        return true;
    if (at & EDGE_IN_IMAGE || !edge_readable(m, at | EDGE_IN_IMAGE, sizeof(edge_monitor), 4))
        return false;
    const edge_monitor *p = edge_monitor_of(m);
    const edge_port *score = &m->outputs[m->header->n_outputs - 1];
    return score->bytes == 4 && score->offset % 4 == 0 && levels_ok(p) && (p->hop == 0 || window_ok(m, p));
}

static int32_t narrowed(int64_t y) { return (int32_t)(y < -65536 ? -65536 : y > 65536 ? 65536 : y); }

int32_t edge_standardise_int16(const edge_channel *c, int16_t x)
{
    const int64_t apart = (int64_t)x * 256 - c->mean_q8;
    return narrowed((apart * c->gain + ((int64_t)1 << (c->shift - 1))) >> c->shift);
}

int32_t edge_standardise_float32(const edge_channel *c, float x)
{
    const float apart = x - c->mean;
    const float y = apart * c->scale;
    if (!(y > -65536.0f)) /* what is no number ends here, too */
        return -65536;
    if (y >= 65536.0f)
        return 65536;
    return (int32_t)(y < 0 ? y - 0.5f : y + 0.5f);
}
