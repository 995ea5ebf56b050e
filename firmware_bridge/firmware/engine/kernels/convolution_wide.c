/* CONV_2D to int16, plain C. */
#define EDGE_WIDE
#include "plain/convolution.h"

#include "../convolution_entry.h"
