/* Loads images as the fuzzer does, each with a right checksum, and runs those that load: for a build with sanitizers.
 *
 * In the file: for each image its length (u32) and its bytes. Memory holds noise, then zeros. Printed: how many loaded.
 */
#include <stdio.h>

#define LLVMFuzzerTestOneInput run_one
#include "../../firmware_bridge/firmware/fuzz/image.c"

static int loads(const uint8_t *data, uint32_t length)
{
    uint8_t *image = aligned_alloc(16, (length + 15) / 16 * 16), *arena = aligned_alloc(16, ARENA_BYTES);
    memcpy(image, data, length);
    edge_header *header = (edge_header *)image;
    header->crc = edge_crc32(0, image + 16, length - 16);
    edge_model model;
    const int ok = edge_load(&model, image, length, arena, ARENA_BYTES) == EDGE_OK;
    for (uint32_t i = 0; i < ARENA_BYTES; i++)
        arena[i] = (uint8_t)(i * 167u + (i >> 8) * 29u + 13u);
    if (ok && header->n_steps <= MOST_STEPS)
        edge_invoke(&model);
    free(image);
    free(arena);
    return ok;
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file)
        return 2;
    uint32_t length, count = 0;
    while (fread(&length, 4, 1, file) == 1) {
        uint8_t *data = malloc(length);
        if (fread(data, 1, length, file) != length)
            return 3;
        count += (uint32_t)loads(data, length);
        run_one(data, length);
        free(data);
    }
    printf("%u\n", count);
    return 0;
}
