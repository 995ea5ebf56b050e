/* Test firmware: runs the images that lie in the slots' memory and writes what they give to the UART.
 *
 * In memory: n, then for each case offset and length of its image, offset of its input vectors, how many (u32 each).
 * Written: "EDGE"; for each case its status (u32) and, when that is 0, instructions (u32) and outputs of each vector.
 * After a fault: "FALT", exception, pc, lr, status, address.
 */
#include <string.h>

#include "../../firmware_bridge/firmware/engine/edge_engine.h"
#include "../../firmware_bridge/firmware/ports/port.h"

typedef struct {
    uint32_t image, length, inputs, vectors;
} test_case;

static void say(const void *data, uint32_t length) { edge_port_write(data, length); }

static void run(const edge_model *model, const uint8_t *inputs, uint32_t vectors)
{
    const edge_header *h = model->header;
    for (uint32_t v = 0; v < vectors; v++) {
        for (uint32_t i = 0; i < h->n_inputs; i++) {
            memcpy(edge_input(model, i), inputs, model->inputs[i].bytes);
            inputs += model->inputs[i].bytes;
        }
        const uint64_t from = edge_port_ticks();
        edge_invoke(model);
        const uint32_t instructions = edge_port_instructions(edge_port_ticks() - from);
        say(&instructions, 4);
        for (uint32_t i = 0; i < h->n_outputs; i++)
            say(edge_output(model, i), model->outputs[i].bytes);
    }
}

int main(void)
{
    edge_port_init();
    edge_retained *left = edge_port_retained();
    if (edge_port_reset_cause() == 3) {
        say("FALT", 4);
        say(&left->fault_kind, 20);
    }
    else {
        const edge_port_info *info = edge_port_describe();
        const uint8_t *memory = edge_port_slot(0);
        const uint32_t *head = (const uint32_t *)memory;
        const test_case *cases = (const test_case *)(head + 1);
        say("EDGE", 4);
        for (uint32_t c = 0; c < head[0]; c++) {
            edge_model model;
            const uint32_t status =
                edge_load(&model, memory + cases[c].image, cases[c].length, info->arena, info->arena_bytes);
            say(&status, 4);
            if (status == EDGE_OK)
                run(&model, memory + cases[c].inputs, cases[c].vectors);
            edge_port_watchdog();
        }
    }
    for (;;)
        edge_port_idle(false);
}
