#include "frames.h"

#include "../engine/edge_engine.h"

#define HEADER_BYTES 6u
#define CRC_BYTES 4u

/* Undo COBS in place: what is read is never behind what is written. 0 for what COBS cannot have made. */
static uint32_t unstuff(uint8_t *bytes, uint32_t count)
{
    uint32_t from = 0, to = 0;
    while (from < count) {
        const uint32_t code = bytes[from++];
        if (code == 0 || code - 1 > count - from)
            return 0;
        for (uint32_t i = 1; i < code; i++)
            bytes[to++] = bytes[from++];
        if (code < 0xFF && from < count)
            bytes[to++] = 0;
    }
    return to;
}

static bool decode(edge_receiver *r, edge_frame *frame)
{
    const uint32_t count = unstuff(r->bytes, r->count);
    if (count < HEADER_BYTES + CRC_BYTES || count > EDGE_FRAME_BYTES)
        return false;
    const uint32_t body = count - CRC_BYTES;
    if (edge_crc32(0, r->bytes, body) != edge_get32(r->bytes + body))
        return false;
    if (r->bytes[0] != EDGE_FRAME_VERSION || edge_get16(r->bytes + 4) != body - HEADER_BYTES)
        return false;
    frame->type = r->bytes[1];
    frame->seq = edge_get16(r->bytes + 2);
    frame->length = edge_get16(r->bytes + 4);
    frame->payload = r->bytes + HEADER_BYTES;
    return true;
}

bool edge_receive(edge_receiver *r, uint8_t byte, edge_frame *frame)
{
    if (byte != 0) {
        if (r->count == sizeof r->bytes)
            r->skipping = true;
        else if (!r->skipping)
            r->bytes[r->count++] = byte;
        return false;
    }
    const bool any = r->count > 0;
    const bool whole = any && !r->skipping && decode(r, frame);
    if (any && !whole)
        r->rejected++;
    r->count = 0;
    r->skipping = false;
    return whole;
}

uint32_t edge_encode(uint8_t *out, uint8_t type, uint16_t seq, const uint8_t *payload, uint16_t length)
{
    uint8_t header[HEADER_BYTES] = {EDGE_FRAME_VERSION, type}, crc[CRC_BYTES];
    edge_put16(header + 2, seq);
    edge_put16(header + 4, length);
    edge_put32(crc, edge_crc32(edge_crc32(0, header, HEADER_BYTES), payload, length));
    const uint8_t *const parts[3] = {header, payload, crc};
    const uint32_t lengths[3] = {HEADER_BYTES, length, CRC_BYTES};
    uint32_t to = 0;
    out[to++] = 0; /* ends whatever noise came before */
    uint32_t code = to++;
    for (int part = 0; part < 3; part++) {
        for (uint32_t i = 0; i < lengths[part]; i++) {
            if (parts[part][i] != 0)
                out[to++] = parts[part][i];
            if (parts[part][i] == 0 || to - code == 0xFF) {
                out[code] = (uint8_t)(to - code);
                code = to++;
            }
        }
    }
    out[code] = (uint8_t)(to - code);
    out[to++] = 0;
    return to;
}
