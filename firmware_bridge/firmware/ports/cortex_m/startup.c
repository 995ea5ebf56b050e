/* Vector table, reset and faults of any Cortex-M board.
 *
 * board.h gives EDGE_INTERRUPTS: handlers of all EDGE_INTERRUPT_COUNT external interrupts, edge_fault_handler where
 * none is expected; EDGE_NMI_HANDLER and EDGE_SYSTICK_HANDLER.
 */
#include <stddef.h>

#include "../port.h"
#include "board.h"
#include "cortex_m.h"

int main(void);
void edge_reset_handler(void);
void edge_fault_handler(void);
void edge_fault(const uint32_t *frame);

typedef void (*handler)(void);

__attribute__((used, section(".vectors"))) static const struct {
    const uint32_t *stack;
    handler system[15];
    handler external[EDGE_INTERRUPT_COUNT];
} vectors = {
    edge_stack_top,
    {edge_reset_handler, EDGE_NMI_HANDLER, [2 ... 13] = edge_fault_handler, EDGE_SYSTICK_HANDLER},
    {EDGE_INTERRUPTS},
};

#define CAUSE_MAGIC 0x43415500u /* low byte: the cause */
#define PAINT 0xC5C5C5C5u

static uint32_t next_cause __attribute__((section(".retained")));
static edge_retained retained __attribute__((section(".retained")));
static uint8_t cause;

edge_retained *edge_port_retained(void) { return &retained; }

uint8_t edge_cortex_m_cause(void) { return cause; }

_Noreturn void edge_cortex_m_reset(uint8_t why)
{
    next_cause = CAUSE_MAGIC | why;
    __asm volatile("dsb" ::: "memory");
    SCB_AIRCR = 0x05FA0004u; /* SYSRESETREQ */
    __asm volatile("dsb" ::: "memory");
    for (;;) {
    }
}

uint32_t edge_cortex_m_stack_used(void)
{
    const volatile uint32_t *word = edge_stack_bottom;
    while (word < edge_stack_top && *word == PAINT)
        word++;
    return (uint32_t)((uintptr_t)edge_stack_top - (uintptr_t)word);
}

static void enable_faults_and_float(void)
{
    SCB_VTOR = (uint32_t)(uintptr_t)&vectors;
    SCB_CPACR |= 0xFu << 20;      /* FPU and MVE: CP10, CP11 */
    SCB_SHCSR |= 7u << 16;        /* memory, bus and usage faults under their own numbers */
    SCB_CCR |= 1u << 4;           /* division by zero is a fault */
    __asm volatile("dsb\n\tisb" ::: "memory");
}

/* Memory as C expects it. Volatile: these loops may not become calls before memory is ready. */
static void prepare_memory(void)
{
    volatile uint32_t *to = edge_data_start;
    for (const uint32_t *from = edge_data_load; to < edge_data_end; from++)
        *to++ = *from;
    for (to = edge_bss_start; to < edge_bss_end; to++)
        *to = 0;
    const uint32_t *here = __builtin_frame_address(0);
    for (to = edge_stack_bottom; to + 32 < here; to++) /* 128 bytes for this function itself */
        *to = PAINT;
}

__attribute__((used, noreturn)) static void start(void)
{
    enable_faults_and_float();
    prepare_memory();
    cause = (next_cause & 0xFFFFFF00u) == CAUSE_MAGIC ? (uint8_t)next_cause : 0;
    if (!cause)
        retained.magic = 0; /* power came on: what lies there means nothing */
    next_cause = CAUSE_MAGIC | 1; /* a reset that nobody announced: the pin */
    main();
    edge_cortex_m_reset(1);
}

/* A bootloader or debugger may have left any stack pointer. */
__attribute__((naked, noreturn)) void edge_reset_handler(void)
{
    __asm volatile("cpsid i\n\t"
                   "ldr r0, =edge_stack_top\n\t"
                   "mov sp, r0\n\t"
#if __ARM_ARCH >= 8
                   "ldr r0, =edge_stack_bottom\n\t"
                   "msr msplim, r0\n\t"
#endif
                   "cpsie i\n\t"
                   "b start");
}

/* The stack may be what is broken: note where the frame is, then start from its top again. */
__attribute__((naked)) void edge_fault_handler(void)
{
    __asm volatile("cpsid i\n\t"
                   "mov r0, sp\n\t"
                   "ldr r1, =edge_stack_top\n\t"
                   "mov sp, r1\n\t"
                   "b edge_fault");
}

__attribute__((used, noreturn)) void edge_fault(const uint32_t *frame)
{
    uint32_t number, configurable = SCB_CFSR;
    __asm volatile("mrs %0, ipsr" : "=r"(number));
    if (retained.magic != EDGE_RETAINED) {
        retained.magic = EDGE_RETAINED;
        retained.boots = 0;
    }
    const bool whole = frame >= edge_stack_bottom && frame + 8 <= edge_stack_top;
    retained.fault_kind = number & 0x1FFu;
    retained.pc = whole ? frame[6] : 0;
    retained.lr = whole ? frame[5] : 0;
    retained.status = configurable;
    retained.address = configurable & 0x80u ? SCB_MMFAR : configurable & 0x8000u ? SCB_BFAR : 0;
    retained.fault_boots = retained.boots;
    edge_cortex_m_reset(3);
}
