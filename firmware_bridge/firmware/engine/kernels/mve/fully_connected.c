/* FULLY_CONNECTED for Cortex-M55. */
#define EDGE_ROUNDINGS 1
#include "mve.h"

#include "../rows/fully_connected.h"
