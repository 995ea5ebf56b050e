/* MPS2 boards: mps2-an386, mps2-an500. */
#include "../cortex_m/mps.h"
