#include "requests.h"

#include <string.h>

#include "../ports/port.h"

#ifndef EDGE_BUILD
#define EDGE_BUILD 0
#endif
#define PROTOCOL 1u

void edge_describe(const edge_session *s, writer *w)
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

void edge_watch_live(edge_session *s)
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
        edge_watch_live(s);
    else
        edge_session_disturb(s); /* the golden vectors' input */
    if (found == DONE && f->type == COMMIT)
        put32(w, sequence);
    else if (found == DONE)
        put8(w, (uint8_t)s->slots.live);
    return found;
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

uint8_t edge_carry_out(edge_session *s, const edge_frame *f, writer *w)
{
    switch (f->type) {
    case HELLO:
        if (f->length != 1)
            return BAD_ARGUMENTS;
        edge_describe(s, w);
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
        return f->type == INPUT ? edge_set_input(s, f) : f->type == RUN ? edge_run(s, f, w) : edge_read_back(s, f, w);
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
