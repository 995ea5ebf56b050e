/* CONV_2D to int16 for Cortex-M55. */
#define EDGE_ROUNDINGS 2
#define EDGE_INT16
#include "rows.h"

#include "../rows/convolution.h"

#include "../../convolution_entry.h"
