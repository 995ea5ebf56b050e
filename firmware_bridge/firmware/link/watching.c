#include "watching.h"

#include <string.h>

#include "../ports/port.h"
#include "samples.h"

#define RULES_BYTES 16u
#define START_BYTES (1u + RULES_BYTES + 4u + EDGE_DIGEST_BYTES + 1u) /* and the name */
#define HEAD_BYTES 6u                                               /* of FEED, as of a SAMPLES frame */

static bool letter_or_digit(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool name_ok(const uint8_t *name, uint32_t length)
{
    if (length < 1 || length > EDGE_NAME_BYTES || !letter_or_digit(name[0]))
        return false;
    for (uint32_t i = 0; i < length; i++)
        if (!letter_or_digit(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-')
            return false;
    return true;
}

static bool read_start(const edge_frame *f, edge_settings *s)
{
    memset(s, 0, sizeof *s);
    if (f->length < START_BYTES || f->length != START_BYTES + f->payload[START_BYTES - 1])
        return false;
    const uint8_t *at = f->payload + 1;
    edge_rules_read(&s->rules, at);
    s->identity = edge_get32(at + RULES_BYTES);
    memcpy(s->digest, at + RULES_BYTES + 4, EDGE_DIGEST_BYTES);
    s->name_length = f->payload[START_BYTES - 1];
    if (!name_ok(f->payload + START_BYTES, s->name_length))
        return false;
    memcpy(s->name, f->payload + START_BYTES, s->name_length);
    return edge_rules_ok(&s->rules);
}

static uint16_t put_threshold(const edge_watch *w, uint8_t *out)
{
    const int32_t now = w->settings.own_threshold ? w->settings.threshold : w->monitor->threshold;
    edge_put32(out, (uint32_t)now);
    return 4;
}

static uint8_t start_or_stop(edge_watch *w, const edge_frame *f, uint8_t *out, uint16_t *length, uint8_t bad,
                             uint8_t broken)
{
    edge_settings asked;
    if (f->length < 1 || f->payload[0] > 1)
        return bad;
    if (f->payload[0] == 0) {
        if (f->length != 1)
            return bad;
        if (!w->settings.on)
            return EDGE_NOT_WATCHING;
        if (!edge_watch_stop(w))
            return broken;
    } else {
        if (!read_start(f, &asked))
            return bad;
        if (!edge_watch_start(w, &asked))
            return broken;
    }
    *length = put_threshold(w, out);
    return 0;
}

static uint8_t set_threshold(edge_watch *w, const edge_frame *f, uint8_t *out, uint16_t *length, uint8_t bad,
                             uint8_t broken)
{
    if (f->length != 0 && f->length != 4)
        return bad;
    const bool own = f->length == 4;
    const int32_t asked = own ? (int32_t)edge_get32(f->payload) : 0;
    if (own && !edge_watch_allows(w, asked)) {
        edge_put32(out, (uint32_t)w->monitor->lowest);
        edge_put32(out + 4, (uint32_t)w->monitor->highest);
        *length = 8;
        return EDGE_OUT_OF_RANGE;
    }
    if (!edge_watch_threshold(w, own, asked))
        return broken;
    *length = put_threshold(w, out);
    return 0;
}

static uint8_t statistics(const edge_watch *w, uint8_t *out, uint16_t *length)
{
    const uint32_t words[] = {w->counts.frames,     w->counts.uncertain, w->counts.anomalous,
                              w->counts.events,     w->judge.brief,      w->judge.suppressed,
                              w->counts.gaps,       w->counts.missed,    w->counts.clipped,
                              w->events.count,      w->events.lost,      (uint32_t)w->last_score,
                              w->settings.epoch,      (uint32_t)w->monitor->lowest, (uint32_t)w->monitor->highest,
                              (uint32_t)w->monitor->mantissa, (uint32_t)w->monitor->exponent};
    out[0] = w->settings.on;
    out[1] = w->judge.told;
    put_threshold(w, out + 2);
    for (uint32_t i = 0; i < sizeof words / sizeof *words; i++)
        edge_put32(out + 6 + 4 * i, words[i]);
    *length = (uint16_t)(6 + sizeof words);
    return 0;
}

static uint8_t feed(edge_watch *w, const edge_frame *f, uint8_t *out, uint16_t *length, uint8_t bad)
{
    if (!w->settings.on)
        return EDGE_NOT_WATCHING;
    if (w->monitor->hop == 0)
        return EDGE_NO_MONITOR;
    if (f->length < HEAD_BYTES || f->payload[4] != w->monitor->channels || f->payload[5] > EDGE_FLOAT32)
        return bad;
    const uint32_t row = f->payload[4] * (f->payload[5] == EDGE_INT16 ? 2u : 4u);
    const uint32_t bytes = f->length - HEAD_BYTES;
    if (bytes % row)
        return bad;
    edge_watch_rows(w, f->payload + HEAD_BYTES, bytes / row, edge_get32(f->payload), f->payload[5]);
    edge_put32(out, w->counts.frames);
    *length = 4;
    return 0;
}

uint8_t edge_watching_request(edge_watch *w, const edge_frame *f, uint8_t *out, uint16_t *length, uint8_t bad,
                              uint8_t broken)
{
    *length = 0;
    if (w->model == NULL)
        return EDGE_NO_MONITOR;
    switch (f->type) {
    case EDGE_WATCH:
        return start_or_stop(w, f, out, length, bad, broken);
    case EDGE_THRESHOLD:
        return set_threshold(w, f, out, length, bad, broken);
    case EDGE_STATISTICS:
        return f->length ? bad : statistics(w, out, length);
    default:
        return feed(w, f, out, length, bad);
    }
}
