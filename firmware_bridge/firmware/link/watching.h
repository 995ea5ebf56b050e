/* Requests about watching: WATCH, THRESHOLD, STATISTICS, FEED (docs/link.md). Part of the session. */
#ifndef EDGE_WATCHING_H
#define EDGE_WATCHING_H

#include "../watch.h"
#include "frames.h"

enum { EDGE_WATCH = 0x0E, EDGE_THRESHOLD, EDGE_STATISTICS, EDGE_FEED };
enum { EDGE_NO_MONITOR = 10, EDGE_OUT_OF_RANGE, EDGE_NOT_WATCHING, EDGE_IS_WATCHING };

#define EDGE_EVENT_FRAME 0x40u
#define EDGE_EVENT_ACK_FRAME 0x45u

/* The status of the answer, whose further bytes go to `out`; *length of them. `bad`: of arguments that cannot be;
 * `broken`: of flash that cannot be written. */
uint8_t edge_watching_request(edge_watch *watch, const edge_frame *frame, uint8_t *out, uint16_t *length,
                              uint8_t bad, uint8_t broken);

#endif
