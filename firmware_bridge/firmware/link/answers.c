/* What the board answers in text (docs/mlperf.md). */
#include "dialect.h"

#include "../engine/forms.h"
#include "../ports/port.h"
#include "../text.h"
#include "session.h"

#include <string.h>

#define MOST_INFERENCES 9999999u
#define MOST_VALUE 64u /* characters of a decimal, and of what stands around it */

#ifndef EDGE_MLPERF_MODEL
#define EDGE_MLPERF_MODEL "ad01"
#endif

#if EDGE_DIALECT == EDGE_MLPERF

static void say(edge_text *t, char *from)
{
    edge_port_write((const uint8_t *)from, (uint32_t)(t->at - from));
    t->at = from;
}

static void reply(const char *before, const char *between, const char *after)
{
    char out[EDGE_COMMAND_BYTES + MOST_VALUE];
    edge_text t = {out};
    edge_put_words(&t, before);
    edge_put_words(&t, between);
    edge_put_words(&t, after);
    edge_put_words(&t, "\r\n");
    say(&t, out);
}

static void words(const char *text) { reply(text, "", ""); }

static void number(const char *before, int64_t value, const char *after)
{
    char digits[24];
    edge_text t = {digits};
    edge_put_number(&t, value);
    *t.at = 0;
    reply(before, digits, after);
}

static void lap(void)
{
    const uint64_t ticks = edge_port_ticks(), hz = edge_port_describe()->ticks_hz;
    number("m-lap-us-", (int64_t)(ticks / hz * 1000000u + ticks % hz * 1000000u / hz), "");
}

/* The next word of a command, ended by 0 in place; an empty one behind the last. */
static char *next_word(char **at)
{
    char *from = *at;
    while (edge_blank(*from))
        from++;
    char *end = from;
    while (*end && !edge_blank(*end))
        end++;
    *at = *end ? end + 1 : end;
    *end = 0;
    return from;
}

/* A whole number up to MOST_INFERENCES and no more; -1 for anything else. */
static int32_t number_of(const char *word)
{
    uint32_t value = 0, digits = 0;
    for (; word[digits] >= '0' && word[digits] <= '9' && digits < 8; digits++)
        value = value * 10 + (uint32_t)(word[digits] - '0');
    return digits && !word[digits] && value <= MOST_INFERENCES ? (int32_t)value : -1;
}

static uint32_t input_bytes(const edge_model *m)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < m->header->n_inputs; i++)
        sum += m->inputs[i].bytes;
    return sum;
}

/* The same inputs as float32; 0 where that cannot be told apart from their integers. */
static uint32_t float_bytes(const edge_model *m)
{
    const edge_form *forms = edge_forms_of(m);
    uint32_t sum = 0;
    for (uint32_t i = 0; forms && i < m->header->n_inputs; i++) {
        if (forms[i].kind == EDGE_FORM_INT32)
            return 0;
        sum += m->inputs[i].bytes / edge_form_width(&forms[i]) * 4;
    }
    return sum;
}

/* What is loaded lies behind the model's memory, so that it outlives any number of inferences. */
static uint32_t store_at(const edge_model *m) { return (m->header->arena_bytes + 15u) & ~15u; }

static void begin_load(edge_session *s, const char *size)
{
    const edge_model *m = &s->slots.model;
    edge_dialect *d = &s->dialect;
    const int32_t asked = number_of(size);
    d->expected = d->loaded = 0;
    if (asked <= 0 || ((uint32_t)asked != input_bytes(m) && (uint32_t)asked != float_bytes(m)))
        number("e-[db load: the model's input has ", input_bytes(m), " bytes]");
    else if (store_at(m) + (uint64_t)asked > edge_port_describe()->arena_bytes)
        words("e-[db load: no memory left beside the model]");
    else {
        d->expected = (uint32_t)asked;
        number("m-[Expecting ", asked, " bytes]");
    }
}

static int32_t digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes of an input: all of a command's, or none. */
static void load(edge_session *s, const char *hex)
{
    const edge_model *m = &s->slots.model;
    edge_dialect *d = &s->dialect;
    const uint32_t digits = (uint32_t)strlen(hex);
    for (uint32_t i = 0; i < digits; i++)
        if (digit(hex[i]) < 0) {
            words("e-[db: not hexadecimal]");
            return;
        }
    if (digits == 0 || digits % 2)
        words("e-[db: two hexadecimal digits a byte]");
    else if (d->loaded == d->expected)
        words("e-[db: nothing to load, db load N comes first]");
    else if (digits / 2 > d->expected - d->loaded)
        number("e-[db: more than the ", d->expected, " bytes that were to come]");
    else {
        uint8_t *to = m->arena + store_at(m);
        for (uint32_t i = 0; i < digits; i += 2)
            to[d->loaded++] = (uint8_t)(digit(hex[i]) << 4 | digit(hex[i + 1]));
        if (d->loaded == d->expected)
            words("m-load-done");
    }
}

static void fill_inputs(edge_session *s)
{
    const edge_model *m = &s->slots.model;
    const edge_form *forms = edge_forms_of(m);
    const uint8_t *from = m->arena + store_at(m);
    const bool floats = s->dialect.expected != input_bytes(m);
    for (uint32_t i = 0; i < m->header->n_inputs; i++) {
        const uint32_t bytes = m->inputs[i].bytes, step = floats ? edge_form_width(&forms[i]) : bytes;
        for (uint32_t at = 0; at < bytes; at += step) {
            float value;
            if (!floats) {
                memcpy(edge_input(m, i), from, bytes);
            } else {
                memcpy(&value, from, sizeof value);
                edge_form_write(&forms[i], edge_input(m, i) + at, value);
            }
            from += floats ? sizeof value : bytes;
        }
    }
}

static void invoke(edge_session *s, uint32_t times)
{
    while (times--) {
        fill_inputs(s);
        edge_invoke(&s->slots.model);
        s->inferences++;
        edge_port_watchdog();
        (void)edge_port_ticks(); /* a counter that wraps has to be read now and then */
    }
}

/* steps * mantissa * 10^exponent, with as many decimals as tell one step from the next. */
static void put_value(edge_text *t, const edge_form *form, int64_t steps)
{
    const uint64_t size = (steps < 0 ? 0 - (uint64_t)steps : (uint64_t)steps) * (uint32_t)form->mantissa;
    uint32_t unit = 1;
    int32_t decimals = form->exponent < 0 ? -form->exponent : 0;
    for (; unit < 1000000 && decimals > 3; decimals--)
        unit *= 10;
    const int64_t rounded = (int64_t)((size + unit / 2) / unit);
    edge_put_decimal(t, steps < 0 ? -rounded : rounded, (uint32_t)decimals);
    for (int32_t zeros = form->exponent; zeros > 0; zeros--)
        edge_put_words(t, "0");
}

/* The score, of a model that has one; else all outputs. */
static void results(const edge_session *s)
{
    const edge_model *m = &s->slots.model;
    const uint32_t outputs = m->header->n_outputs;
    const edge_form *forms = edge_forms_of(m);
    if (s->steps != m->header->n_steps) {
        words("e-[results: no inference has run]");
        return;
    }
    if (forms == NULL) {
        words("e-[results: the model tells no scales, compile it again]");
        return;
    }
    char out[MOST_VALUE];
    edge_text t = {out};
    edge_put_words(&t, "m-results-[");
    bool first = true;
    for (uint32_t o = edge_monitor_of(m) ? outputs - 1 : 0; o < outputs; o++) {
        const edge_form *form = &forms[m->header->n_inputs + o];
        for (uint32_t at = 0; at < m->outputs[o].bytes; at += edge_form_width(form)) {
            if (!first)
                edge_put_words(&t, ",");
            first = false;
            put_value(&t, form, edge_form_read(form, edge_output(m, o) + at));
            say(&t, out);
        }
    }
    edge_put_words(&t, "]\r\n");
    say(&t, out);
}

static void infer(edge_session *s, const char *asked, const char *before)
{
    const int32_t n = *asked ? number_of(asked) : 1, warm = *before ? number_of(before) : 10;
    const edge_dialect *d = &s->dialect;
    if (n < 1 || warm < 0) {
        words("e-[infer N W: N from 1, W from 0, to 9999999]");
        return;
    }
    if (d->expected == 0 || d->loaded != d->expected) {
        words("e-[infer: no input is loaded]");
        return;
    }
    edge_session_disturb(s);
    number("m-warmup-start-", warm, "");
    invoke(s, (uint32_t)warm);
    words("m-warmup-done");
    number("m-infer-start-", n, "");
    lap();
    invoke(s, (uint32_t)n);
    lap();
    s->steps = s->slots.model.header->n_steps;
    words("m-infer-done");
    results(s);
}

static bool is(const char *word, const char *name)
{
    while (*word && *word == *name)
        word++, name++;
    return *word == *name;
}

static void carry_out(edge_session *s, char *at)
{
    char *const first = next_word(&at), *const second = next_word(&at), *const third = next_word(&at);
    if (is(first, "name")) {
        reply("m-name-dut-[edge-ad ", edge_port_describe()->name, "]");
    } else if (is(first, "profile")) {
        words("m-profile-[ULPMark for tinyML Firmware V0.0.1]");
        words("m-model-[" EDGE_MLPERF_MODEL "]");
    } else if (is(first, "timestamp")) {
        lap();
    } else if (!is(first, "db") && !is(first, "infer") && !is(first, "results")) {
        if (*first)
            reply("e-[Unknown command: ", first, "]");
    } else if (s->slots.live == EDGE_NO_SLOT) {
        words("e-[no model is live]");
    } else if (is(first, "infer")) {
        infer(s, second, third);
    } else if (is(first, "results")) {
        results(s);
    } else if (is(second, "load")) {
        begin_load(s, third);
    } else {
        load(s, second);
    }
}

void edge_dialect_answer(edge_session *s)
{
    edge_dialect *d = &s->dialect;
    const bool too_long = d->too_long;
    edge_dialect_begin(d);
    d->spoken = true;
    s->receiver.count = 0; /* it was no frame */
    s->receiver.skipping = false;
    if (too_long)
        number("e-[a command has at most ", EDGE_COMMAND_BYTES, " characters]");
    else
        carry_out(s, d->line);
    words("m-ready");
}

void edge_dialect_announce(void)
{
    words("m-timestamp-mode-performance");
    lap();
    words("m-init-done");
    words("m-ready");
}

#endif
