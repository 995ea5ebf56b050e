#include "settings.h"

#include <string.h>

#include "link/frames.h"
#include "ports/port.h"
#include "slots.h"

/* A record of four units, of which none can be all 0xFF, which is what unwritten flash reads as:
 * 0 magic | 4 image | 8 sequence | 12 epoch | 16 threshold | 20 flags, name length | 22 rules | 38 zero | 40 identity |
 * 44 name | 76 digest | 108 zeros | 124 CRC. */
#define MAGIC 0x53544553u /* "SETS" */
#define UNITS 4u
#define BYTES (UNITS * EDGE_RECORD_BYTES)
#define CRC_AT (BYTES - 4u)
#define ON 1u
#define OWN_THRESHOLD 2u

void edge_rules_read(edge_rules *rules, const uint8_t *bytes)
{
    uint16_t *const fields[] = {&rules->k,          &rules->n,               &rules->release,    &rules->cooldown,
                                &rules->min_frames, &rules->update_interval, &rules->hysteresis, &rules->rise};
    for (uint32_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = edge_get16(bytes + 2 * i);
}

static void rules_write(const edge_rules *rules, uint8_t *bytes)
{
    const uint16_t fields[] = {rules->k,          rules->n,               rules->release,    rules->cooldown,
                               rules->min_frames, rules->update_interval, rules->hysteresis, rules->rise};
    for (uint32_t i = 0; i < sizeof fields / sizeof *fields; i++)
        edge_put16(bytes + 2 * i, fields[i]);
}

/* The newest record for this image among those of a slot, if newer than *sequence. */
static const uint8_t *newest(uint32_t slot, uint32_t image, uint32_t *sequence)
{
    const uint8_t *found = NULL, *bytes;
    for (uint32_t unit = 0; (bytes = edge_slots_record(slot, unit)) != NULL; unit++) {
        if (edge_get32(bytes) != MAGIC || edge_slots_record(slot, unit + UNITS - 1) == NULL ||
            edge_crc32(0, bytes, CRC_AT) != edge_get32(bytes + CRC_AT))
            continue;
        if (edge_get32(bytes + 4) == image && edge_get32(bytes + 8) > *sequence) {
            *sequence = edge_get32(bytes + 8);
            found = bytes;
        }
        unit += UNITS - 1;
    }
    return found;
}

static const uint8_t *kept(uint32_t image, uint32_t *sequence)
{
    const uint8_t *found = NULL;
    *sequence = 0;
    for (uint32_t slot = 0; slot < EDGE_SLOTS; slot++) {
        const uint8_t *bytes = newest(slot, image, sequence);
        if (bytes != NULL)
            found = bytes;
    }
    return found;
}

bool edge_settings_load(edge_settings *s, uint32_t image)
{
    uint32_t sequence;
    const uint8_t *bytes = kept(image, &sequence);
    memset(s, 0, sizeof *s);
    if (bytes == NULL || bytes[21] > EDGE_NAME_BYTES)
        return false;
    s->epoch = edge_get32(bytes + 12);
    s->threshold = (int32_t)edge_get32(bytes + 16);
    s->on = bytes[20] & ON;
    s->own_threshold = bytes[20] & OWN_THRESHOLD;
    s->name_length = bytes[21];
    edge_rules_read(&s->rules, bytes + 22);
    s->identity = edge_get32(bytes + 40);
    memcpy(s->name, bytes + 44, EDGE_NAME_BYTES);
    memcpy(s->digest, bytes + 76, EDGE_DIGEST_BYTES);
    return edge_rules_ok(&s->rules);
}

bool edge_settings_save(const edge_settings *s, uint32_t image, uint32_t live)
{
    uint8_t bytes[BYTES] = {0};
    uint32_t sequence;
    kept(image, &sequence);
    edge_put32(bytes, MAGIC);
    edge_put32(bytes + 4, image);
    edge_put32(bytes + 8, sequence + 1);
    edge_put32(bytes + 12, s->epoch);
    edge_put32(bytes + 16, (uint32_t)s->threshold);
    bytes[20] = (uint8_t)((s->on ? ON : 0) | (s->own_threshold ? OWN_THRESHOLD : 0));
    bytes[21] = s->name_length;
    rules_write(&s->rules, bytes + 22);
    edge_put32(bytes + 40, s->identity);
    memcpy(bytes + 44, s->name, EDGE_NAME_BYTES);
    memcpy(bytes + 76, s->digest, EDGE_DIGEST_BYTES);
    edge_put32(bytes + CRC_AT, edge_crc32(0, bytes, CRC_AT));
    /* Never erase what makes the live slot live: when its unit is full, the other slot's takes them. */
    const uint32_t other = 1 - live;
    return edge_slots_append(live, bytes, UNITS) || edge_slots_append(other, bytes, UNITS) ||
           (edge_slots_clear(other) && edge_slots_append(other, bytes, UNITS));
}
