/* What a request does, and what its answer says (docs/link.md). Part of the session. */
#ifndef EDGE_REQUESTS_H
#define EDGE_REQUESTS_H

#include "session.h"

enum { HELLO = 1, STATUS, BEGIN, DATA, COMMIT, ROLLBACK, INPUT, RUN, OUTPUT, TENSOR, REBOOT, FAULT, SAMPLE };

enum {
    DONE = 0,
    UNKNOWN,
    BAD_ARGUMENTS,
    NO_MODEL,
    NO_CONTENT,
    TOO_LONG,
    REFUSED,
    UNPROVEN,
    FLASH_BROKEN,
    NO_SENSOR
};

/* An answer under way: `at` counts its bytes. */
typedef struct {
    uint8_t *bytes;
    uint16_t at;
} writer;

static inline void put8(writer *w, uint8_t value) { w->bytes[w->at++] = value; }

static inline void put32(writer *w, uint32_t value)
{
    edge_put32(w->bytes + w->at, value);
    w->at = (uint16_t)(w->at + 4);
}

static inline void put64(writer *w, uint64_t value)
{
    put32(w, (uint32_t)value);
    put32(w, (uint32_t)(value >> 32));
}

/* Who answers: of HELLO and of BOOT. */
void edge_describe(const edge_session *session, writer *answer);
/* What watches is told which model is live. */
void edge_watch_live(edge_session *session);
/* Carry out a request; the status of its answer. */
uint8_t edge_carry_out(edge_session *session, const edge_frame *frame, writer *answer);

/* Those of a live model: INPUT; RUN; OUTPUT and TENSOR. */
uint8_t edge_set_input(edge_session *session, const edge_frame *frame);
uint8_t edge_run(edge_session *session, const edge_frame *frame, writer *answer);
uint8_t edge_read_back(const edge_session *session, const edge_frame *frame, writer *answer);

#endif
