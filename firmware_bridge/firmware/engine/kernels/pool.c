/* AVERAGE_POOL_2D and MAX_POOL_2D. */
#include "../internal.h"

typedef int8_t value;
typedef edge_pool pool;
#define LEAST INT8_MIN
#include "../pool.h"

bool edge_check_pool(const edge_model *m, const edge_pool *p) { return check(m, p); }

void edge_run_pool(const edge_model *m, const edge_pool *p) { run(m, p); }
