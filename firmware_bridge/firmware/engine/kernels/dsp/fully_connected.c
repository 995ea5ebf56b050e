/* FULLY_CONNECTED for Cortex-M4 and M7. */
#include "dsp.h"

#include "../rows/fully_connected.h"
