/* Frames of the link: COBS between zero bytes, header, CRC-32 (docs/link.md). */
#ifndef EDGE_FRAMES_H
#define EDGE_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#define EDGE_FRAME_VERSION 1u /* the first byte of each, before it is stuffed */
#ifndef EDGE_MAX_PAYLOAD
#define EDGE_MAX_PAYLOAD 1024u
#endif
#define EDGE_FRAME_BYTES (6u + EDGE_MAX_PAYLOAD + 4u)
#define EDGE_STUFFED_BYTES (EDGE_FRAME_BYTES + EDGE_FRAME_BYTES / 254u + 1u)

typedef struct {
    uint8_t type;
    uint16_t seq;
    uint16_t length;
    const uint8_t *payload; /* inside the receiver, until its next byte */
} edge_frame;

typedef struct {
    uint8_t bytes[EDGE_STUFFED_BYTES];
    uint32_t count;
    bool skipping; /* too long for a frame: wait for the next zero */
    uint32_t rejected;
} edge_receiver;

/* Take one byte; true when it ends a whole frame, which `frame` then is. */
bool edge_receive(edge_receiver *receiver, uint8_t byte, edge_frame *frame);

/* Write a frame with its delimiters to `out`, of EDGE_STUFFED_BYTES + 2 bytes; returns how many. */
uint32_t edge_encode(uint8_t *out, uint8_t type, uint16_t seq, const uint8_t *payload, uint16_t length);

static inline uint16_t edge_get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t edge_get32(const uint8_t *p)
{
    return edge_get16(p) | (uint32_t)edge_get16(p + 2) << 16;
}

static inline void edge_put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void edge_put32(uint8_t *p, uint32_t value)
{
    edge_put16(p, (uint16_t)value);
    edge_put16(p + 2, (uint16_t)(value >> 16));
}

#endif
