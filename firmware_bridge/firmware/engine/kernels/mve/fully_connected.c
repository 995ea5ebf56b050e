/* FULLY_CONNECTED for Cortex-M55. */
#define EDGE_ROUNDINGS 1
#include "rows.h"

#include "../rows/fully_connected.h"
