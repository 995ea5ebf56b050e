/* Events on their way out: said one at a time, again and again, until somebody has taken them. */
#ifndef EDGE_EVENTS_H
#define EDGE_EVENTS_H

#include "engine/monitor.h"
#include "judge.h"
#include "settings.h"

#define EDGE_EVENT_BYTES 640u /* of one as JSON, at most */
#define EDGE_EVENTS_WAITING (EDGE_JUDGES ? 16u : 1u)

typedef struct {
    edge_change change;
    edge_levels levels;
    int32_t score;
    uint32_t seq, sample, latency_us;
} edge_event;

typedef struct {
    edge_event waiting[EDGE_EVENTS_WAITING]; /* oldest first */
    uint32_t count;
    uint32_t seq, lost;
    uint64_t said_at; /* ticks; of the oldest one */
    bool said, again; /* the oldest one has been said; a later one follows a silence */
} edge_events;

/* Forget all, and number from 1. */
void edge_events_clear(edge_events *events);
/* Where there is no room the oldest `update` goes, else the oldest. */
void edge_events_add(edge_events *events, const edge_event *event);
/* Whoever listens has taken the event of this number, and with it all before. */
void edge_events_taken(edge_events *events, uint32_t seq);

typedef void edge_say(const uint8_t *payload, uint16_t length);
/* Say the oldest event where that is due; whether it was. */
bool edge_events_step(edge_events *events, const edge_monitor *monitor, const edge_settings *settings,
                      edge_say *say);

#endif
