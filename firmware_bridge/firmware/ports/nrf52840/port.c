/* Nordic nRF52840-DK: UART0 (P0.06, P0.08) is the debug probe's serial port. Built, never run.
 *
 * After Nordic's product specification of the nRF52840.
 */
#include "../cortex_m/serial_board.h"

#define CLOCK_HZ 64000000u
#define TX_PIN 6u
#define RX_PIN 8u

#define CLOCK_HFCLKSTART EDGE_REG(0x40000000)
#define CLOCK_HFCLKSTARTED EDGE_REG(0x40000100)
#define POWER_RESETREAS EDGE_REG(0x40000400)

#define UART_STARTRX EDGE_REG(0x40002000)
#define UART_STARTTX EDGE_REG(0x40002008)
#define UART_RXDRDY EDGE_REG(0x40002108)
#define UART_TXDRDY EDGE_REG(0x4000211C)
#define UART_ERROR EDGE_REG(0x40002124)
#define UART_INTENSET EDGE_REG(0x40002304)
#define UART_ERRORSRC EDGE_REG(0x40002480)
#define UART_ENABLE EDGE_REG(0x40002500)
#define UART_PSELTXD EDGE_REG(0x4000250C)
#define UART_PSELRXD EDGE_REG(0x40002514)
#define UART_RXD EDGE_REG(0x40002518)
#define UART_TXD EDGE_REG(0x4000251C)
#define UART_BAUDRATE EDGE_REG(0x40002524)
#define UART_IRQ 2u
#if BAUD == 115200
#define BAUD_SETTING 0x01D7E000u
#elif BAUD == 921600
#define BAUD_SETTING 0x0F000000u /* 941176, 2 % above */
#else
#error "this UART has 115200 and 921600 baud"
#endif

#define GPIO_OUTSET EDGE_REG(0x50000508)
#define GPIO_PIN_CNF(pin) EDGE_REG(0x50000700u + 4u * (pin))

#define WDT_START EDGE_REG(0x40010000)
#define WDT_CRV EDGE_REG(0x40010504)
#define WDT_CONFIG EDGE_REG(0x4001050C)
#define WDT_RR0 EDGE_REG(0x40010600)

#define NVMC_READY EDGE_REG(0x4001E400)
#define NVMC_CONFIG EDGE_REG(0x4001E504) /* 0 read, 1 write, 2 erase */
#define NVMC_ERASEPAGE EDGE_REG(0x4001E508)
#define NVMC_ICACHECNF EDGE_REG(0x4001E540)
#define PAGE_BYTES 4096u

static uint8_t cause;

static void start_uart(void)
{
    CLOCK_HFCLKSTART = 1; /* the crystal: the internal oscillator is too coarse for a UART */
    while (!CLOCK_HFCLKSTARTED) {
    }
    GPIO_OUTSET = 1u << TX_PIN; /* idle before it is driven */
    GPIO_PIN_CNF(TX_PIN) = 1;
    GPIO_PIN_CNF(RX_PIN) = 3u << 2; /* input with pull-up */
    UART_PSELTXD = TX_PIN;
    UART_PSELRXD = RX_PIN;
    UART_BAUDRATE = BAUD_SETTING;
    UART_ENABLE = 4;
    UART_INTENSET = 1u << 2 | 1u << 9; /* a byte, an error */
    UART_STARTTX = 1;
    UART_STARTRX = 1;
    UART_TXDRDY = 0;
    edge_irq_enable(UART_IRQ);
}

void edge_uart_interrupt(void)
{
    while (UART_RXDRDY) {
        UART_RXDRDY = 0; /* before the byte is read: the next may follow at once */
        ring_put((uint8_t)UART_RXD);
    }
    if (UART_ERROR) {
        UART_ERROR = 0;
        UART_ERRORSRC = UART_ERRORSRC;
    }
}

static void uart_send(uint8_t byte)
{
    UART_TXD = byte;
    while (!UART_TXDRDY) {
    }
    UART_TXDRDY = 0;
}

void edge_port_init(void)
{
    cause = POWER_RESETREAS & 2u ? 2 : edge_cortex_m_cause(); /* watchdog */
    POWER_RESETREAS = 0xFFFFFFFFu;
    NVMC_ICACHECNF = 1;
    start_uart();
    start_counter();
    describe_memory("nrf52840-dk", PAGE_BYTES, CLOCK_HZ);
    WDT_CONFIG = 0; /* pauses while the CPU sleeps and while a debugger halts it */
    WDT_CRV = 32768u * 30u;
    WDT_START = 1;
    edge_port_watchdog();
}

uint8_t edge_port_reset_cause(void) { return cause; }

void edge_port_watchdog(void) { WDT_RR0 = 0x6E524635u; }

static void wait_for_flash(void)
{
    while (!NVMC_READY) {
    }
}

bool edge_port_erase(uint32_t slot, uint32_t offset, uint32_t length)
{
    if (!in_slot(slot, offset, length, PAGE_BYTES))
        return false;
    const uint32_t from = (uint32_t)(uintptr_t)(slot_at(slot) + offset);
    for (uint32_t page = from; page < from + length; page += PAGE_BYTES) {
        NVMC_CONFIG = 2;
        wait_for_flash();
        NVMC_ERASEPAGE = page;
        wait_for_flash();
        NVMC_CONFIG = 0;
        edge_port_watchdog();
    }
    return true;
}

bool edge_port_program(uint32_t slot, uint32_t offset, const uint8_t *data, uint32_t length)
{
    if (!in_slot(slot, offset, length, 4))
        return false;
    volatile uint32_t *to = (volatile uint32_t *)(uintptr_t)(slot_at(slot) + offset);
    NVMC_CONFIG = 1;
    wait_for_flash();
    for (uint32_t i = 0; i < length / 4; i++) {
        uint32_t word;
        memcpy(&word, data + 4 * i, 4);
        *to++ = word;
        wait_for_flash();
    }
    NVMC_CONFIG = 0;
    return memcmp(slot_at(slot) + offset, data, length) == 0;
}
