/* MPS3 boards: mps3-an547. */
#include "../cortex_m/mps.h"
