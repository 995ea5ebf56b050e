#include "forms.h"

#include <string.h>

static int sound(const edge_form *form, const edge_port *port)
{
    return form->kind <= EDGE_FORM_INT32 && form->mantissa > 0 && form->mantissa < 1000000000 &&
           form->exponent >= -40 && form->exponent <= 8 && form->scale > 0.0f &&
           port->bytes % edge_form_width(form) == 0;
}

const edge_form *edge_forms_of(const edge_model *m)
{
    const edge_header *h = m->header;
    const uint32_t count = h->n_inputs + h->n_outputs;
    const uint64_t at = (uint64_t)h->ports + count * sizeof(edge_port);
    if (at + 4 + count * sizeof(edge_form) > h->length)
        return NULL;
    uint32_t magic;
    memcpy(&magic, m->image + at, sizeof magic);
    const edge_form *forms = (const edge_form *)(m->image + at + 4);
    for (uint32_t i = 0; i < count; i++)
        if (magic != EDGE_FORMS_MAGIC || !sound(&forms[i], &m->inputs[i]))
            return NULL;
    return forms;
}

int64_t edge_form_read(const edge_form *form, const uint8_t *from)
{
    int16_t half;
    int32_t word;
    switch (form->kind) {
    case EDGE_FORM_INT8:
        word = (int8_t)*from;
        break;
    case EDGE_FORM_UINT8:
        word = *from;
        break;
    case EDGE_FORM_INT16:
        memcpy(&half, from, sizeof half);
        word = half;
        break;
    default:
        memcpy(&word, from, sizeof word);
    }
    return (int64_t)word - form->zero;
}

/* The nearest whole number, halves to even, of one within 2^22: adding this leaves no room for a fraction. */
static float whole(float y)
{
    const float room = 12582912.0f; /* 1.5 * 2^23 */
    volatile float sum = y + room;
    return sum - room;
}

void edge_form_write(const edge_form *form, uint8_t *to, float value)
{
    const int32_t low = form->kind == EDGE_FORM_INT8 ? -128 : form->kind == EDGE_FORM_UINT8 ? 0 : -32768;
    const int32_t high = form->kind == EDGE_FORM_INT8 ? 127 : form->kind == EDGE_FORM_UINT8 ? 255 : 32767;
    const float y = value / form->scale;
    int64_t stored = y >= 65536.0f ? 65536 : y > -65536.0f ? (int32_t)whole(y) : y <= -65536.0f ? -65536 : 65536;
    stored += form->zero;
    const int32_t kept = stored < low ? low : stored > high ? high : (int32_t)stored;
    const uint8_t bytes[2] = {(uint8_t)kept, (uint8_t)(kept >> 8)}; /* little-endian */
    memcpy(to, bytes, edge_form_width(form));
}
