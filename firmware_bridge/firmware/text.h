/* Text under way into a buffer that is long enough; numbers in decimal, by integers only. */
#ifndef EDGE_TEXT_H
#define EDGE_TEXT_H

#include <stdint.h>

typedef struct {
    char *at;
} edge_text;

void edge_put_words(edge_text *text, const char *words);
/* At most 20 characters. */
void edge_put_number(edge_text *text, int64_t value);
/* value * 10^-decimals, as 0.0123: at most 21 characters, or `decimals` + 3. */
void edge_put_decimal(edge_text *text, int64_t value, uint32_t decimals);

#endif
