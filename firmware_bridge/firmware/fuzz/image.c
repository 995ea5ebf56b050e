/* The image loader: any image whose checksum is right; one that loads is run, under the sanitizers' eyes. */
#include <stdlib.h>
#include <string.h>

#include "../engine/edge_engine.h"

#define ARENA_BYTES (256u << 10)
#define MOST_STEPS 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < sizeof(edge_header) || size > 1u << 20)
        return 0;
    uint8_t *image = aligned_alloc(16, (size + 15) / 16 * 16), *arena = aligned_alloc(16, ARENA_BYTES);
    memcpy(image, data, size);
    memset(arena, 0, ARENA_BYTES);
    edge_header *header = (edge_header *)image;
    header->magic = EDGE_MAGIC;
    header->abi = EDGE_ABI;
    header->kernels = EDGE_KERNELS;
    header->length = (uint32_t)size;
    header->crc = edge_crc32(0, image + 16, size - 16);
    edge_model model;
    if (edge_load(&model, image, (uint32_t)size, arena, ARENA_BYTES) == EDGE_OK && header->n_steps <= MOST_STEPS) {
        uint32_t failed;
        edge_prove(&model, &failed);
        edge_invoke(&model);
    }
    free(image);
    free(arena);
    return 0;
}
