/* Two slots for models: uploaded in pieces, live once proven, and what to fall back to. */
#ifndef EDGE_SLOTS_H
#define EDGE_SLOTS_H

#include <stdbool.h>

#include "engine/edge_engine.h"

#define EDGE_NO_SLOT (-1)

typedef enum {
    EDGE_SLOT_OK = 0,
    EDGE_SLOT_EMPTY,   /* nothing uploaded, or nothing to go back to */
    EDGE_SLOT_TOO_LONG,
    EDGE_SLOT_REFUSED, /* the engine's status says why */
    EDGE_SLOT_UNPROVEN,
    EDGE_SLOT_BROKEN,  /* flash that cannot be erased or programmed */
    EDGE_SLOT_OFFSET   /* not where the upload stands */
} edge_slot_status;

typedef struct {
    edge_model model; /* of the live slot, when `live` is one */
    int32_t live;
    uint32_t length, crc; /* of the live image */
    int32_t target;       /* slot of the upload that is under way */
    uint32_t upload_length, upload_next;
    uint8_t pending[32]; /* the end of what came, until a whole unit of flash can be programmed */
    edge_status refusal; /* of the engine, after EDGE_SLOT_REFUSED */
    uint32_t failed;     /* golden vector, after EDGE_SLOT_UNPROVEN */
} edge_slots;

/* The newest model that loads and passes its golden vectors becomes live. */
void edge_slots_open(edge_slots *s);

/* The longest image that a slot takes. */
uint32_t edge_slots_capacity(void);

/* Begin or go on with an upload; s->upload_next is where. crc: the field of the image's header. */
edge_slot_status edge_slots_begin(edge_slots *s, uint32_t length, uint32_t crc);
edge_slot_status edge_slots_data(edge_slots *s, uint32_t offset, const uint8_t *data, uint32_t length);

/* Check and prove what was uploaded, and make it live; *sequence: of its record. */
edge_slot_status edge_slots_commit(edge_slots *s, uint32_t *sequence);

/* Make the other slot's model live again, once it has proved itself. */
edge_slot_status edge_slots_rollback(edge_slots *s);

/* Further records of a slot, behind those that make it live: `bytes`, so many units of EDGE_RECORD_BYTES of which none
 * is all 0xFF. False where there is no room for them, or flash cannot be written. */
#define EDGE_RECORD_BYTES 32u
bool edge_slots_append(uint32_t slot, const uint8_t *bytes, uint32_t units);
/* Make room: of the slot's records only what makes it live stays. */
bool edge_slots_clear(uint32_t slot);
/* A slot's records, from the first one on; NULL behind the last unit. */
const uint8_t *edge_slots_record(uint32_t slot, uint32_t unit);

#endif
