/* Pooling of int16; defined in edge_ad/runtime/integer/wider.py. */
#include "../internal.h"

typedef int16_t value;
typedef edge_pool16 pool;
#define LEAST INT16_MIN
#include "../pool.h"

/* The sum of a window fits 32 bits. */
bool edge_check_pool16(const edge_model *m, const edge_pool16 *p)
{
    return check(m, p) && (int64_t)p->k_h * p->k_w <= 1 << 15 && p->low >= INT16_MIN && p->low <= p->high &&
           p->high <= INT16_MAX;
}

void edge_run_pool16(const edge_model *m, const edge_pool16 *p) { run(m, p); }
