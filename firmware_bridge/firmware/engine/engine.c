/* Loading an image, and running its steps. */
#include "internal.h"
#include "monitor.h"

#define DECLARE(name)                                                 \
    bool edge_check_##name(const edge_model *m, const edge_##name *p); \
    void edge_run_##name(const edge_model *m, const edge_##name *p);
EDGE_OPERATORS(DECLARE)

enum {
#define NUMBER(name) OP_##name,
    EDGE_OPERATORS(NUMBER) N_OPERATORS
};

static bool inside(uint64_t offset, uint64_t bytes, uint64_t limit)
{
    return offset <= limit && bytes <= limit - offset;
}

bool edge_readable(const edge_model *m, edge_ref ref, uint64_t bytes, uint32_t align)
{
    if (ref == EDGE_NO_REF || ref % align)
        return false;
    if (ref & EDGE_IN_IMAGE)
        return inside(ref & ~EDGE_IN_IMAGE, bytes, m->header->length);
    return inside(ref, bytes, m->header->arena_bytes);
}

bool edge_writable(const edge_model *m, edge_ref ref, uint64_t bytes, uint32_t align)
{
    return !(ref & EDGE_IN_IMAGE) && edge_readable(m, ref, bytes, align);
}

uint64_t edge_extent(int32_t a, int32_t b, int32_t c, int32_t d)
{
    const int32_t extents[4] = {a, b, c, d};
    uint64_t product = 1;
    for (int i = 0; i < 4; i++) {
        if (extents[i] < 1 || extents[i] > 1 << 24)
            return 0;
        product *= (uint64_t)extents[i];
        if (product > (uint64_t)1 << 31)
            return 0;
    }
    return product;
}

bool edge_scales_ok(const int32_t *multipliers, const int32_t *shifts, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (multipliers[i] < 0 || shifts[i] < -31 || shifts[i] > 30)
            return false;
    return true;
}

static bool loops(uint16_t opcode)
{
#define LOOPS(name)           \
    if (opcode == OP_##name) \
        return true;
    EDGE_LOOPS(LOOPS)
    return opcode >= N_OPERATORS;
}

bool edge_steps_before(const edge_model *m, const void *record, int32_t first, int32_t count)
{
    const uint32_t place = (uint32_t)((const uint8_t *)record - m->image), n = m->header->n_steps;
    if (first < 0 || count < 1)
        return false;
    const uint64_t end = (uint64_t)first + (uint64_t)count;
    for (uint32_t i = 0; i < n && i < end; i++)
        if (m->steps[i].record == place || (i >= (uint32_t)first && loops(m->steps[i].opcode)))
            return false;
    return end <= n;
}

static bool step_ok(const edge_model *m, const edge_step *step)
{
    const edge_ref record = step->record | EDGE_IN_IMAGE;
    if (step->record & EDGE_IN_IMAGE)
        return false;
    if (step->output != EDGE_NO_REF && !edge_writable(m, step->output, step->output_bytes, 1))
        return false;
    switch (step->opcode) {
#define CHECK(name)     \
    case OP_##name:     \
        return edge_readable(m, record, sizeof(edge_##name), 4) && \
               edge_check_##name(m, (const edge_##name *)edge_at(m, record));
        EDGE_OPERATORS(CHECK)
    default:
        return false;
    }
}

static edge_status header_ok(const edge_header *h, uint32_t capacity)
{
    if (capacity < sizeof *h || h->magic != EDGE_MAGIC)
        return EDGE_NO_IMAGE;
    if (h->abi != EDGE_ABI)
        return EDGE_WRONG_ABI;
    if (h->kernels != EDGE_KERNELS)
        return EDGE_WRONG_KERNELS;
    if (h->length < sizeof *h || h->length > capacity || h->length >= EDGE_IN_IMAGE)
        return EDGE_TRUNCATED;
    return EDGE_OK;
}

static bool tables_ok(const edge_model *m)
{
    const edge_header *h = m->header;
    const uint64_t ports = (uint64_t)h->n_inputs + h->n_outputs;
    if (h->steps % 4 || h->ports % 4 || !h->n_inputs || !h->n_outputs || ports > 64)
        return false;
    if (!inside(h->steps, (uint64_t)h->n_steps * sizeof(edge_step), h->length) ||
        !inside(h->ports, ports * sizeof(edge_port), h->length))
        return false;
    if (h->reserved)
        return false;
    uint64_t vector = 0;
    for (uint32_t i = 0; i < ports; i++) {
        if (!inside(m->inputs[i].offset, m->inputs[i].bytes, h->arena_bytes))
            return false;
        vector += m->inputs[i].bytes;
    }
    return h->n_golden <= 1024 && inside(h->golden, vector * h->n_golden, h->length);
}

edge_status edge_load(edge_model *model, const uint8_t *image, uint32_t capacity, uint8_t *arena,
                      uint32_t arena_capacity)
{
    const edge_header *h = (const edge_header *)image;
    const edge_status status = header_ok(h, capacity);
    if (status != EDGE_OK)
        return status;
    if (edge_crc32(0, image + 16, h->length - 16) != h->crc)
        return EDGE_BAD_CRC;
    if (h->arena_bytes > arena_capacity)
        return EDGE_ARENA_FULL;
    model->image = image;
    model->arena = arena;
    model->header = h;
    model->steps = (const edge_step *)(image + h->steps);
    model->inputs = (const edge_port *)(image + h->ports);
    model->outputs = model->inputs + h->n_inputs;
    if (!tables_ok(model))
        return EDGE_BAD_IMAGE;
    for (uint32_t i = 0; i < h->n_steps; i++)
        if (!step_ok(model, &model->steps[i]))
            return EDGE_BAD_IMAGE;
    return edge_check_monitor(model) ? EDGE_OK : EDGE_BAD_IMAGE;
}

#ifdef EDGE_PLANTED_FAULT
/* Set by tests of rigs alone, to the name of an operator, which then gives a wrong byte; with EDGE_PLANTED_RARE=N only
 * for tensors whose bytes sum up to a multiple of N. */
#ifndef EDGE_PLANTED_RARE
#define EDGE_PLANTED_RARE 1u
#endif
#define PLANTED_(name) OP_##name
#define PLANTED(name) PLANTED_(name)
static void plant(const edge_model *m, const edge_step *step)
{
    uint32_t sum = 0;
    if (step->opcode != PLANTED(EDGE_PLANTED_FAULT) || step->output == EDGE_NO_REF || !step->output_bytes)
        return;
    for (uint32_t i = 0; i < step->output_bytes; i++)
        sum += m->arena[step->output + i];
    if (sum % EDGE_PLANTED_RARE == 0)
        m->arena[step->output + step->output_bytes / 2] ^= 0x55;
}
#else
#define plant(model, step) ((void)0)
#endif

void edge_run_step(const edge_model *m, uint32_t number)
{
    const edge_step *step = &m->steps[number];
    switch (step->opcode) {
#define RUN(name)   \
    case OP_##name: \
        edge_run_##name(m, (const edge_##name *)(m->image + step->record)); \
        break;
        EDGE_OPERATORS(RUN)
    default:
        break;
    }
    plant(m, step);
}

void edge_invoke(const edge_model *m)
{
    for (uint32_t i = 0; i < m->header->n_steps; i++)
        edge_run_step(m, i);
}

uint8_t *edge_input(const edge_model *m, uint32_t index) { return m->arena + m->inputs[index].offset; }

const uint8_t *edge_output(const edge_model *m, uint32_t index)
{
    return m->arena + m->outputs[index].offset;
}

static bool equal(const uint8_t *a, const uint8_t *b, uint32_t count)
{
    while (count && *a == *b)
        a++, b++, count--;
    return count == 0;
}

edge_status edge_prove(const edge_model *m, uint32_t *failed)
{
    const edge_header *h = m->header;
    const uint8_t *vector = m->image + h->golden;
    for (uint32_t g = 0; g < h->n_golden; g++) {
        for (uint32_t i = 0; i < h->n_inputs; i++) {
            memcpy(edge_input(m, i), vector, m->inputs[i].bytes);
            vector += m->inputs[i].bytes;
        }
        edge_invoke(m);
        for (uint32_t i = 0; i < h->n_outputs; i++) {
            if (!equal(edge_output(m, i), vector, m->outputs[i].bytes)) {
                *failed = g;
                return EDGE_GOLDEN_FAILED;
            }
            vector += m->outputs[i].bytes;
        }
    }
    return EDGE_OK;
}

uint32_t edge_crc32(uint32_t crc, const uint8_t *data, size_t length)
{
    static const uint32_t nibble[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu,
                                        0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
                                        0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    crc = ~crc;
    while (length--) {
        crc ^= *data++;
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return ~crc;
}
