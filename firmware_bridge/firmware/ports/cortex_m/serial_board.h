/* What ports of real Cortex-M boards share: a ring for received bytes, the cycle counter as ticks, a tick that wakes.
 *
 * Included by one port.c, which defines what is declared here.
 */
#ifndef EDGE_SERIAL_BOARD_H
#define EDGE_SERIAL_BOARD_H

#include <string.h>

#include "../no_sensor.h"
#include "../port.h"
#include "board.h"
#include "cortex_m.h"

#define DEMCR EDGE_REG(0xE000EDFC)
#define DWT_CTRL EDGE_REG(0xE0001000)
#define DWT_CYCCNT EDGE_REG(0xE0001004)
#define DWT_LAR EDGE_REG(0xE0001FB0) /* a lock that the Cortex-M7 has */

/* From the linker script. */
extern uint8_t edge_slots_start[], edge_slots_end[], edge_arena_start[], edge_arena_end[];

static volatile uint8_t ring[EDGE_RING_BYTES];
static volatile uint32_t ring_head, ring_tail; /* counts; head is the interrupt's */

/* Of the port: send one byte, waiting for room. */
static void uart_send(uint8_t byte);

/* The interrupt's part. A ring that is full loses bytes, as any UART does; the link asks again. */
static inline void ring_put(uint8_t byte)
{
    if (ring_head - ring_tail < sizeof ring) {
        ring[ring_head % sizeof ring] = byte;
        ring_head++;
    }
}

uint32_t edge_port_read(uint8_t *data, uint32_t capacity)
{
    uint32_t count = 0;
    while (count < capacity && ring_tail != ring_head) {
        data[count++] = ring[ring_tail % sizeof ring];
        ring_tail++;
    }
    return count;
}

void edge_port_write(const uint8_t *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        uart_send(data[i]);
}

static void start_counter(void)
{
    DEMCR |= 1u << 24;
    DWT_LAR = 0xC5ACCE55u;
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1;
}

/* The counter wraps after about a minute; whoever measures longer must read it in between. */
uint64_t edge_port_ticks(void)
{
    static uint32_t last, wraps;
    const uint32_t now = DWT_CYCCNT;
    wraps += now < last;
    last = now;
    return ((uint64_t)wraps << 32) | now;
}

uint32_t edge_port_instructions(uint64_t ticks)
{
    (void)ticks; /* cycles are not instructions */
    return 0;
}

void edge_wake(void) {} /* SysTick: that it came is all */

/* Sleep until a byte or the tick comes, which is well before the watchdog's time. */
void edge_port_idle(bool soon)
{
    (void)soon;
    const uint32_t was = edge_irq_mask();
    SYST_RVR = 0xFFFFFF; /* a quarter of a second at 64 MHz */
    SYST_CVR = 0;
    SYST_CSR = 7;
    if (ring_head == ring_tail)
        __asm volatile("dsb\n\twfi" ::: "memory");
    SYST_CSR = 0;
    edge_irq_restore(was);
}

static const uint8_t *slot_at(uint32_t slot)
{
    return edge_slots_start + slot * ((uint32_t)(edge_slots_end - edge_slots_start) / EDGE_SLOTS);
}

const uint8_t *edge_port_slot(uint32_t slot) { return slot_at(slot); }

static edge_port_info info;

static void describe_memory(const char *name, uint32_t erase_unit, uint32_t clock_hz)
{
    info = (edge_port_info){
        .name = name,
        .arena = edge_arena_start,
        .arena_bytes = (uint32_t)(edge_arena_end - edge_arena_start),
        .slot_bytes = (uint32_t)(edge_slots_end - edge_slots_start) / EDGE_SLOTS,
        .record_bytes = erase_unit,
        .ticks_hz = clock_hz,
        .stack_bytes = (uint32_t)((uintptr_t)edge_stack_top - (uintptr_t)edge_stack_bottom),
        .static_bytes = (uint32_t)(((uintptr_t)edge_data_end - (uintptr_t)edge_data_start) +
                                   ((uintptr_t)edge_bss_end - (uintptr_t)edge_bss_start)),
    };
}

const edge_port_info *edge_port_describe(void) { return &info; }

static bool in_slot(uint32_t slot, uint32_t offset, uint32_t length, uint32_t unit)
{
    return slot < EDGE_SLOTS && offset <= info.slot_bytes && length <= info.slot_bytes - offset &&
           offset % unit == 0 && length % unit == 0;
}

uint32_t edge_port_stack_used(void) { return edge_cortex_m_stack_used(); }

void edge_port_restart(void) { edge_cortex_m_reset(1); }

#endif
