/* Nordic nRF52840-DK. Built, never run. */
#ifndef EDGE_BOARD_H
#define EDGE_BOARD_H

#define EDGE_INTERRUPT_COUNT 48
#define EDGE_INTERRUPTS [0 ... 1] = edge_fault_handler, [2] = edge_uart_interrupt, [3 ... 47] = edge_fault_handler
#define EDGE_NMI_HANDLER edge_fault_handler
#define EDGE_SYSTICK_HANDLER edge_wake

void edge_uart_interrupt(void);
void edge_wake(void);

#endif
