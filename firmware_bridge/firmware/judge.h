/* From scores to events, as edge_ad/runtime/decision.py defines it, in integers: a state machine without a clock. */
#ifndef EDGE_JUDGE_H
#define EDGE_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#define EDGE_MOST_FRAMES 32u /* that k of n looks back on */
#define EDGE_ONE 32768u      /* 1 in Q15 */

typedef enum { EDGE_NORMAL = 0, EDGE_UNCERTAIN, EDGE_ANOMALOUS } edge_verdict;
typedef enum { EDGE_NEW = 0, EDGE_UPDATE, EDGE_END } edge_kind;

/* When events begin, are repeated, and end; all counts are frames, hysteresis and rise are Q15. */
typedef struct {
    uint16_t k, n, release, cooldown, min_frames, update_interval, hysteresis, rise;
} edge_rules;

/* A score above `upper` is anomalous, one above `lower` uncertain. */
typedef struct {
    int32_t threshold, lower, upper;
} edge_levels;

/* What is to be told of event `number`, and what that event now is. */
typedef struct {
    uint32_t number;
    uint8_t kind, verdict;
} edge_change;

typedef struct {
    edge_rules rules;
    edge_levels levels;
    int32_t release_level;
    uint32_t anomalous, uncertain; /* the last n frames, bit 0 the newest */
    uint32_t number, lasted, quiet, since_record, cooling;
    int32_t peak, reported_peak;
    uint8_t event; /* edge_verdict of the open one, EDGE_NORMAL without one */
    bool told;
    uint32_t brief, suppressed; /* events that did not last; frames in a cool-down that would have begun one */
} edge_judge;

bool edge_rules_ok(const edge_rules *rules);

/* Begin with nothing seen. The rules must be ok, and lower <= threshold <= upper. */
void edge_judge_start(edge_judge *judge, const edge_rules *rules, const edge_levels *levels);
/* Judge by other levels from the next score on; an open event stays open. */
void edge_judge_by(edge_judge *judge, const edge_levels *levels);

edge_verdict edge_judge_verdict(const edge_judge *judge, int32_t score);
/* Whether a frame with this score, given next, would be the highest of an event. */
bool edge_judge_is_peak(const edge_judge *judge, int32_t score);

/* Take the next score; what is to be told, in order: up to two changes. */
uint32_t edge_judge_step(edge_judge *judge, int32_t score, edge_change changes[2]);
/* Frames are missing before the next one: earlier ones no longer count for k of n. */
void edge_judge_gap(edge_judge *judge);
/* The stream has stopped: an open event ends; up to one change. */
uint32_t edge_judge_close(edge_judge *judge, edge_change changes[2]);

#endif
