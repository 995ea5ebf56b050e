/* A board that judges by itself: rows or frames in, verdicts, events out (docs/link.md). */
#ifndef EDGE_WATCH_H
#define EDGE_WATCH_H

#include "engine/monitor.h"
#include "events.h"
#include "judge.h"
#include "settings.h"

typedef struct {
    uint32_t frames, uncertain, anomalous, events, gaps, missed, clipped;
} edge_watch_counts;

typedef struct {
    const edge_model *model; /* NULL where no model is live, or it has no monitor */
    const edge_monitor *monitor;
    uint32_t image, slot;
    edge_settings settings;
    edge_judge judge;
    edge_events events;
    edge_watch_counts counts;
    int32_t last_score;
    uint32_t at;     /* rows, or frames, so far: the number of the next one */
    uint32_t filled; /* rows of the window that are there */
    uint32_t peak_at, latency_us;
} edge_watch;

/* Another model, or none, is live from now on (slot < 0: none). Goes on watching where it was told to. */
void edge_watch_model(edge_watch *watch, const edge_model *model, uint32_t image, int32_t slot);

/* Begin to watch by `settings` (epoch and threshold are the board's), or stop; false where flash cannot be written. */
bool edge_watch_start(edge_watch *watch, const edge_settings *settings);
bool edge_watch_stop(edge_watch *watch);
static inline bool edge_watching(const edge_watch *watch) { return EDGE_JUDGES && watch->model != NULL && watch->settings.on; }

/* Judge by a threshold of the image's range from now on, or by the image's own. */
bool edge_watch_allows(const edge_watch *watch, int32_t threshold);
bool edge_watch_threshold(edge_watch *watch, bool own, int32_t threshold);

/* Rows of a stream, the number of the first one, and how they are written (EDGE_INT16, EDGE_FLOAT32). */
void edge_watch_rows(edge_watch *watch, const uint8_t *rows, uint32_t count, uint32_t first, uint8_t format);
/* Rows were lost before the next one, or the window was overwritten. */
void edge_watch_gap(edge_watch *watch, uint32_t missed);
/* The model has run on an input from the host, which took so long. */
void edge_watch_frame(edge_watch *watch, uint32_t latency_us);

#endif
