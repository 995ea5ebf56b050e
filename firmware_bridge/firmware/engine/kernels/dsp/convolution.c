/* CONV_2D for Cortex-M4 and M7. */
#include "dsp.h"

#include "../rows/convolution.h"
