/* Test firmware: an emitted model alone, without link and flashing; tells what stack it took to prove and run itself.
 *
 * Written: "FOOT", the engine's status and the bytes of stack (u32 each).
 */
#include "model.h"

#include "../../firmware_bridge/firmware/ports/port.h"

_Alignas(EDGE_ALIGNMENT) static uint8_t arena[MODEL_ARENA_BYTES];

int main(void)
{
    edge_port_init();
    edge_model model;
    uint32_t failed, told[2] = {0, 0};
    told[0] = edge_load(&model, model_image, MODEL_IMAGE_BYTES, arena, MODEL_ARENA_BYTES);
    if (told[0] == EDGE_OK)
        told[0] = edge_prove(&model, &failed);
    told[1] = edge_port_stack_used();
    edge_port_write((const uint8_t *)"FOOT", 4);
    edge_port_write((const uint8_t *)told, sizeof told);
    for (;;)
        edge_port_idle();
}
