/* What the integers of a model's ports stand for: a table of the image that nothing is computed by. */
#ifndef EDGE_FORMS_H
#define EDGE_FORMS_H

#include "edge_engine.h"

#define EDGE_FORMS_MAGIC 0x4D524F46u /* "FORM" */

enum { EDGE_FORM_INT8 = 0, EDGE_FORM_UINT8, EDGE_FORM_INT16, EDGE_FORM_INT32 };

/* value = scale * (integer - zero), and scale = mantissa * 10^exponent to nine digits. */
typedef struct {
    uint32_t kind;
    int32_t zero;
    int32_t mantissa, exponent;
    float scale;
} edge_form;

/* Those of all inputs, then of all outputs of a loaded model; NULL where its image has none, or no sound ones. */
const edge_form *edge_forms_of(const edge_model *model);

static inline uint32_t edge_form_width(const edge_form *form)
{
    return form->kind == EDGE_FORM_INT32 ? 4 : form->kind == EDGE_FORM_INT16 ? 2 : 1;
}

/* An integer of a port, less its zero. */
int64_t edge_form_read(const edge_form *form, const uint8_t *from);
/* The integer nearest to a value, halves to even, saturated; the largest for what is no number. Not of EDGE_FORM_INT32. */
void edge_form_write(const edge_form *form, uint8_t *to, float value);

#endif
