#include "events.h"

#include <string.h>

#include "ports/port.h"
#include "text.h"

#define AGAIN_MS 1000u

void edge_events_clear(edge_events *e) { memset(e, 0, sizeof *e); }

static void drop(edge_events *e, uint32_t index)
{
    e->count--;
    memmove(&e->waiting[index], &e->waiting[index + 1], (e->count - index) * sizeof *e->waiting);
    if (index == 0)
        e->said = false;
}

void edge_events_add(edge_events *e, const edge_event *event)
{
    if (e->count == EDGE_EVENTS_WAITING) {
        uint32_t index = 0;
        while (index < e->count && e->waiting[index].change.kind != EDGE_UPDATE)
            index++;
        drop(e, index < e->count ? index : 0);
        e->lost++;
    }
    e->waiting[e->count] = *event;
    e->waiting[e->count].seq = ++e->seq;
    e->count++;
}

void edge_events_taken(edge_events *e, uint32_t seq)
{
    while (e->count && e->waiting[0].seq <= seq)
        drop(e, 0);
    e->again = false;
}

static void put_hex(edge_text *t, const uint8_t *bytes, uint32_t count)
{
    static const char digits[] = "0123456789abcdef";
    for (uint32_t i = 0; i < count; i++) {
        *t->at++ = digits[bytes[i] >> 4];
        *t->at++ = digits[bytes[i] & 15];
    }
}

static void put_boot(edge_text *t, const edge_settings *s)
{
    const uint32_t words[2] = {s->identity, s->epoch};
    for (uint32_t i = 0; i < 2; i++) {
        const uint8_t bytes[4] = {(uint8_t)(words[i] >> 24), (uint8_t)(words[i] >> 16), (uint8_t)(words[i] >> 8),
                                  (uint8_t)words[i]};
        put_hex(t, bytes, 4);
    }
}

static void put_name(edge_text *t, const edge_settings *s)
{
    memcpy(t->at, s->name, s->name_length);
    t->at += s->name_length;
}

/* A score as a decimal fraction, exactly: 4711e-6. */
static void put_score(edge_text *t, const edge_monitor *m, int32_t score)
{
    edge_put_number(t, (int64_t)score * m->mantissa);
    edge_put_words(t, "e");
    edge_put_number(t, m->exponent);
}

/* The keys stand in order, as in every record of the project; what a board lacks is left out: a clock, a place. */
static uint16_t write(char *out, const edge_event *e, bool again, const edge_monitor *m, const edge_settings *s)
{
    static const char *const kinds[] = {"new", "update", "end"};
    static const char *const verdicts[] = {"normal", "uncertain", "anomalous"};
    edge_text t = {out};
    edge_put_words(&t, "{");
    if (e->levels.lower < e->levels.upper) {
        edge_put_words(&t, "\"band\":[");
        put_score(&t, m, e->levels.lower);
        edge_put_words(&t, ",");
        put_score(&t, m, e->levels.upper);
        edge_put_words(&t, "],");
    }
    edge_put_words(&t, "\"boot_id\":\"");
    put_boot(&t, s);
    edge_put_words(&t, "\",\"bundle\":\"");
    put_hex(&t, s->digest, EDGE_DIGEST_BYTES);
    edge_put_words(&t, "\",\"event_id\":\"");
    put_name(&t, s);
    edge_put_words(&t, "-");
    put_boot(&t, s);
    edge_put_words(&t, "-");
    edge_put_number(&t, e->change.number);
    edge_put_words(&t, again ? "\",\"historical\":true" : "\",\"historical\":false");
    edge_put_words(&t, ",\"kind\":\"");
    edge_put_words(&t, kinds[e->change.kind]);
    edge_put_words(&t, "\",\"latency_us\":");
    edge_put_number(&t, e->latency_us);
    edge_put_words(&t, m->hop ? ",\"sample\":\"row " : ",\"sample\":\"frame ");
    edge_put_number(&t, e->sample);
    edge_put_words(&t, "\",\"schema\":\"edge-ad/event/1\",\"score\":");
    put_score(&t, m, e->score);
    edge_put_words(&t, ",\"seq\":");
    edge_put_number(&t, e->seq);
    edge_put_words(&t, ",\"stream\":\"");
    put_name(&t, s);
    edge_put_words(&t, "\",\"threshold\":");
    put_score(&t, m, e->levels.threshold);
    edge_put_words(&t, ",\"verdict\":\"");
    edge_put_words(&t, verdicts[e->change.verdict]);
    edge_put_words(&t, "\"}");
    return (uint16_t)(t.at - out);
}

bool edge_events_step(edge_events *e, const edge_monitor *m, const edge_settings *s, edge_say *say)
{
    static char json[EDGE_EVENT_BYTES];
    if (e->count == 0)
        return false;
    const uint64_t now = edge_port_ticks(), wait = (uint64_t)edge_port_describe()->ticks_hz * AGAIN_MS / 1000;
    if (e->said && now - e->said_at < wait)
        return false;
    e->again |= e->said;
    e->said = true;
    e->said_at = now;
    say((const uint8_t *)json, write(json, &e->waiting[0], e->again, m, s));
    return true;
}
