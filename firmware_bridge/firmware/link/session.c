#include "session.h"

#include <string.h>

#include "../ports/port.h"
#include "requests.h"

#if EDGE_JUDGES && EDGE_MAX_PAYLOAD < EDGE_EVENT_BYTES
#error "an event has to fit into a frame"
#endif
#if EDGE_RING_BYTES <= EDGE_STUFFED_BYTES
#error "a frame has to fit into the ring"
#endif
#define ANSWER 0x80u
#define BOOT 0x42u

void edge_session_disturb(edge_session *s)
{
    if (edge_watching(&s->watch) && s->watch.monitor->hop && s->watch.filled)
        edge_watch_gap(&s->watch, 0);
}

static void send(uint8_t type, uint16_t seq, const uint8_t *payload, uint16_t length)
{
    static uint8_t out[EDGE_STUFFED_BYTES + 2];
    edge_port_write(out, edge_encode(out, type, seq, payload, length));
}

/* A request that was overtaken by a later one: its host has its answer, or has given up. */
static bool stale(const edge_session *s, const edge_frame *f)
{
    return s->heard && f->type != HELLO && (uint16_t)(f->seq - s->seq) > 0x7FFFu;
}

static void answer(edge_session *s, const edge_frame *f)
{
    if (EDGE_JUDGES && f->type == EDGE_EVENT_ACK_FRAME && f->length == 4)
        edge_events_taken(&s->watch.events, edge_get32(f->payload));
    if (f->type & ANSWER || f->type & 0x40u || stale(s, f))
        return; /* the first two are what boards send */
    const bool again = s->answered && f->type == s->type && f->seq == s->seq;
    if (!again) {
        writer w = {s->answer, 1};
        s->requests++;
        s->heard = true;
        s->type = f->type;
        s->seq = f->seq;
        s->answer[0] = edge_carry_out(s, f, &w);
        s->length = w.at;
        s->answered = f->type != HELLO;
    }
    send(s->type | ANSWER, s->seq, s->answer, s->length);
    if (s->restart)
        edge_port_restart();
}

void edge_session_start(edge_session *s)
{
    memset(s, 0, sizeof *s);
#if EDGE_DIALECT == EDGE_MLPERF
    s->dialect.spoken = true;
#endif
    edge_slots_open(&s->slots);
    edge_watch_live(s);
}

void edge_session_announce(edge_session *s)
{
#if EDGE_DIALECT == EDGE_MLPERF
    (void)s;
    edge_dialect_announce();
#else
    writer w = {s->answer, 0};
    edge_describe(s, &w);
    send(BOOT, 0, s->answer, w.at);
#endif
}

void edge_session_take(edge_session *s, const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        edge_frame frame;
        const bool whole = edge_receive(&s->receiver, bytes[i], &frame);
#if EDGE_DIALECT == EDGE_MLPERF
        if (whole)
            edge_dialect_yields(&s->dialect);
        else if (edge_dialect_hears(&s->dialect, &s->receiver, bytes[i]))
            edge_dialect_answer(s);
#endif
        if (whole)
            answer(s, &frame);
    }
}

/* Rows that the sensor has measured go into the window. */
static bool sense(edge_session *s)
{
    const edge_sensor *sensor = edge_port_sensor();
    const uint32_t row = edge_row_bytes(sensor);
    uint32_t missed;
    /* Nobody else fills a frame of samples meanwhile. */
    const uint32_t count = edge_port_sample(s->samples.payload, EDGE_MAX_PAYLOAD / row, &missed);
    if (count || missed)
        edge_watch_rows(&s->watch, s->samples.payload, count, s->watch.at + missed, sensor->format);
    return count > 0;
}

static void say_event(const uint8_t *payload, uint16_t length)
{
    static uint16_t seq;
    send(EDGE_EVENT_FRAME, seq++, payload, length);
}

bool edge_session_stream(edge_session *s)
{
    if (edge_session_speaks_text(s))
        return false;
    bool busy = s->samples.on && edge_samples_step(&s->samples, edge_port_sensor(), send);
    if (EDGE_JUDGES && s->senses)
        busy |= sense(s);
    if (EDGE_JUDGES && s->watch.model != NULL)
        busy |= edge_events_step(&s->watch.events, s->watch.monitor, &s->watch.settings, say_event);
    return busy;
}
