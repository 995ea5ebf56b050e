/* The firmware: whatever the board, it starts, finds its model, and answers. */
#include "link/session.h"
#include "ports/port.h"

static edge_session session;

static void count_boot(void)
{
    edge_retained *r = edge_port_retained();
    if (r->magic != EDGE_RETAINED)
        *r = (edge_retained){.magic = EDGE_RETAINED};
    r->boots++;
}

int main(void)
{
    edge_port_init();
    count_boot();
    edge_session_start(&session);
    edge_session_announce(&session);
    for (;;) {
        uint8_t bytes[256];
        const uint32_t count = edge_port_read(bytes, sizeof bytes);
        edge_port_watchdog();
        const bool streamed = edge_session_stream(&session);
        if (count)
            edge_session_take(&session, bytes, count);
        else if (!streamed)
            edge_port_idle(edge_session_waits(&session));
    }
}
