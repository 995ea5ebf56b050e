#include "session.h"

#include <string.h>

#include "../ports/port.h"

#ifndef EDGE_BUILD
#define EDGE_BUILD 0
#endif
#if EDGE_JUDGES && EDGE_MAX_PAYLOAD < EDGE_EVENT_BYTES
#error "an event has to fit into a frame"
#endif
#if EDGE_RING_BYTES <= EDGE_STUFFED_BYTES
#error "a frame has to fit into the ring"
#endif
#define PROTOCOL 1u
#define ANSWER 0x80u
#define BOOT 0x42u

enum { HELLO = 1, STATUS, BEGIN, DATA, COMMIT, ROLLBACK, INPUT, RUN, OUTPUT, TENSOR, REBOOT, FAULT, SAMPLE };

enum {
    DONE = 0,
    UNKNOWN,
    BAD_ARGUMENTS,
    NO_MODEL,
    NO_CONTENT,
    TOO_LONG,
    REFUSED,
    UNPROVEN,
    FLASH_BROKEN,
    NO_SENSOR
};

/* An answer under way: `at` counts its bytes. */
typedef struct {
    uint8_t *bytes;
    uint16_t at;
} writer;

static void put8(writer *w, uint8_t value) { w->bytes[w->at++] = value; }

static void put32(writer *w, uint32_t value)
{
    edge_put32(w->bytes + w->at, value);
    w->at = (uint16_t)(w->at + 4);
}

static void put64(writer *w, uint64_t value)
{
    put32(w, (uint32_t)value);
    put32(w, (uint32_t)(value >> 32));
}

static void describe(const edge_session *s, writer *w)
{
    const edge_port_info *port = edge_port_describe();
    const uint64_t build = EDGE_BUILD;
    put8(w, PROTOCOL);
    put8(w, (uint8_t)EDGE_ABI);
    put8(w, (uint8_t)(EDGE_ABI >> 8));
    put8(w, EDGE_KERNELS);
    put8(w, (uint8_t)(EDGE_MAX_PAYLOAD - 1)); /* an answer's first byte is its status */
    put8(w, (uint8_t)((EDGE_MAX_PAYLOAD - 1) >> 8));
    put32(w, edge_slots_capacity());
    put32(w, port->arena_bytes);
    put8(w, (uint8_t)s->slots.live);
    put32(w, s->slots.live == EDGE_NO_SLOT ? 0 : s->slots.crc);
    put32(w, s->slots.live == EDGE_NO_SLOT ? 0 : s->slots.length);
    put32(w, edge_port_retained()->boots);
    put8(w, edge_port_reset_cause());
    for (int i = 56; i >= 0; i -= 8)
        put8(w, (uint8_t)(build >> i));
    const size_t length = strlen(port->name);
    put8(w, (uint8_t)length);
    memcpy(w->bytes + w->at, port->name, length);
    w->at = (uint16_t)(w->at + length);
    put8(w, EDGE_JUDGES);
    put8(w, sizeof(uint64_t));
    put64(w, edge_operators());
}

static void status(const edge_session *s, writer *w)
{
    const edge_port_info *port = edge_port_describe();
    put32(w, s->requests);
    put32(w, s->receiver.rejected);
    put32(w, s->inferences);
    put32(w, edge_port_stack_used());
    put32(w, port->stack_bytes);
    put32(w, port->static_bytes);
    put32(w, s->slots.live == EDGE_NO_SLOT ? 0 : s->slots.model.header->arena_bytes);
}

/* What a slot's status means on the link, with what belongs to it. */
static uint8_t slot_answer(const edge_session *s, edge_slot_status found, writer *w)
{
    switch (found) {
    case EDGE_SLOT_OK:
        return DONE;
    case EDGE_SLOT_EMPTY:
        return NO_CONTENT;
    case EDGE_SLOT_TOO_LONG:
        return TOO_LONG;
    case EDGE_SLOT_REFUSED:
        put8(w, (uint8_t)s->slots.refusal);
        return REFUSED;
    case EDGE_SLOT_UNPROVEN:
        put32(w, s->slots.failed);
        return UNPROVEN;
    case EDGE_SLOT_OFFSET:
        return BAD_ARGUMENTS;
    default:
        return FLASH_BROKEN;
    }
}

static uint8_t upload(edge_session *s, const edge_frame *f, writer *w)
{
    edge_slots *slots = &s->slots;
    if (f->type == BEGIN) {
        if (f->length != 8)
            return BAD_ARGUMENTS;
        const uint8_t found =
            slot_answer(s, edge_slots_begin(slots, edge_get32(f->payload), edge_get32(f->payload + 4)), w);
        if (found == DONE) {
            put8(w, (uint8_t)slots->target);
            put32(w, slots->upload_next);
        }
        return found;
    }
    if (f->length < 4)
        return BAD_ARGUMENTS;
    const uint8_t found = slot_answer(
        s, edge_slots_data(slots, edge_get32(f->payload), f->payload + 4, (uint32_t)f->length - 4), w);
    if (found == DONE)
        put32(w, slots->upload_next);
    return found;
}

/* The sensor measures for who watches a stream, if it measures what the model takes. */
static void watch_sensor(edge_session *s)
{
    const edge_sensor *sensor = edge_port_sensor();
    const bool sensed = s->senses;
    s->senses = sensor != NULL && edge_watching(&s->watch) && s->watch.monitor->hop &&
                sensor->channels == s->watch.monitor->channels;
    if (s->senses || sensed)
        edge_port_sense(s->senses);
}

void edge_session_disturb(edge_session *s)
{
    if (edge_watching(&s->watch) && s->watch.monitor->hop && s->watch.filled)
        edge_watch_gap(&s->watch, 0);
}

/* What watches is told which model is live. */
static void watch_live(edge_session *s)
{
    if (EDGE_JUDGES)
        edge_watch_model(&s->watch, &s->slots.model, s->slots.crc, s->slots.live);
    watch_sensor(s);
}

static uint8_t activate(edge_session *s, const edge_frame *f, writer *w)
{
    if (f->length)
        return BAD_ARGUMENTS;
    uint32_t sequence = 0;
    s->steps = 0; /* golden vectors ran in the arena */
    const uint8_t found = slot_answer(
        s, f->type == COMMIT ? edge_slots_commit(&s->slots, &sequence) : edge_slots_rollback(&s->slots), w);
    if (found == DONE)
        watch_live(s);
    else
        edge_session_disturb(s); /* the golden vectors' input */
    if (found == DONE && f->type == COMMIT)
        put32(w, sequence);
    else if (found == DONE)
        put8(w, (uint8_t)s->slots.live);
    return found;
}

static bool inside(uint32_t offset, uint32_t length, uint32_t limit)
{
    return offset <= limit && length <= limit - offset;
}

static uint8_t set_input(edge_session *s, const edge_frame *f)
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

static uint8_t run(edge_session *s, const edge_frame *f, writer *w)
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
static uint8_t read_back(const edge_session *s, const edge_frame *f, writer *w)
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

static uint8_t fault(const edge_frame *f, writer *w)
{
    edge_retained *r = edge_port_retained();
    if (f->length)
        return BAD_ARGUMENTS;
    put8(w, (uint8_t)r->fault_kind);
    put32(w, r->pc);
    put32(w, r->lr);
    put32(w, r->status);
    put32(w, r->address);
    put32(w, r->fault_boots);
    r->fault_kind = 0;
    return DONE;
}

/* Start or stop to send what is measured. */
static uint8_t sample(edge_session *s, const edge_frame *f, writer *w)
{
    const edge_sensor *sensor = edge_port_sensor();
    if (sensor == NULL)
        return NO_SENSOR;
    if (f->length != 3 || f->payload[0] > 1)
        return BAD_ARGUMENTS;
    if (s->senses)
        return EDGE_IS_WATCHING;
    edge_samples_switch(&s->samples, sensor, f->payload[0], edge_get16(f->payload + 1));
    put8(w, sensor->channels);
    put8(w, sensor->format);
    put32(w, sensor->rate_mhz);
    put32(w, s->samples.index);
    return DONE;
}

static uint8_t watching(edge_session *s, const edge_frame *f, writer *w)
{
    uint16_t length;
    if (s->slots.live == EDGE_NO_SLOT)
        return NO_MODEL;
    if (!EDGE_JUDGES)
        return EDGE_NO_MONITOR;
    if (f->type == EDGE_FEED && s->senses) /* which has its rows from the sensor */
        return EDGE_IS_WATCHING;
    const uint8_t found =
        edge_watching_request(&s->watch, f, w->bytes + w->at, &length, BAD_ARGUMENTS, FLASH_BROKEN);
    w->at = (uint16_t)(w->at + length);
    if (found == DONE && f->type == EDGE_WATCH) {
        if (s->samples.on) /* the sensor has one reader */
            edge_samples_switch(&s->samples, edge_port_sensor(), false, 1);
        watch_sensor(s);
    }
    if (f->type == EDGE_FEED)
        s->steps = 0;
    return found;
}

static uint8_t carry_out(edge_session *s, const edge_frame *f, writer *w)
{
    switch (f->type) {
    case HELLO:
        if (f->length != 1)
            return BAD_ARGUMENTS;
        describe(s, w);
        return DONE;
    case STATUS:
        status(s, w);
        return DONE;
    case BEGIN:
    case DATA:
        return upload(s, f, w);
    case COMMIT:
    case ROLLBACK:
        return activate(s, f, w);
    case INPUT:
    case RUN:
    case OUTPUT:
    case TENSOR:
        if (s->slots.live == EDGE_NO_SLOT)
            return NO_MODEL;
        return f->type == INPUT ? set_input(s, f) : f->type == RUN ? run(s, f, w) : read_back(s, f, w);
    case REBOOT:
        s->restart = true;
        return DONE;
    case FAULT:
        return fault(f, w);
    case SAMPLE:
        return sample(s, f, w);
    case EDGE_WATCH:
    case EDGE_THRESHOLD:
    case EDGE_STATISTICS:
    case EDGE_FEED:
        return watching(s, f, w);
    default:
        return UNKNOWN;
    }
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
        s->answer[0] = carry_out(s, f, &w);
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
    watch_live(s);
}

void edge_session_announce(edge_session *s)
{
#if EDGE_DIALECT == EDGE_MLPERF
    (void)s;
    edge_dialect_announce();
#else
    writer w = {s->answer, 0};
    describe(s, &w);
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
