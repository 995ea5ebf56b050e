/* The board's side of the link: requests in, answers out (docs/link.md). */
#ifndef EDGE_SESSION_H
#define EDGE_SESSION_H

#include "../slots.h"
#include "dialect.h"
#include "frames.h"
#include "samples.h"
#include "watching.h"

typedef struct {
    edge_receiver receiver;
    edge_slots slots;
    uint32_t requests, inferences;
    uint32_t steps; /* of the last RUN, 0 when the arena has changed since */
    bool restart;   /* asked for: once the answer is out */
    bool heard;     /* `seq` is that of the last request */
    bool answered;  /* `answer` is that of request `type`, `seq` */
    uint8_t type;
    uint16_t seq;
    uint16_t length;
    uint8_t answer[EDGE_MAX_PAYLOAD];
    edge_samples samples;
    edge_watch watch;
    bool senses; /* `watch` reads the sensor */
#if EDGE_DIALECT == EDGE_MLPERF
    edge_dialect dialect;
#endif
} edge_session;

void edge_session_start(edge_session *session);
/* Tell who may listen that the board is up. */
void edge_session_announce(edge_session *session);
/* Take what came over the line; answers whatever that completes. */
void edge_session_take(edge_session *session, const uint8_t *bytes, uint32_t count);
/* Judge or send what the sensor has measured, and say what events there are; whether there was anything. */
bool edge_session_stream(edge_session *session);
/* Whether frames would be noise to who listens. */
static inline bool edge_session_speaks_text(const edge_session *session)
{
#if EDGE_DIALECT == EDGE_MLPERF
    return session->dialect.spoken;
#else
    return (void)session, false;
#endif
}
/* Whether there is something to say again soon. */
static inline bool edge_session_waits(const edge_session *session)
{
    return session->watch.events.count > 0 && !edge_session_speaks_text(session);
}
/* Something was written where the window of a stream lies. */
void edge_session_disturb(edge_session *session);

/* Carry out the text command that was heard (dialect.h); tell in text that the board is up. */
void edge_dialect_answer(edge_session *session);
void edge_dialect_announce(void);

#endif
