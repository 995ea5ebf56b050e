/* CONV_2D, plain C. */
#include "plain/convolution.h"

#include "../convolution_entry.h"
