/* Test firmware: an emitted model alone, without link and flashing, proves itself and tells what that took.
 *
 * Written: "FOOT", the engine's status, bytes of stack, instructions of an inference (u32 each).
 */
#include "model.h"

#include "../../firmware_bridge/firmware/ports/port.h"

_Alignas(EDGE_ALIGNMENT) static uint8_t arena[MODEL_ARENA_BYTES];

int main(void)
{
    edge_port_init();
    edge_model model;
    uint32_t failed, told[3] = {0, 0, 0};
    told[0] = edge_load(&model, model_image, MODEL_IMAGE_BYTES, arena, MODEL_ARENA_BYTES);
    if (told[0] == EDGE_OK)
        told[0] = edge_prove(&model, &failed);
    const uint64_t from = edge_port_ticks();
    if (told[0] == EDGE_OK)
        edge_invoke(&model);
    told[2] = edge_port_instructions(edge_port_ticks() - from);
    told[1] = edge_port_stack_used();
    edge_port_write((const uint8_t *)"FOOT", 4);
    edge_port_write((const uint8_t *)told, sizeof told);
    for (;;)
        edge_port_idle(false);
}
