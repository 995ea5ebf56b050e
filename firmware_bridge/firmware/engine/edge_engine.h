/* The engine: runs a model image in place. C99, no allocation, of libc only memcpy and memset. */
#ifndef EDGE_ENGINE_H
#define EDGE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#define EDGE_ABI 2u
#define EDGE_MAGIC 0x4D444145u /* "EADM" */
#define EDGE_ALIGNMENT 16u     /* of the image and of the arena */

/* Kernel sets; an image's weights are packed for one of them. */
#define EDGE_PLAIN 0
#define EDGE_DSP 1
#define EDGE_MVE 2
#ifndef EDGE_KERNELS
#define EDGE_KERNELS EDGE_PLAIN
#endif

/* What is built: of each operator its bit, by number, and whether monitors are; all of it, unless the compiler is told
 * otherwise. Images that need more are refused. */
#ifndef EDGE_BUILT
#define EDGE_BUILT 0xFFFFFFFFFFFFFFFFull
#endif
#ifndef EDGE_JUDGES
#define EDGE_JUDGES 1
#endif

typedef enum {
    EDGE_OK = 0,
    EDGE_NO_IMAGE,    /* no magic: nothing there */
    EDGE_WRONG_ABI,   /* made for another engine */
    EDGE_WRONG_KERNELS,
    EDGE_TRUNCATED,   /* longer than its slot, or shorter than its header says */
    EDGE_BAD_CRC,
    EDGE_BAD_IMAGE,   /* an offset, a size or an operator that cannot be */
    EDGE_ARENA_FULL,  /* needs more memory than there is */
    EDGE_GOLDEN_FAILED,
    EDGE_NOT_BUILT /* needs an operator, or a monitor, that was left out */
} edge_status;

typedef struct {
    uint32_t magic;
    uint16_t abi;
    uint16_t kernels;
    uint32_t length;
    uint32_t crc; /* of everything behind it, length - 16 bytes */
    uint32_t arena_bytes;
    uint32_t steps; /* offset of n_steps edge_step */
    uint32_t n_steps;
    uint32_t ports; /* offset of n_inputs + n_outputs edge_port */
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t golden; /* offset of n_golden vectors: all inputs, then all outputs */
    uint32_t n_golden;
    uint32_t macs;
    uint32_t monitor; /* offset of what the board decides by; 0: it only computes */
    uint32_t reserved; /* 0 */
} edge_header;

typedef struct {
    uint16_t opcode;
    uint16_t node; /* of the .tflite file */
    uint32_t record;
    uint32_t output; /* what it writes, for rigs that compare operator by operator */
    uint32_t output_bytes;
} edge_step;

typedef struct {
    uint32_t offset; /* into the arena */
    uint32_t bytes;
} edge_port;

typedef struct {
    const uint8_t *image;
    uint8_t *arena;
    const edge_header *header;
    const edge_step *steps;
    const edge_port *inputs;
    const edge_port *outputs;
} edge_model;

/* Check an image of at most `capacity` bytes and make `model` of it. Image and arena aligned to EDGE_ALIGNMENT.
 * After EDGE_OK no step can read or write outside image and arena, whatever the input. */
edge_status edge_load(edge_model *model, const uint8_t *image, uint32_t capacity, uint8_t *arena,
                      uint32_t arena_capacity);

/* Run all steps. Inputs lie in the arena (edge_input) and may be overwritten; outputs are in edge_output. */
void edge_invoke(const edge_model *model);

/* Run one step: edge_invoke is all of them in order. */
void edge_run_step(const edge_model *model, uint32_t step);

uint8_t *edge_input(const edge_model *model, uint32_t index);
const uint8_t *edge_output(const edge_model *model, uint32_t index);

/* The operators that are built, one bit each by number. */
uint64_t edge_operators(void);

/* Run every golden vector of the image: EDGE_OK or EDGE_GOLDEN_FAILED; *failed: the first that differs. */
edge_status edge_prove(const edge_model *model, uint32_t *failed);

/* CRC-32 as zlib's; begin with crc = 0. */
uint32_t edge_crc32(uint32_t crc, const uint8_t *data, size_t length);

#endif
