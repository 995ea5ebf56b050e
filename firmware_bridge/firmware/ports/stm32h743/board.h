/* ST NUCLEO-H743ZI2. Built, never run. */
#ifndef EDGE_BOARD_H
#define EDGE_BOARD_H

#define EDGE_INTERRUPT_COUNT 150
#define EDGE_INTERRUPTS [0 ... 38] = edge_fault_handler, [39] = edge_uart_interrupt, [40 ... 149] = edge_fault_handler
#define EDGE_NMI_HANDLER edge_fault_handler
#define EDGE_SYSTICK_HANDLER edge_wake

void edge_uart_interrupt(void);
void edge_wake(void);

#endif
