/* CONV_2D for Cortex-M4 and M7. */
#define EDGE_ROUNDINGS 2
#include "rows.h"

#include "../rows/convolution.h"

#include "../../convolution_entry.h"
