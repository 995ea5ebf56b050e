/* Images as networks take them: blocks shown as their mean, where a mask says so; and that mask. */
#include "../internal.h"

/* The image's bytes, and whether its sides are multiples of `unit`; 0 where something cannot be. */
static uint64_t image_bytes(int32_t channels, int32_t height, int32_t width, int32_t unit)
{
    const uint64_t bytes = edge_extent(channels, height, width, 1);
    return unit < 1 || unit > 256 || bytes >> 31 || height % unit || width % unit ? 0 : bytes;
}

bool edge_check_pixels(const edge_model *m, const edge_pixels *p)
{
    const uint64_t image = image_bytes(p->channels, p->height, p->width, p->block);
    if (!image || !image_bytes(p->channels, p->height, p->width, p->cell) || !edge_readable(m, p->input, image, 1) ||
        p->first < 0 || p->rows < 1 || p->first > p->height || p->rows > p->height - p->first)
        return false;
    if (p->block & (p->block - 1) || (p->wide != 0 && p->wide != 1) || p->shift < 0 || p->shift > 7)
        return false;
    const uint64_t cells = (uint64_t)(p->height / p->cell) * (uint64_t)(p->width / p->cell);
    const uint64_t size = p->wide ? 2 : 1, output = (uint64_t)p->rows * (uint64_t)p->width * (uint64_t)p->channels;
    return (p->mask == EDGE_NO_REF || edge_readable(m, p->mask, cells, 1)) &&
           edge_writable(m, p->output, output * size, (uint32_t)size) &&
           edge_apart(p->input, image, p->output, output * size);
}

/* The mean of the block that begins at `from`, half up. */
static int32_t block_mean(const uint8_t *from, int32_t width, int32_t block)
{
    uint32_t sum = 0;
    for (int32_t y = 0; y < block; y++, from += width)
        for (int32_t x = 0; x < block; x++)
            sum += from[x];
    const uint32_t count = (uint32_t)(block * block);
    return (int32_t)((sum + count / 2) / count);
}

void edge_run_pixels(const edge_model *m, const edge_pixels *p)
{
    const uint8_t *image = edge_at(m, p->input);
    const uint8_t *mask = p->mask == EDGE_NO_REF ? NULL : edge_at(m, p->mask);
    int8_t *narrow = edge_to(m, p->output);
    int16_t *wide = edge_to(m, p->output);
    const int32_t cells = p->width / p->cell;
    for (int32_t c = 0; c < p->channels; c++, image += p->height * p->width)
        for (int32_t i = 0; i < p->rows; i++) {
            const int32_t y = p->first + i;
            const uint8_t *row = image + y * p->width, *blocks = image + y / p->block * p->block * p->width;
            int32_t mean = 0;
            for (int32_t x = 0; x < p->width; x++) {
                const bool hidden = p->block > 1 && (!mask || mask[y / p->cell * cells + x / p->cell]);
                if (p->block > 1 && x % p->block == 0)
                    mean = block_mean(blocks + x, p->width, p->block);
                const int32_t value = hidden ? mean : row[x];
                const int32_t at = (i * p->width + x) * p->channels + c;
                if (p->wide)
                    wide[at] = (int16_t)(value << p->shift);
                else
                    narrow[at] = (int8_t)(value - 128);
            }
        }
}

bool edge_check_template_mask(const edge_model *m, const edge_template_mask *p)
{
    const uint64_t image = image_bytes(p->channels, p->height, p->width, p->cell);
    if (!image || p->cell > 16)
        return false;
    const uint64_t cells = (uint64_t)(p->height / p->cell) * (uint64_t)(p->width / p->cell);
    return edge_readable(m, p->input, image, 1) && edge_writable(m, p->output, cells, 1) &&
           p->limits & EDGE_IN_IMAGE && edge_readable(m, p->limits, 4 * cells * (uint64_t)p->channels, 2);
}

/* Whether the sum of any channel of a cell is outside its limits. */
static bool unlike(const edge_template_mask *p, const uint8_t *image, const uint16_t *limits, int32_t row, int32_t column)
{
    const int32_t across = p->width / p->cell, cells = p->height / p->cell * across;
    for (int32_t c = 0; c < p->channels; c++) {
        const uint8_t *from = image + (c * p->height + row * p->cell) * p->width + column * p->cell;
        const uint16_t *low = limits + c * cells + row * across + column, *high = low + p->channels * cells;
        uint32_t sum = 0;
        for (int32_t y = 0; y < p->cell; y++, from += p->width)
            for (int32_t x = 0; x < p->cell; x++)
                sum += from[x];
        if (sum < *low || sum > *high)
            return true;
    }
    return false;
}

void edge_run_template_mask(const edge_model *m, const edge_template_mask *p)
{
    enum { UNLIKE = 1, HIDDEN = 2 };
    uint8_t *mask = edge_to(m, p->output);
    const int32_t down = p->height / p->cell, across = p->width / p->cell;
    for (int32_t y = 0; y < down; y++)
        for (int32_t x = 0; x < across; x++)
            mask[y * across + x] = unlike(p, edge_at(m, p->input), edge_at(m, p->limits), y, x) ? UNLIKE : 0;
    for (int32_t y = 0; y < down; y++)
        for (int32_t x = 0; x < across; x++)
            for (int32_t i = y > 0 ? y - 1 : 0; i <= y + 1 && i < down; i++)
                for (int32_t j = x > 0 ? x - 1 : 0; j <= x + 1 && j < across; j++)
                    if (mask[i * across + j] & UNLIKE)
                        mask[y * across + x] |= HIDDEN;
    for (int32_t i = 0; i < down * across; i++)
        mask[i] = mask[i] & HIDDEN ? 1 : 0;
}
