/* Arm MPS3 with the AN547 image (SSE-300, Cortex-M55), in its secure state. */
#ifndef EDGE_BOARD_H
#define EDGE_BOARD_H

#define BOARD_NAME "mps3-an547"
#define BOARD_UART 0x59303000u
#define BOARD_UART_RX_IRQ 33u
#define BOARD_WATCHDOG 0x5802E000u /* the SSE-300's slow clock watchdog */
#define BOARD_WATCHDOG_HZ 32768u
#define BOARD_FPGAIO 0x59302000u
#define BOARD_TICKS_HZ 20000000u /* of FPGAIO's COUNTER, as QEMU 7.2 runs it */
#define BOARD_UART_HZ 25000000u

#define EDGE_INTERRUPT_COUNT 96
#define EDGE_INTERRUPTS [0 ... 32] = edge_fault_handler, [33] = edge_uart_rx, [34 ... 95] = edge_fault_handler
#define EDGE_NMI_HANDLER edge_watchdog_expired
#define EDGE_SYSTICK_HANDLER edge_wake

void edge_uart_rx(void);
void edge_watchdog_expired(void);
void edge_wake(void);

#endif
