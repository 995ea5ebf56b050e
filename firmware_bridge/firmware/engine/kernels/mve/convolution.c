/* CONV_2D for Cortex-M55. */
#include "mve.h"

#include "../rows/convolution.h"
