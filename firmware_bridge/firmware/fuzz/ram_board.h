/* A board in memory, for fuzzing: slots and arena are arrays, the line goes nowhere, or to who includes this. */
#ifndef EDGE_RAM_BOARD_H
#define EDGE_RAM_BOARD_H

#include <string.h>

#include "../ports/port.h"

#define ERASE_UNIT 256u
#define SLOT_BYTES (64u * ERASE_UNIT)

static uint8_t slots[EDGE_SLOTS][SLOT_BYTES] __attribute__((aligned(16)));
static uint8_t arena[64u << 10] __attribute__((aligned(16)));
static edge_retained retained;
static bool restarted;

static const edge_port_info info = {.name = "fuzz",
                                    .arena = arena,
                                    .arena_bytes = sizeof arena,
                                    .slot_bytes = SLOT_BYTES,
                                    .record_bytes = ERASE_UNIT,
                                    .ticks_hz = 1};

void edge_port_init(void) {}
const edge_port_info *edge_port_describe(void) { return &info; }
uint32_t edge_port_read(uint8_t *data, uint32_t capacity) { return (void)data, (void)capacity, 0; }
#ifndef EDGE_RAM_BOARD_WRITE /* else of who includes this */
void edge_port_write(const uint8_t *data, uint32_t length)
{
    volatile uint8_t sum = 0; /* every byte that would be sent is read */
    for (uint32_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + data[i]);
}
#endif

/* A sensor that has a few rows each time, and loses some. */
static const edge_sensor sensor = {.channels = 3, .format = EDGE_INT16, .rate_mhz = 1000};
const edge_sensor *edge_port_sensor(void) { return &sensor; }
void edge_port_sense(bool on) { (void)on; }
uint32_t edge_port_sample(uint8_t *rows, uint32_t capacity, uint32_t *missed)
{
    static uint32_t calls;
    const uint32_t count = capacity < calls % 7 ? capacity : calls % 7;
    memset(rows, (int)calls, count * 6u);
    *missed = calls++ % 5 == 0;
    return count;
}
uint64_t edge_port_ticks(void) { return 0; }
uint32_t edge_port_instructions(uint64_t ticks) { return (uint32_t)ticks; }
const uint8_t *edge_port_slot(uint32_t slot) { return slots[slot]; }

static bool in_slot(uint32_t slot, uint32_t offset, uint32_t length)
{
    return slot < EDGE_SLOTS && offset <= SLOT_BYTES && length <= SLOT_BYTES - offset;
}

bool edge_port_erase(uint32_t slot, uint32_t offset, uint32_t length)
{
    if (!in_slot(slot, offset, length) || offset % ERASE_UNIT || length % ERASE_UNIT)
        __builtin_trap(); /* the firmware must never ask for that */
    memset(slots[slot] + offset, 0xFF, length);
    return true;
}

bool edge_port_program(uint32_t slot, uint32_t offset, const uint8_t *data, uint32_t length)
{
    if (!in_slot(slot, offset, length) || offset % 32 || length % 32)
        __builtin_trap();
    for (uint32_t i = 0; i < length; i++) {
        if (slots[slot][offset + i] != 0xFF)
            __builtin_trap(); /* some flash can be written once between two erasures */
        slots[slot][offset + i] = data[i];
    }
    return true;
}

edge_retained *edge_port_retained(void) { return &retained; }
uint8_t edge_port_reset_cause(void) { return 0; }
uint32_t edge_port_stack_used(void) { return 0; }
void edge_port_watchdog(void) {}
void edge_port_idle(bool soon) { (void)soon; }
void edge_port_restart(void) { restarted = true; }

#endif
