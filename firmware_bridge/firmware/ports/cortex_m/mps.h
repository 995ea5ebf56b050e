/* The port of Arm's MPS2 and MPS3 boards, as QEMU has them: CMSDK UART and watchdog, FPGAIO counters, RAM that plays
 * flash. Included by port.c of each family; its board.h gives the addresses, the linker script the memory.
 */
#include <string.h>

#include "../no_sensor.h"
#include "../port.h"
#include "board.h"
#include "cortex_m.h"

/* CMSDK APB UART */
#define UART_DATA EDGE_REG(BOARD_UART + 0x0)
#define UART_STATE EDGE_REG(BOARD_UART + 0x4) /* bit 0: TX full, 1: RX full */
#define UART_CONTROL EDGE_REG(BOARD_UART + 0x8)
#define UART_INTCLEAR EDGE_REG(BOARD_UART + 0xC)
#define UART_DIVIDER EDGE_REG(BOARD_UART + 0x10)

/* CMSDK APB watchdog: counts down, raises NMI, and resets when it runs down a second time. */
#define WATCHDOG_LOAD EDGE_REG(BOARD_WATCHDOG + 0x0)
#define WATCHDOG_CONTROL EDGE_REG(BOARD_WATCHDOG + 0x8) /* bit 0: count and interrupt, 1: reset */
#define WATCHDOG_CLEAR EDGE_REG(BOARD_WATCHDOG + 0xC)
#define WATCHDOG_LOCK EDGE_REG(BOARD_WATCHDOG + 0xC00)
#ifndef WATCHDOG_SECONDS
#define WATCHDOG_SECONDS 60u /* longer than the golden vectors of any model take */
#endif

#define FPGAIO_CLK100HZ EDGE_REG(BOARD_FPGAIO + 0x14)
#define FPGAIO_COUNTER EDGE_REG(BOARD_FPGAIO + 0x18)

/* One instruction under QEMU's -icount shift=7. */
#define INSTRUCTION_NS 128u

#define ERASE_UNIT 4096u

/* From the linker script. */
extern uint8_t edge_slots_start[], edge_slots_end[], edge_arena_start[], edge_arena_end[];

static volatile uint8_t ring[EDGE_RING_BYTES];
static volatile uint32_t ring_head, ring_tail; /* counts; head is the interrupt's */

static edge_port_info info;
static uint32_t instruction_overhead;
static bool counts_instructions;

void edge_watchdog_expired(void) { edge_cortex_m_reset(2); }

/* Wakes the idle board, so that the firmware says in time that it is well. */
void edge_wake(void) {}

/* Not where virtual time follows instructions: there a sleeping board's time leaps, and says nothing of its health. */
void edge_port_watchdog(void)
{
    if (counts_instructions)
        return;
    WATCHDOG_LOCK = 0x1ACCE551u;
    WATCHDOG_LOAD = WATCHDOG_SECONDS * BOARD_WATCHDOG_HZ;
    WATCHDOG_CLEAR = 1;
    WATCHDOG_CONTROL = 3;
    WATCHDOG_LOCK = 0;
}

/* An interrupt that finds the ring full leaves the byte in the UART: QEMU holds the next ones back. */
void edge_uart_rx(void)
{
    UART_INTCLEAR = 2;
    while (UART_STATE & 2) {
        if (ring_head - ring_tail == sizeof ring) {
            edge_irq_disable(BOARD_UART_RX_IRQ);
            return;
        }
        ring[ring_head % sizeof ring] = (uint8_t)UART_DATA;
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
    if (count) {
        const uint32_t was = edge_irq_mask();
        edge_uart_rx(); /* what came while the ring was full raises no second interrupt */
        edge_irq_restore(was);
        edge_irq_enable(BOARD_UART_RX_IRQ);
    }
    return count;
}

void edge_port_write(const uint8_t *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        while (UART_STATE & 1) {
        }
        UART_DATA = data[i];
    }
}

/* The fast counter's 32 bits wrap after minutes; the 100 Hz counter tells how often they did. Never
 * inlined, so that a reading costs the same everywhere. */
__attribute__((noinline)) uint64_t edge_port_ticks(void)
{
    const uint64_t slow = (uint64_t)FPGAIO_CLK100HZ * (BOARD_TICKS_HZ / 100u);
    const uint32_t fast = FPGAIO_COUNTER;
    const uint64_t wraps = (slow - fast + 0x80000000u) >> 32;
    return (wraps << 32) + fast;
}

/* ticks / (INSTRUCTION_NS * BOARD_TICKS_HZ / 10^9), to the nearest: exact, an instruction is over two ticks. */
static uint32_t to_instructions(uint64_t ticks)
{
    const uint32_t thousand = INSTRUCTION_NS * (BOARD_TICKS_HZ / 1000000u); /* ticks of a thousand instructions */
    return (uint32_t)((ticks * 1000u + thousand / 2) / thousand);
}

uint32_t edge_port_instructions(uint64_t ticks)
{
    const uint32_t all = to_instructions(ticks);
    return counts_instructions && all > instruction_overhead ? all - instruction_overhead : 0;
}

static __attribute__((noinline)) uint64_t time_loop(uint32_t rounds)
{
    const uint64_t from = edge_port_ticks();
    __asm volatile("1: subs %0, #1\n\tbne 1b" : "+r"(rounds)::"cc");
    return edge_port_ticks() - from;
}

/* Whether virtual time follows instructions (-icount shift=7): a loop of 2000 more must last just 2000 more. */
static void find_counting(void)
{
    counts_instructions = true;
    for (int i = 0; i < 3; i++) {
        const uint32_t few = to_instructions(time_loop(500)), many = to_instructions(time_loop(1500));
        counts_instructions = counts_instructions && many - few == 2000;
    }
    const uint64_t from = edge_port_ticks();
    instruction_overhead = to_instructions(edge_port_ticks() - from);
}

void edge_port_init(void)
{
    UART_DIVIDER = (BOARD_UART_HZ + BAUD / 2) / BAUD;
    UART_CONTROL = 1 | 2 | 8; /* TX, RX, RX interrupt */
    edge_irq_enable(BOARD_UART_RX_IRQ);
    find_counting();
    info = (edge_port_info){
        .name = BOARD_NAME,
        .arena = edge_arena_start,
        .arena_bytes = (uint32_t)(edge_arena_end - edge_arena_start),
        .slot_bytes = (uint32_t)(edge_slots_end - edge_slots_start) / EDGE_SLOTS,
        .record_bytes = ERASE_UNIT,
        .ticks_hz = BOARD_TICKS_HZ,
        .stack_bytes = (uint32_t)((uintptr_t)edge_stack_top - (uintptr_t)edge_stack_bottom),
        .static_bytes = (uint32_t)(((uintptr_t)edge_data_end - (uintptr_t)edge_data_start) +
                                   ((uintptr_t)edge_bss_end - (uintptr_t)edge_bss_start)),
    };
    edge_port_watchdog();
    if (!counts_instructions) {
        SYST_RVR = 0xFFFFFFu; /* about half a second */
        SYST_CVR = 0;
        SYST_CSR = 7;
    }
}

const edge_port_info *edge_port_describe(void) { return &info; }

static uint8_t *slot_at(uint32_t slot) { return edge_slots_start + slot * info.slot_bytes; }

static bool in_slot(uint32_t slot, uint32_t offset, uint32_t length)
{
    return slot < EDGE_SLOTS && offset <= info.slot_bytes && length <= info.slot_bytes - offset;
}

const uint8_t *edge_port_slot(uint32_t slot) { return slot_at(slot); }

bool edge_port_erase(uint32_t slot, uint32_t offset, uint32_t length)
{
    if (!in_slot(slot, offset, length) || offset % ERASE_UNIT || length % ERASE_UNIT)
        return false;
    memset(slot_at(slot) + offset, 0xFF, length);
    return true;
}

/* As flash does it: programming clears bits, and fails where one would have to be set. */
bool edge_port_program(uint32_t slot, uint32_t offset, const uint8_t *data, uint32_t length)
{
    if (!in_slot(slot, offset, length))
        return false;
    uint8_t *to = slot_at(slot) + offset;
    bool done = true;
    for (uint32_t i = 0; i < length; i++) {
        to[i] &= data[i];
        done = done && to[i] == data[i];
    }
    return done;
}

uint8_t edge_port_reset_cause(void) { return edge_cortex_m_cause(); }

uint32_t edge_port_stack_used(void) { return edge_cortex_m_stack_used(); }

void edge_port_idle(bool soon)
{
    const uint32_t was = edge_irq_mask();
    if (ring_head == ring_tail && !soon) /* no timer here would wake it */
        __asm volatile("wfi" ::: "memory");
    edge_irq_restore(was);
}

void edge_port_restart(void) { edge_cortex_m_reset(1); }
