/* RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR; the image says where each row and column comes from. */
#include "../internal.h"

/* Both resizes have the same fields; `words` of the table belong to each row and column. */
static bool resize_ok(const edge_model *m, const edge_resize_nearest *p, uint32_t words)
{
    const uint64_t input = edge_extent(p->batch, p->in_h, p->in_w, p->channels);
    const uint64_t output = edge_extent(p->batch, p->out_h, p->out_w, p->channels);
    if (!input || !output || !edge_readable(m, p->input, input, 1) || !edge_writable(m, p->output, output, 1) ||
        !edge_apart(p->input, input, p->output, output))
        return false;
    const uint64_t entries = (uint64_t)p->out_h + (uint64_t)p->out_w;
    return edge_readable(m, p->places, entries * 4 * words, 4) && (p->places & EDGE_IN_IMAGE);
}

static bool in_range(int32_t value, int32_t limit) { return value >= 0 && value < limit; }

bool edge_check_resize_nearest(const edge_model *m, const edge_resize_nearest *p)
{
    if (!resize_ok(m, p, 1))
        return false;
    const int32_t *places = edge_at(m, p->places);
    for (int32_t i = 0; i < p->out_h + p->out_w; i++)
        if (!in_range(places[i], i < p->out_h ? p->in_h : p->in_w))
            return false;
    return true;
}

void edge_run_resize_nearest(const edge_model *m, const edge_resize_nearest *p)
{
    const int32_t *rows = edge_at(m, p->places), *columns = rows + p->out_h;
    const int8_t *input = edge_at(m, p->input);
    int8_t *output = edge_to(m, p->output);
    for (int32_t b = 0; b < p->batch; b++, input += p->in_h * p->in_w * p->channels) {
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++, output += p->channels)
                memcpy(output, input + (rows[y] * p->in_w + columns[x]) * p->channels, (size_t)p->channels);
        }
    }
}

bool edge_check_resize_bilinear(const edge_model *m, const edge_resize_bilinear *p)
{
    if (!resize_ok(m, (const edge_resize_nearest *)p, 3))
        return false;
    const int32_t *place = edge_at(m, p->places);
    for (int32_t i = 0; i < p->out_h + p->out_w; i++, place += 3) {
        const int32_t limit = i < p->out_h ? p->in_h : p->in_w;
        /* weights up to 2 in size keep the weighted sum below 2^31 */
        if (!in_range(place[0], limit) || !in_range(place[1], limit) || place[2] < -1024 || place[2] > 2048)
            return false;
    }
    return true;
}

void edge_run_resize_bilinear(const edge_model *m, const edge_resize_bilinear *p)
{
    const int32_t *row = edge_at(m, p->places), *columns = row + 3 * p->out_h;
    int8_t *output = edge_to(m, p->output);
    const int32_t image = p->in_h * p->in_w * p->channels;
    for (int32_t b = 0; b < p->batch; b++) {
        const int8_t *input = (const int8_t *)edge_at(m, p->input) + b * image;
        for (int32_t y = 0; y < p->out_h; y++) {
            const int8_t *upper = input + row[3 * y] * p->in_w * p->channels;
            const int8_t *lower = input + row[3 * y + 1] * p->in_w * p->channels;
            const int32_t down = row[3 * y + 2], up = 1024 - down;
            for (int32_t x = 0; x < p->out_w; x++) {
                const int32_t *column = columns + 3 * x;
                const int32_t near = column[0] * p->channels, far = column[1] * p->channels;
                const int32_t right = column[2], left = 1024 - right;
                const int32_t w[4] = {up * left, up * right, down * left, down * right};
                for (int32_t c = 0; c < p->channels; c++) {
                    const int32_t sum = upper[near + c] * w[0] + upper[far + c] * w[1] + lower[near + c] * w[2] +
                                        lower[far + c] * w[3];
                    *output++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
                }
            }
        }
    }
}
