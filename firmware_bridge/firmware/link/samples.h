/* What a sensor measures, on its way into SAMPLES frames (docs/link.md). Part of the session. */
#ifndef EDGE_SAMPLES_H
#define EDGE_SAMPLES_H

#include <string.h>

#include "../ports/port.h"
#include "frames.h"

#define EDGE_SAMPLES 0x43u /* type of the frames */
#define EDGE_SAMPLES_HEAD 6u

typedef struct {
    bool on;
    uint16_t wanted; /* rows a frame */
    uint16_t held;   /* of them in `payload` */
    uint16_t seq;    /* of the last frame */
    uint32_t index;  /* of the first row in `payload` */
    uint8_t payload[EDGE_MAX_PAYLOAD];
} edge_samples;

static inline uint32_t edge_row_bytes(const edge_sensor *sensor)
{
    return sensor->channels * (sensor->format == EDGE_INT16 ? 2u : 4u);
}

static inline uint32_t edge_rows_a_frame(const edge_sensor *sensor)
{
    return (EDGE_MAX_PAYLOAD - EDGE_SAMPLES_HEAD) / edge_row_bytes(sensor);
}

/* Begin anew with row 0, or stop. */
static inline void edge_samples_switch(edge_samples *s, const edge_sensor *sensor, bool on, uint16_t wanted)
{
    const uint32_t most = edge_rows_a_frame(sensor);
    s->on = on;
    s->wanted = wanted == 0 ? 1 : wanted > most ? (uint16_t)most : wanted;
    s->held = 0;
    s->index = 0;
    edge_port_sense(on);
}

/* Sends a frame of this type, sequence number and payload. */
typedef void edge_send(uint8_t type, uint16_t seq, const uint8_t *payload, uint16_t length);

static inline void edge_samples_frame(edge_samples *s, const edge_sensor *sensor, edge_send *send)
{
    edge_put32(s->payload, s->index);
    s->payload[4] = sensor->channels;
    s->payload[5] = sensor->format;
    send(EDGE_SAMPLES, ++s->seq, s->payload, (uint16_t)(EDGE_SAMPLES_HEAD + s->held * edge_row_bytes(sensor)));
    s->index += s->held;
    s->held = 0;
}

/* Take what was measured, and send it once there is enough; whether there was anything. */
static inline bool edge_samples_step(edge_samples *s, const edge_sensor *sensor, edge_send *send)
{
    const uint32_t row = edge_row_bytes(sensor);
    uint8_t *rows = s->payload + EDGE_SAMPLES_HEAD, *to = rows + s->held * row;
    uint32_t missed;
    const uint32_t count = edge_port_sample(to, edge_rows_a_frame(sensor) - s->held, &missed);
    if (missed) { /* a frame's rows follow each other */
        if (s->held)
            edge_samples_frame(s, sensor, send);
        memmove(rows, to, count * row);
        s->index += missed;
    }
    s->held = (uint16_t)(s->held + count);
    if (s->held >= s->wanted)
        edge_samples_frame(s, sensor, send);
    return count > 0;
}

#endif
