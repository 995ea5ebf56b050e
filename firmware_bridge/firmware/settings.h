/* What a board was told to watch by, kept in flash among the records of the slots. */
#ifndef EDGE_SETTINGS_H
#define EDGE_SETTINGS_H

#include "judge.h"

#define EDGE_NAME_BYTES 32u
#define EDGE_DIGEST_BYTES 32u

typedef struct {
    uint32_t epoch;    /* starts of watching so far: no two have the same */
    uint32_t identity; /* given by the host at random, so that no two boards have the same either */
    bool on, own_threshold; /* own_threshold: `threshold` counts, else the image's */
    int32_t threshold;
    edge_rules rules;
    uint8_t name_length;
    char name[EDGE_NAME_BYTES]; /* of the stream */
    uint8_t digest[EDGE_DIGEST_BYTES]; /* of the bundle */
} edge_settings;

/* The newest ones for the image with this CRC; false where there are none. */
bool edge_settings_load(edge_settings *settings, uint32_t image);
/* Keep them; `live` is the slot of that image. False where flash cannot be written. */
bool edge_settings_save(const edge_settings *settings, uint32_t image, uint32_t live);

/* The rules, as eight u16 in the order of their declaration. */
void edge_rules_read(edge_rules *rules, const uint8_t *bytes);

#endif
