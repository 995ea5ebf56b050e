#include "dialect.h"

#define END '%'

#if EDGE_DIALECT == EDGE_MLPERF

static bool frame_begun(const edge_receiver *r)
{
    return !r->skipping && r->count >= 2 && r->bytes[1] == EDGE_FRAME_VERSION;
}

void edge_dialect_begin(edge_dialect *d)
{
    d->count = 0;
    d->too_long = d->junk = false;
}

bool edge_dialect_hears(edge_dialect *d, const edge_receiver *r, uint8_t byte)
{
    if (d->off)
        return false;
    if (byte == 0 || frame_begun(r)) {
        edge_dialect_begin(d);
        d->fresh = byte == 0;
        return false;
    }
    const bool fresh = d->fresh, junk = d->junk;
    d->fresh = false;
    if (byte == END) {
        d->line[d->count] = 0;
        if (!fresh && !junk)
            return true;
        edge_dialect_begin(d); /* what may be the beginning of a frame, or was noise */
        return false;
    }
    if (!edge_blank((char)byte) && (byte < 0x20 || byte > 0x7E))
        d->junk = true;
    else if (d->count == EDGE_COMMAND_BYTES)
        d->too_long = true;
    else if (d->count || !edge_blank((char)byte))
        d->line[d->count++] = (char)byte;
    return false;
}

#endif
