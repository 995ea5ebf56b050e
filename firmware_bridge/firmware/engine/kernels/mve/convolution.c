/* CONV_2D for Cortex-M55. */
#define EDGE_ROUNDINGS 2
#include "rows.h"

#include "../rows/convolution.h"

#include "../../convolution_entry.h"
