/* What a board gives the firmware. One small file a board implements this; everything else is shared. */
#ifndef EDGE_PORT_H
#define EDGE_PORT_H

#include <stdbool.h>
#include <stdint.h>

#define EDGE_SLOTS 2u

/* Of the ring that an interrupt puts what comes over the line in: a power of two, more than a frame has. */
#ifndef EDGE_RING_BYTES
#define EDGE_RING_BYTES 4096u
#endif

/* Of the serial line. */
#ifndef BAUD
#define BAUD 115200u
#endif

/* Memory that keeps its content over a restart (not over a loss of power); what faults and resets leave behind. */
typedef struct {
    uint32_t magic; /* EDGE_RETAINED when the rest means something */
    uint32_t boots;
    uint32_t fault_kind; /* 0 none, else the exception's number */
    uint32_t pc, lr, status, address;
    uint32_t fault_boots; /* `boots` at the fault */
} edge_retained;
#define EDGE_RETAINED 0x52455431u

typedef struct {
    const char *name;       /* e.g. "mps2-an386" */
    uint8_t *arena;         /* aligned to 16 bytes */
    uint32_t arena_bytes;
    uint32_t slot_bytes;    /* of each slot, its last `record_bytes` for the slot's record */
    uint32_t record_bytes;  /* one erasable unit */
    uint32_t ticks_hz;      /* of edge_port_ticks */
    uint32_t stack_bytes;
    uint32_t static_bytes;  /* .data and .bss without arena */
} edge_port_info;

/* Clocks, UART, timer; called once. */
void edge_port_init(void);
const edge_port_info *edge_port_describe(void);

/* What has come in, up to `capacity` bytes, without waiting. */
uint32_t edge_port_read(uint8_t *data, uint32_t capacity);
/* Send all of it, waiting as long as that takes. */
void edge_port_write(const uint8_t *data, uint32_t length);

/* A sensor's rows: so many numbers each, of 16-bit integers or of floats. */
typedef struct {
    uint8_t channels;
    uint8_t format;     /* EDGE_INT16 or EDGE_FLOAT32 */
    uint32_t rate_mhz;  /* rows in 1000 seconds, 0 where that is not fixed */
} edge_sensor;
enum { EDGE_INT16 = 0, EDGE_FLOAT32 = 1 };

/* NULL on a board without a sensor (ports/no_sensor.h). */
const edge_sensor *edge_port_sensor(void);
/* Measure from now on, and forget what was measured before; or stop. */
void edge_port_sense(bool on);
/* Rows measured since the last call, oldest first, little-endian: at most `capacity`, without waiting; returns how
 * many. `missed` is how many rows before these are lost, because nobody asked in time. */
uint32_t edge_port_sample(uint8_t *rows, uint32_t capacity, uint32_t *missed);

uint64_t edge_port_ticks(void);
/* Exact number of instructions between two readings of ticks, or 0 where the board cannot tell. */
uint32_t edge_port_instructions(uint64_t ticks);

/* Slot memory, readable in place, aligned to 16 bytes. Erased bytes read as 0xFF. */
const uint8_t *edge_port_slot(uint32_t slot);
bool edge_port_erase(uint32_t slot, uint32_t offset, uint32_t length);
bool edge_port_program(uint32_t slot, uint32_t offset, const uint8_t *data, uint32_t length);

edge_retained *edge_port_retained(void);
uint8_t edge_port_reset_cause(void); /* 0 power, 1 pin or request, 2 watchdog, 3 fault */
uint32_t edge_port_stack_used(void); /* at most so far */
void edge_port_watchdog(void);       /* called whenever the firmware is well; resets the board when that stops */
/* Nothing to do: sleep until something comes; `soon`: a tenth of a second at the most. */
void edge_port_idle(bool soon);
void edge_port_restart(void);        /* does not return */

#endif
