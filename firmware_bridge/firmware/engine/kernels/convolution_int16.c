/* CONV_2D to int16, plain C. */
#define EDGE_INT16
#include "plain/convolution.h"

#include "../convolution_entry.h"
