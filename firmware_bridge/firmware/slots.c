#include "slots.h"

#include <string.h>

#include "link/frames.h"
#include "ports/port.h"

/* A slot's records lie in its last erasable unit, one behind the other: the last valid one counts. So a slot is
 * made live without erasing anything, and a power cut finds the old record whole. */
#define RECORD_MAGIC 0x544F4C53u /* "SLOT" */
#define RECORD_BYTES EDGE_RECORD_BYTES /* a unit of flash that every board can program */
#define UNIT sizeof(((edge_slots *)0)->pending)

typedef struct {
    uint32_t sequence, length, crc;
    bool valid;
    uint32_t free; /* offset of the first unwritten record, or the slot's end */
} record;

static uint32_t capacity(const edge_port_info *port) { return port->slot_bytes - port->record_bytes; }

uint32_t edge_slots_capacity(void) { return capacity(edge_port_describe()); }

static bool erased(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (bytes[i] != 0xFF)
            return false;
    return true;
}

static record read_record(uint32_t slot)
{
    const edge_port_info *port = edge_port_describe();
    const uint8_t *base = edge_port_slot(slot);
    record found = {.valid = false, .free = port->slot_bytes};
    for (uint32_t at = capacity(port); at < port->slot_bytes; at += RECORD_BYTES) {
        const uint8_t *bytes = base + at;
        if (erased(bytes, RECORD_BYTES)) {
            found.free = at;
            break;
        }
        if (edge_get32(bytes) == RECORD_MAGIC && edge_crc32(0, bytes, 16) == edge_get32(bytes + 16)) {
            found.sequence = edge_get32(bytes + 4);
            found.length = edge_get32(bytes + 8);
            found.crc = edge_get32(bytes + 12);
            found.valid = found.length <= capacity(port);
        }
    }
    return found;
}

static bool write_record(uint32_t slot, uint32_t sequence, uint32_t length, uint32_t crc)
{
    const edge_port_info *port = edge_port_describe();
    uint32_t at = read_record(slot).free;
    if (at == port->slot_bytes) {
        at = capacity(port);
        if (!edge_port_erase(slot, at, port->record_bytes))
            return false;
    }
    uint8_t bytes[RECORD_BYTES];
    memset(bytes, 0xFF, sizeof bytes);
    edge_put32(bytes, RECORD_MAGIC);
    edge_put32(bytes + 4, sequence);
    edge_put32(bytes + 8, length);
    edge_put32(bytes + 12, crc);
    edge_put32(bytes + 16, edge_crc32(0, bytes, 16));
    return edge_port_program(slot, at, bytes, sizeof bytes);
}

const uint8_t *edge_slots_record(uint32_t slot, uint32_t unit)
{
    const edge_port_info *port = edge_port_describe();
    return unit < port->record_bytes / RECORD_BYTES ? edge_port_slot(slot) + capacity(port) + unit * RECORD_BYTES
                                                    : NULL;
}

bool edge_slots_append(uint32_t slot, const uint8_t *bytes, uint32_t units)
{
    const edge_port_info *port = edge_port_describe();
    const uint32_t at = read_record(slot).free;
    if (units * RECORD_BYTES > port->slot_bytes - at)
        return false;
    for (uint32_t i = 0; i < units; i++)
        if (!edge_port_program(slot, at + i * RECORD_BYTES, bytes + i * RECORD_BYTES, RECORD_BYTES))
            return false;
    return true;
}

bool edge_slots_clear(uint32_t slot)
{
    const edge_port_info *port = edge_port_describe();
    const record kept = read_record(slot);
    if (!edge_port_erase(slot, capacity(port), port->record_bytes))
        return false;
    return !kept.valid || write_record(slot, kept.sequence, kept.length, kept.crc);
}

static uint32_t next_sequence(void)
{
    uint32_t highest = 0;
    for (uint32_t slot = 0; slot < EDGE_SLOTS; slot++) {
        const record r = read_record(slot);
        if (r.valid && r.sequence > highest)
            highest = r.sequence;
    }
    return highest + 1;
}

static edge_slot_status load(edge_slots *s, edge_model *model, uint32_t slot, uint32_t length, bool prove)
{
    const edge_port_info *port = edge_port_describe();
    s->refusal = edge_load(model, edge_port_slot(slot), length, port->arena, port->arena_bytes);
    if (s->refusal != EDGE_OK)
        return EDGE_SLOT_REFUSED;
    if (prove && edge_prove(model, &s->failed) != EDGE_OK)
        return EDGE_SLOT_UNPROVEN;
    return EDGE_SLOT_OK;
}

static void set_live(edge_slots *s, uint32_t slot, const edge_model *model)
{
    s->model = *model;
    s->live = (int32_t)slot;
    s->length = model->header->length;
    s->crc = model->header->crc;
}

void edge_slots_open(edge_slots *s)
{
    memset(s, 0, sizeof *s);
    s->live = s->target = EDGE_NO_SLOT;
    record records[EDGE_SLOTS];
    for (uint32_t slot = 0; slot < EDGE_SLOTS; slot++)
        records[slot] = read_record(slot);
    const uint32_t newer = records[1].valid && (!records[0].valid || records[1].sequence > records[0].sequence);
    for (uint32_t i = 0; i < EDGE_SLOTS && s->live == EDGE_NO_SLOT; i++) {
        const uint32_t slot = i == 0 ? newer : 1 - newer;
        edge_model model;
        if (records[slot].valid && load(s, &model, slot, records[slot].length, true) == EDGE_SLOT_OK &&
            model.header->crc == records[slot].crc)
            set_live(s, slot, &model);
    }
}

/* How much of an image with this length and CRC a slot holds already, down to a whole erasable unit. */
static uint32_t held(uint32_t slot, uint32_t length, uint32_t crc)
{
    const uint8_t *base = edge_port_slot(slot);
    const uint32_t unit = edge_port_describe()->record_bytes;
    if (edge_get32(base) != EDGE_MAGIC || edge_get32(base + 8) != length || edge_get32(base + 12) != crc)
        return 0;
    uint32_t end = length;
    while (end > 0 && base[end - 1] == 0xFF)
        end--;
    return end / unit * unit;
}

/* Where an upload goes: not where the live model is, and without one not where the newest is, which is of use again
 * once the board has firmware that runs it. */
static uint32_t spare(const edge_slots *s)
{
    if (s->live != EDGE_NO_SLOT)
        return s->live == 0 ? 1 : 0;
    const record first = read_record(0), second = read_record(1);
    return first.valid && (!second.valid || first.sequence > second.sequence) ? 1 : 0;
}

edge_slot_status edge_slots_begin(edge_slots *s, uint32_t length, uint32_t crc)
{
    const edge_port_info *port = edge_port_describe();
    if (length < sizeof(edge_header) || length > capacity(port))
        return EDGE_SLOT_TOO_LONG;
    const uint32_t slot = spare(s), unit = port->record_bytes;
    s->target = EDGE_NO_SLOT;
    /* The record goes first: from here on the slot claims nothing. */
    if (!erased(edge_port_slot(slot) + capacity(port), unit) && !edge_port_erase(slot, capacity(port), unit))
        return EDGE_SLOT_BROKEN;
    const uint32_t from = held(slot, length, crc);
    const uint32_t to = (length + unit - 1) / unit * unit;
    for (uint32_t at = from; at < to; at += unit) {
        edge_port_watchdog();
        if (!erased(edge_port_slot(slot) + at, unit) && !edge_port_erase(slot, at, unit))
            return EDGE_SLOT_BROKEN;
    }
    s->target = (int32_t)slot;
    s->upload_length = length;
    s->upload_next = from;
    return EDGE_SLOT_OK;
}

/* Program the pending unit, which begins at `at`; what it lacks stays erased. */
static bool flush(edge_slots *s, uint32_t at, uint32_t count)
{
    memset(s->pending + count, 0xFF, UNIT - count);
    return edge_port_program((uint32_t)s->target, at, s->pending, UNIT) &&
           memcmp(edge_port_slot((uint32_t)s->target) + at, s->pending, UNIT) == 0;
}

edge_slot_status edge_slots_data(edge_slots *s, uint32_t offset, const uint8_t *data, uint32_t length)
{
    if (s->target == EDGE_NO_SLOT)
        return EDGE_SLOT_EMPTY;
    if (offset > s->upload_next || length > s->upload_length || offset > s->upload_length - length)
        return EDGE_SLOT_OFFSET;
    const uint32_t known = s->upload_next - offset; /* repeated */
    for (uint32_t i = known; i < length; i++) {
        s->pending[s->upload_next % UNIT] = data[i];
        s->upload_next++;
        if (s->upload_next % UNIT == 0 && !flush(s, s->upload_next - UNIT, UNIT)) {
            s->target = EDGE_NO_SLOT;
            return EDGE_SLOT_BROKEN;
        }
    }
    return EDGE_SLOT_OK;
}

edge_slot_status edge_slots_commit(edge_slots *s, uint32_t *sequence)
{
    if (s->target == EDGE_NO_SLOT || s->upload_next != s->upload_length)
        return EDGE_SLOT_EMPTY;
    const uint32_t slot = (uint32_t)s->target, rest = s->upload_length % UNIT;
    const bool written = rest == 0 || flush(s, s->upload_length - rest, rest);
    s->target = EDGE_NO_SLOT;
    if (!written)
        return EDGE_SLOT_BROKEN;
    edge_model model;
    const edge_slot_status status = load(s, &model, slot, s->upload_length, true);
    if (status != EDGE_SLOT_OK)
        return status;
    *sequence = next_sequence();
    if (!write_record(slot, *sequence, model.header->length, model.header->crc))
        return EDGE_SLOT_BROKEN;
    set_live(s, slot, &model);
    return EDGE_SLOT_OK;
}

edge_slot_status edge_slots_rollback(edge_slots *s)
{
    const uint32_t slot = s->live == 0 ? 1 : 0;
    const record r = read_record(slot);
    if (s->live == EDGE_NO_SLOT || !r.valid)
        return EDGE_SLOT_EMPTY;
    edge_model model;
    const edge_slot_status status = load(s, &model, slot, r.length, true);
    if (status != EDGE_SLOT_OK)
        return status;
    if (!write_record(slot, next_sequence(), r.length, r.crc))
        return EDGE_SLOT_BROKEN;
    s->target = EDGE_NO_SLOT;
    set_live(s, slot, &model);
    return EDGE_SLOT_OK;
}
