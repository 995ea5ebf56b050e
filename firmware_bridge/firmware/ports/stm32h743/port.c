/* ST NUCLEO-H743ZI2: USART3 (PD8, PD9) is the debug probe's serial port. Built, never run.
 *
 * After ST's reference manual RM0433. The chip stays at its reset clock, 64 MHz from HSI, and without data cache,
 * so that neither needs care; the instruction cache is on.
 */
#include "../cortex_m/serial_board.h"

#define CLOCK_HZ 64000000u

#define RCC_RSR EDGE_REG(0x580244D0)
#define RCC_AHB4ENR EDGE_REG(0x580244E0)
#define RCC_APB1LENR EDGE_REG(0x580244E8)

#define GPIOD_MODER EDGE_REG(0x58020C00)
#define GPIOD_AFRH EDGE_REG(0x58020C24)

#define USART3_CR1 EDGE_REG(0x40004800)
#define USART3_BRR EDGE_REG(0x4000480C)
#define USART3_ISR EDGE_REG(0x4000481C)
#define USART3_ICR EDGE_REG(0x40004820)
#define USART3_RDR EDGE_REG(0x40004824)
#define USART3_TDR EDGE_REG(0x40004828)
#define USART3_IRQ 39u

#define IWDG1_KR EDGE_REG(0x58004800)
#define IWDG1_PR EDGE_REG(0x58004804)
#define IWDG1_RLR EDGE_REG(0x58004808)

/* Flash bank 2 */
#define FLASH_KEYR2 EDGE_REG(0x52002104)
#define FLASH_CR2 EDGE_REG(0x5200210C)
#define FLASH_SR2 EDGE_REG(0x52002110)
#define FLASH_CCR2 EDGE_REG(0x52002114)
#define CR_LOCK 1u
#define CR_PG 2u
#define CR_SER 4u
#define CR_PSIZE_64 (3u << 4)
#define CR_START (1u << 7)
#define SR_QW 4u
#define SR_ERRORS 0x07EE0000u /* write protection, sequence, strobe, inconsistency, operation, ECC */
#define SECTOR_BYTES (128u << 10)
#define WORD_BYTES 32u

#define ICIALLU EDGE_REG(0xE000EF50)

static uint8_t cause;

static void start_cache(void)
{
    __asm volatile("dsb\n\tisb" ::: "memory");
    ICIALLU = 0;
    __asm volatile("dsb\n\tisb" ::: "memory");
    SCB_CCR |= 1u << 17;
    __asm volatile("dsb\n\tisb" ::: "memory");
}

static void start_uart(void)
{
    RCC_AHB4ENR |= 1u << 3;   /* GPIOD */
    RCC_APB1LENR |= 1u << 18; /* USART3 */
    (void)RCC_APB1LENR;       /* two cycles until it is there */
    GPIOD_MODER = (GPIOD_MODER & ~(0xFu << 16)) | 0xAu << 16; /* PD8, PD9: alternate function */
    GPIOD_AFRH = (GPIOD_AFRH & ~0xFFu) | 0x77u;               /* number 7 */
    USART3_BRR = (CLOCK_HZ + BAUD / 2) / BAUD;
    USART3_CR1 = 1u << 5 | 1u << 3 | 1u << 2 | 1u; /* RX interrupt, TX, RX, on */
    edge_irq_enable(USART3_IRQ);
}

void edge_uart_interrupt(void)
{
    while (USART3_ISR & 1u << 5)
        ring_put((uint8_t)USART3_RDR);
    USART3_ICR = 1u << 3; /* overrun */
}

static void uart_send(uint8_t byte)
{
    while (!(USART3_ISR & 1u << 7)) {
    }
    USART3_TDR = byte;
}

void edge_port_init(void)
{
    start_cache();
    cause = RCC_RSR & 1u << 26 ? 2 : edge_cortex_m_cause(); /* IWDG1 */
    RCC_RSR |= 1u << 16;                                    /* forget the causes */
    start_uart();
    start_counter();
    describe_memory("nucleo-h743zi2", SECTOR_BYTES, CLOCK_HZ);
    IWDG1_KR = 0xCCCC; /* start; then 32 s: 32 kHz / 256, 4096 counts */
    IWDG1_KR = 0x5555;
    IWDG1_PR = 6;
    IWDG1_RLR = 0xFFF;
    edge_port_watchdog();
}

uint8_t edge_port_reset_cause(void) { return cause; }

void edge_port_watchdog(void) { IWDG1_KR = 0xAAAA; }

static void unlock(void)
{
    if (FLASH_CR2 & CR_LOCK) {
        FLASH_KEYR2 = 0x45670123u;
        FLASH_KEYR2 = 0xCDEF89ABu;
    }
    FLASH_CCR2 = SR_ERRORS;
}

/* Wait for the bank; whether it did what it was told. The watchdog is fed: a sector may take seconds. */
static bool finished(void)
{
    while (FLASH_SR2 & SR_QW)
        edge_port_watchdog();
    const bool well = !(FLASH_SR2 & SR_ERRORS);
    FLASH_CCR2 = SR_ERRORS;
    return well;
}

bool edge_port_erase(uint32_t slot, uint32_t offset, uint32_t length)
{
    if (!in_slot(slot, offset, length, SECTOR_BYTES))
        return false;
    const uint32_t first = (slot * info.slot_bytes + offset) / SECTOR_BYTES;
    bool well = true;
    unlock();
    for (uint32_t i = 0; well && i < length / SECTOR_BYTES; i++) {
        FLASH_CR2 = CR_SER | CR_PSIZE_64 | (first + i) << 8;
        FLASH_CR2 |= CR_START;
        well = finished();
    }
    FLASH_CR2 = CR_LOCK;
    return well;
}

/* Flash words of 256 bits with an error code: each is written once between two erasures. */
bool edge_port_program(uint32_t slot, uint32_t offset, const uint8_t *data, uint32_t length)
{
    if (!in_slot(slot, offset, length, WORD_BYTES))
        return false;
    volatile uint32_t *to = (volatile uint32_t *)(uintptr_t)(slot_at(slot) + offset);
    bool well = true;
    unlock();
    FLASH_CR2 = CR_PG | CR_PSIZE_64;
    for (uint32_t done = 0; well && done < length; done += WORD_BYTES) {
        for (uint32_t i = 0; i < WORD_BYTES / 4; i++) {
            uint32_t word;
            memcpy(&word, data + done + 4 * i, 4);
            *to++ = word;
        }
        __asm volatile("dsb" ::: "memory");
        well = finished();
    }
    FLASH_CR2 = CR_LOCK;
    return well && memcmp(slot_at(slot) + offset, data, length) == 0;
}
