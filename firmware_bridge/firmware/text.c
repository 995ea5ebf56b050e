#include "text.h"

#include <stdbool.h>
#include <string.h>

void edge_put_words(edge_text *t, const char *words)
{
    const size_t length = strlen(words);
    memcpy(t->at, words, length);
    t->at += length;
}

void edge_put_number(edge_text *t, int64_t value) { edge_put_decimal(t, value, 0); }

void edge_put_decimal(edge_text *t, int64_t value, uint32_t decimals)
{
    char digits[20];
    uint32_t count = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        *t->at++ = '-';
    for (uint32_t place = count > decimals ? count : decimals + 1; place--;) {
        *t->at++ = place < count ? digits[place] : '0';
        if (place == decimals && place > 0)
            *t->at++ = '.';
    }
}
