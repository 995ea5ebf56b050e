/* The score head of series' error streams; defined in runtime/integer/error_streams.py. */
#include "../functions.h"

#define MOST_TOP 16
#define MOST_STREAMS 16
#define MOST_CHANNELS 4096

bool edge_check_error_streams(const edge_model *m, const edge_error_streams *p)
{
    if (p->streams < 1 || p->streams > MOST_STREAMS || p->channels < 1 || p->channels > MOST_CHANNELS || p->top < 1 ||
        p->top > MOST_TOP)
        return false;
    const uint64_t n = (uint64_t)p->streams * (uint64_t)p->channels;
    if (!edge_readable(m, p->errors, 4 * n, 4) || !edge_writable(m, p->output, 4, 4) || !(p->scales & EDGE_IN_IMAGE) ||
        !edge_readable(m, p->scales, 8 * n, 4))
        return false;
    const int32_t *multipliers = edge_at(m, p->scales);
    return edge_scales_ok(multipliers, multipliers + n, (int32_t)n);
}

/* Keep `value` among the `most` largest, values[0] to values[count - 1], largest first. Returns how many there are. */
static int32_t keep_largest(int32_t *values, int32_t count, int32_t most, int32_t value)
{
    if (count == most && value <= values[most - 1])
        return count;
    int32_t at = count < most ? count : most - 1;
    for (; at > 0 && values[at - 1] < value; at--)
        values[at] = values[at - 1];
    values[at] = value;
    return count < most ? count + 1 : count;
}

void edge_run_error_streams(const edge_model *m, const edge_error_streams *p)
{
    const int32_t n = p->streams * p->channels, *errors = edge_at(m, p->errors);
    const int32_t *multipliers = edge_at(m, p->scales), *shifts = multipliers + n;
    int32_t largest[MOST_TOP], count = 0;
    for (int32_t c = 0; c < p->channels; c++) {
        int32_t surprise = 0;
        for (int32_t i = c; i < n; i += p->channels) {
            const int32_t error = errors[i] > 0 ? errors[i] : 0;
            const int64_t ratio = edge_scale_long(error, multipliers[i], shifts[i]);
            surprise += edge_log2((uint64_t)ratio + 65536) - 16 * 65536;
        }
        count = keep_largest(largest, count, p->top, surprise);
    }
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++)
        sum += largest[i];
    *(int32_t *)edge_to(m, p->output) = sum;
}
