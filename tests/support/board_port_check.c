/* Test firmware for ports: does what a letter on the UART asks, and says what came of it as a line of text. */
#include <string.h>

#include "../../firmware_bridge/firmware/ports/port.h"

/* Where nothing is. */
#if __ARM_ARCH >= 8
#define ABSENT 0x18000000u
#else
#define ABSENT 0xDFFFFFFCu
#endif

static uint8_t next(void)
{
    uint8_t byte;
    while (edge_port_read(&byte, 1) == 0) {
        edge_port_watchdog();
        edge_port_idle(false);
    }
    return byte;
}

static void line(const char *name, const uint32_t *values, int count)
{
    edge_port_write((const uint8_t *)name, (uint32_t)strlen(name));
    for (int i = 0; i < count; i++) {
        uint8_t text[11], *at = text + sizeof text;
        uint32_t left = values[i];
        do
            *--at = (uint8_t)('0' + left % 10);
        while (left /= 10);
        *--at = ' ';
        edge_port_write(at, (uint32_t)(text + sizeof text - at));
    }
    edge_port_write((const uint8_t *)"\n", 1);
}

static void start(void)
{
    edge_retained *r = edge_port_retained();
    if (r->magic != EDGE_RETAINED)
        *r = (edge_retained){.magic = EDGE_RETAINED};
    r->boots++;
    const uint32_t values[] = {edge_port_reset_cause(), r->boots, r->fault_kind, r->pc, r->lr, r->address, r->fault_boots};
    line("start", values, 7);
}

static void slots(void)
{
    const edge_port_info *info = edge_port_describe();
    const uint8_t first = 0x0F, cleared = 0x05, set = 0xF5;
    const uint8_t *slot = edge_port_slot(1);
    uint32_t v[12], n = 0;
    v[n++] = edge_port_erase(1, 0, info->record_bytes);
    v[n++] = slot[3];
    v[n++] = edge_port_program(1, 3, &first, 1);
    v[n++] = slot[3];
    v[n++] = edge_port_program(1, 3, &cleared, 1);
    v[n++] = slot[3];
    v[n++] = edge_port_program(1, 3, &set, 1); /* a bit would have to be set */
    v[n++] = slot[3];
    v[n++] = edge_port_erase(1, 1, info->record_bytes);  /* not a whole unit */
    v[n++] = edge_port_program(1, info->slot_bytes, &first, 1);
    v[n++] = edge_port_erase(2, 0, info->record_bytes);
    v[n++] = (uint32_t)(edge_port_slot(1) - edge_port_slot(0)) == info->slot_bytes;
    line("slots", v, (int)n);
}

static __attribute__((noinline)) uint32_t deep(uint32_t n)
{
    volatile uint8_t room[64];
    room[n % 64] = (uint8_t)n;
    return n ? deep(n - 1) + room[0] : room[0];
}

static void stack(void)
{
    const uint32_t before = edge_port_stack_used();
    deep(50);
    const uint32_t v[] = {before, edge_port_stack_used(), edge_port_describe()->stack_bytes};
    line("stack", v, 3);
}

/* More than any buffer holds arrives before the first byte is read. */
static void sum(void)
{
    uint32_t total = 0, count = 0;
    const uint64_t from = edge_port_ticks();
    while (edge_port_ticks() - from < edge_port_describe()->ticks_hz / 4) {
    }
    for (uint32_t place = 1; count < 20000; count++)
        total += place++ * next();
    line("sum", &total, 1);
}

int main(void)
{
    edge_port_init();
    start();
    for (;;) {
        switch (next()) {
        case 'l': slots(); break;
        case 's': stack(); break;
        case 'u': sum(); break;
        case 'r': edge_port_restart(); break;
        case 'f': *(volatile uint32_t *)ABSENT = 1; break;
        case 'z': __asm volatile("udf #0"); break;
        case 'o': deep(100000); break;
        case 'h': for (;;) {} break;
        default: break;
        }
    }
}
