/* Registers of the Cortex-M system control space, and how its interrupts are held off. */
#ifndef EDGE_CORTEX_M_H
#define EDGE_CORTEX_M_H

#include <stdint.h>

#define EDGE_REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define SYST_CSR EDGE_REG(0xE000E010)
#define SYST_RVR EDGE_REG(0xE000E014)
#define SYST_CVR EDGE_REG(0xE000E018)
#define SCB_AIRCR EDGE_REG(0xE000ED0C)
#define SCB_CCR EDGE_REG(0xE000ED14)
#define SCB_SHCSR EDGE_REG(0xE000ED24)
#define SCB_CFSR EDGE_REG(0xE000ED28)
#define SCB_HFSR EDGE_REG(0xE000ED2C)
#define SCB_MMFAR EDGE_REG(0xE000ED34)
#define SCB_BFAR EDGE_REG(0xE000ED38)
#define SCB_CPACR EDGE_REG(0xE000ED88)
#define SCB_VTOR EDGE_REG(0xE000ED08)

static inline void edge_irq_enable(uint32_t number)
{
    EDGE_REG(0xE000E100 + 4 * (number / 32)) = (uint32_t)1 << (number % 32);
}

static inline void edge_irq_disable(uint32_t number)
{
    EDGE_REG(0xE000E180 + 4 * (number / 32)) = (uint32_t)1 << (number % 32);
    __asm volatile("dsb\n\tisb" ::: "memory");
}

static inline uint32_t edge_irq_mask(void)
{
    uint32_t was;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(was)::"memory");
    return was;
}

static inline void edge_irq_restore(uint32_t was) { __asm volatile("msr primask, %0" ::"r"(was) : "memory"); }

/* startup.c */
_Noreturn void edge_cortex_m_reset(uint8_t cause); /* cause: what edge_cortex_m_cause says after the restart */
uint8_t edge_cortex_m_cause(void);                 /* as edge_port_reset_cause */
uint32_t edge_cortex_m_stack_used(void);

/* From the linker script. */
extern uint32_t edge_stack_bottom[], edge_stack_top[];
extern uint32_t edge_data_load[], edge_data_start[], edge_data_end[], edge_bss_start[], edge_bss_end[];

#endif
