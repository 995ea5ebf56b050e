#include "watch.h"

#include <string.h>

#include "ports/port.h"

static edge_levels own_levels(const edge_monitor *m)
{
    return (edge_levels){.threshold = m->threshold, .lower = m->lower, .upper = m->upper};
}

/* A band lies around the threshold that it was made for: another one is without a band. */
static edge_levels levels(const edge_watch *w)
{
    const int32_t set = w->settings.threshold;
    if (!w->settings.own_threshold || set == w->monitor->threshold || !edge_watch_allows(w, set))
        return own_levels(w->monitor);
    return (edge_levels){.threshold = set, .lower = set, .upper = set};
}

/* From here on, as if nothing had been seen before. */
static void begin(edge_watch *w)
{
    const edge_levels by = levels(w);
    edge_judge_start(&w->judge, &w->settings.rules, &by);
    edge_events_clear(&w->events);
    memset(&w->counts, 0, sizeof w->counts);
    w->last_score = 0;
    w->at = w->filled = w->peak_at = w->latency_us = 0;
}

void edge_watch_model(edge_watch *w, const edge_model *model, uint32_t image, int32_t slot)
{
    memset(w, 0, sizeof *w);
    if (slot < 0 || edge_monitor_of(model) == NULL)
        return;
    w->model = model;
    w->monitor = edge_monitor_of(model);
    w->image = image;
    w->slot = (uint32_t)slot;
    if (!edge_settings_load(&w->settings, image))
        w->settings.on = false;
    if (w->settings.on) {
        w->settings.epoch++;
        /* Two starts must not be told as one: without a number of its own this one would be. */
        if (!edge_settings_save(&w->settings, image, w->slot))
            w->settings.on = false;
        begin(w);
    }
}

bool edge_watch_start(edge_watch *w, const edge_settings *asked)
{
    edge_settings s = *asked;
    s.on = true;
    s.epoch = w->settings.epoch + 1;
    s.own_threshold = w->settings.own_threshold;
    s.threshold = w->settings.threshold;
    if (!edge_settings_save(&s, w->image, w->slot))
        return false;
    w->settings = s;
    begin(w);
    return true;
}

static void tell(edge_watch *w, const edge_change *changes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const edge_event event = {.change = changes[i],
                                  .levels = w->judge.levels,
                                  .score = w->judge.peak,
                                  .sample = w->peak_at,
                                  .latency_us = w->latency_us};
        w->counts.events += changes[i].kind == EDGE_NEW;
        edge_events_add(&w->events, &event);
    }
}

bool edge_watch_stop(edge_watch *w)
{
    edge_settings s = w->settings;
    s.on = false;
    if (!edge_settings_save(&s, w->image, w->slot))
        return false;
    edge_change changes[2];
    tell(w, changes, edge_judge_close(&w->judge, changes));
    w->settings = s;
    return true;
}

bool edge_watch_allows(const edge_watch *w, int32_t threshold)
{
    return threshold >= w->monitor->lowest && threshold <= w->monitor->highest;
}

bool edge_watch_threshold(edge_watch *w, bool own, int32_t threshold)
{
    edge_settings s = w->settings;
    s.own_threshold = own;
    s.threshold = own ? threshold : 0;
    if (!edge_settings_save(&s, w->image, w->slot))
        return false;
    w->settings = s;
    const edge_levels by = levels(w);
    edge_judge_by(&w->judge, &by);
    return true;
}

void edge_watch_frame(edge_watch *w, uint32_t latency_us)
{
    int32_t score;
    memcpy(&score, edge_output(w->model, w->model->header->n_outputs - 1), sizeof score);
    w->latency_us = latency_us;
    w->last_score = score;
    w->counts.frames++;
    const edge_verdict verdict = edge_judge_verdict(&w->judge, score);
    w->counts.uncertain += verdict == EDGE_UNCERTAIN;
    w->counts.anomalous += verdict == EDGE_ANOMALOUS;
    if (w->monitor->hop == 0)
        w->at++;
    if (edge_judge_is_peak(&w->judge, score))
        w->peak_at = w->at - 1;
    edge_change changes[2];
    tell(w, changes, edge_judge_step(&w->judge, score, changes));
}

void edge_watch_gap(edge_watch *w, uint32_t missed)
{
    w->counts.gaps++;
    w->counts.missed += missed;
    w->filled = 0;
    edge_judge_gap(&w->judge);
}

/* A row into the window, which lies channel by channel. */
static void take(edge_watch *w, const uint8_t *row, uint8_t format)
{
    const edge_channel *channel = edge_channels(w->monitor);
    const uint32_t width = w->monitor->width, apart = width * w->monitor->rows;
    const int32_t low = width == 1 ? -128 : -32768, high = width == 1 ? 127 : 32767;
    uint8_t *window = edge_input(w->model, 0) + width * w->filled;
    bool clipped = false;
    for (uint32_t c = 0; c < w->monitor->channels; c++, window += apart) {
        int32_t y;
        if (format == EDGE_INT16) {
            int16_t x;
            memcpy(&x, row + 2 * c, sizeof x);
            y = edge_standardise_int16(&channel[c], x);
        } else {
            float x;
            memcpy(&x, row + 4 * c, sizeof x);
            y = edge_standardise_float32(&channel[c], x);
        }
        y += w->monitor->zero;
        clipped |= y < low || y > high;
        const int16_t stored = (int16_t)(y < low ? low : y > high ? high : y);
        memcpy(window, &stored, width); /* little-endian */
    }
    w->counts.clipped += clipped;
    w->filled++;
    w->at++;
}

/* Run the model on a whole window, and make room for the next hop. */
static void judge_window(edge_watch *w)
{
    const edge_monitor *m = w->monitor;
    const uint64_t from = edge_port_ticks();
    edge_invoke(w->model);
    const uint64_t ticks = edge_port_ticks() - from;
    edge_watch_frame(w, (uint32_t)(ticks * 1000000u / edge_port_describe()->ticks_hz));
    w->filled = m->rows - m->hop;
    for (uint32_t c = 0; c < m->channels; c++) {
        uint8_t *rows = edge_input(w->model, 0) + m->width * c * m->rows;
        memmove(rows, rows + m->width * m->hop, m->width * w->filled);
    }
}

void edge_watch_rows(edge_watch *w, const uint8_t *rows, uint32_t count, uint32_t first, uint8_t format)
{
    const uint32_t row_bytes = w->monitor->channels * (format == EDGE_INT16 ? 2u : 4u);
    if (first != w->at) { /* rows were lost, or whoever sends them began anew */
        if (w->at)
            edge_watch_gap(w, first > w->at ? first - w->at : 0);
        w->at = first;
    }
    for (uint32_t i = 0; i < count; i++) {
        take(w, rows + i * row_bytes, format);
        if (w->filled == w->monitor->rows)
            judge_window(w);
    }
}
