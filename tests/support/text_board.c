/* The firmware in memory, for property tests: pieces of a line come in on standard input, what it answers goes out.
 *
 *     text_board IMAGE
 *
 * Each piece is a word (length) and bytes; a length of 0xFFFFFFFF starts the board anew, with the image in its flash.
 * For each piece comes back a word (length) and what the board sent. Built with the address and undefined sanitizers.
 */
#include <stdio.h>
#include <stdlib.h>

#define EDGE_RAM_BOARD_WRITE
#include "fuzz/ram_board.h"
#include "link/session.h"

static uint8_t sent[1u << 22];
static uint32_t sent_count;

void edge_port_write(const uint8_t *data, uint32_t length)
{
    if (length > sizeof sent - sent_count)
        abort();
    memcpy(sent + sent_count, data, length);
    sent_count += length;
}

static uint8_t image[SLOT_BYTES];
static uint32_t image_length;

static void start(edge_session *session)
{
    memset(slots, 0xFF, sizeof slots);
    memset(arena, 0, sizeof arena);
    restarted = false;
    edge_slots flash;
    edge_slots_open(&flash);
    uint32_t sequence;
    edge_header header;
    memcpy(&header, image, sizeof header);
    if (edge_slots_begin(&flash, image_length, header.crc) || edge_slots_data(&flash, 0, image, image_length) ||
        edge_slots_commit(&flash, &sequence))
        abort();
    edge_session_start(session);
    edge_session_announce(session);
}

int main(int argc, char **argv)
{
    static edge_session session;
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file)
        return 2;
    image_length = (uint32_t)fread(image, 1, sizeof image, file);
    fclose(file);
    uint32_t length;
    while (fread(&length, 4, 1, stdin) == 1) {
        sent_count = 0;
        if (length == 0xFFFFFFFFu) {
            start(&session);
        } else {
            uint8_t *piece = malloc(length ? length : 1); /* of its very size, for the sanitizer */
            if (!piece || fread(piece, 1, length, stdin) != length)
                return 2;
            edge_session_take(&session, piece, length);
            edge_session_stream(&session);
            free(piece);
            if (restarted)
                start(&session);
        }
        fwrite(&sent_count, 4, 1, stdout);
        fwrite(sent, 1, sent_count, stdout);
        fflush(stdout);
    }
    return 0;
}
