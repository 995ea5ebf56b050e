/* The link: any bytes on the line. A first byte of 0 takes the rest as they are; of 1, as (type, length, payload)
 * of frames that are whole, so that what lies behind the parser is reached.
 */
#include "../link/session.h"
#include "ram_board.h"

static edge_session session;

static void take_frames(const uint8_t *data, size_t size)
{
    static uint8_t out[EDGE_STUFFED_BYTES + 2];
    uint16_t seq = 0;
    for (size_t at = 0; at + 3 <= size && !restarted;) {
        uint32_t length = edge_get16(data + at + 1) % (EDGE_MAX_PAYLOAD + 1);
        const uint8_t type = data[at];
        at += 3;
        if (length > size - at)
            length = (uint32_t)(size - at);
        const uint32_t count = edge_encode(out, type, seq++, data + at, (uint16_t)length);
        edge_session_take(&session, out, count);
        for (int i = 0; i < 8; i++)
            edge_session_stream(&session);
        at += length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    memset(slots, 0xFF, sizeof slots);
    memset(arena, 0, sizeof arena);
    restarted = false;
    edge_session_start(&session);
    edge_session_announce(&session);
    if (data[0] & 1)
        take_frames(data + 1, size - 1);
    else
        edge_session_take(&session, data + 1, (uint32_t)(size - 1));
    edge_session_start(&session); /* what it left in flash is read again */
    return 0;
}
