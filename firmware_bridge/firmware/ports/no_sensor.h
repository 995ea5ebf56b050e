/* For the port of a board without a sensor. Included by one port.c. */
#ifndef EDGE_NO_SENSOR_H
#define EDGE_NO_SENSOR_H

#include <stddef.h>

#include "port.h"

const edge_sensor *edge_port_sensor(void) { return NULL; }

void edge_port_sense(bool on) { (void)on; }

uint32_t edge_port_sample(uint8_t *rows, uint32_t capacity, uint32_t *missed)
{
    (void)rows, (void)capacity;
    *missed = 0;
    return 0;
}

#endif
