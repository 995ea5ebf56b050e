/* The text dialect of MLPerf Tiny's runners, beside the link on the same line (docs/mlperf.md).
 *
 * What is text and what is a frame: a frame has a byte 0x01 in second place behind a zero byte, which no text has; and
 * once a frame was whole, its checksum right, this is a line of frames until the board starts anew.
 */
#ifndef EDGE_DIALECT_H
#define EDGE_DIALECT_H

#include <stdbool.h>
#include <stdint.h>

#include "frames.h"

/* What the firmware is built to speak: frames alone; or text from the start on, and frames to who begins with those. */
#define EDGE_LINK 0
#define EDGE_MLPERF 1
#ifndef EDGE_DIALECT
#define EDGE_DIALECT EDGE_LINK
#endif

#define EDGE_COMMAND_BYTES 80u

typedef struct {
    char line[EDGE_COMMAND_BYTES + 1];
    uint8_t count;
    bool too_long, junk; /* of the command under way: longer than it may be; not text */
    bool fresh;          /* nothing has come since a zero byte */
    bool off;            /* a line of frames */
    bool spoken;         /* a line of text: nothing goes out unasked */
    uint32_t expected, loaded; /* bytes of the input; while text is spoken no other model comes */
} edge_dialect;

/* Take one byte that ended no frame; whether it ended a command, which is then in `line`. */
bool edge_dialect_hears(edge_dialect *dialect, const edge_receiver *receiver, uint8_t byte);
/* Forget the command under way. */
void edge_dialect_begin(edge_dialect *dialect);
/* What separates words. */
static inline bool edge_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
/* A frame was whole. */
static inline void edge_dialect_yields(edge_dialect *dialect)
{
    dialect->off = true;
    dialect->spoken = false;
}

#endif
