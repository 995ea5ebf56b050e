/* FULLY_CONNECTED for Cortex-M55. */
#include "mve.h"

#include "../rows/fully_connected.h"
