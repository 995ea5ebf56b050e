/* Arm MPS2 with the AN386 (Cortex-M4F) or AN500 (Cortex-M7) image. */
#ifndef EDGE_BOARD_H
#define EDGE_BOARD_H

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && (__ARM_FP & 8)
#define BOARD_NAME "mps2-an500" /* its FPU has double precision */
#else
#define BOARD_NAME "mps2-an386"
#endif

#define BOARD_UART 0x40004000u
#define BOARD_UART_RX_IRQ 0u
#define BOARD_WATCHDOG 0x40008000u
#define BOARD_WATCHDOG_HZ 25000000u
#define BOARD_FPGAIO 0x40028000u
#define BOARD_TICKS_HZ 25000000u /* of FPGAIO's COUNTER */
#define BOARD_UART_HZ 25000000u

#define EDGE_INTERRUPT_COUNT 32
#define EDGE_INTERRUPTS edge_uart_rx, [1 ... 31] = edge_fault_handler
#define EDGE_NMI_HANDLER edge_watchdog_expired
#define EDGE_SYSTICK_HANDLER edge_wake

void edge_uart_rx(void);
void edge_watchdog_expired(void);
void edge_wake(void);

#endif
