/*
 * stub_stream.h - The two byte streams of a version 1 connection, kept in the journal
 */
#ifndef VGPUD_STUB_STREAM_H
#define VGPUD_STUB_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal.h"
#include "wire.h"

struct closer;

struct stub_stream {
    struct journal_stub *journal;
    uint8_t *tx;
    uint32_t tx_bytes; /* a power of two */
};

void stub_stream_init(struct stub_stream *s, struct journal *journal);
void stub_stream_reset(struct stub_stream *s);
bool stub_stream_sane(const struct stub_stream *s);

/* In. */
enum stub_received {
    STUB_MAY_GO_ON, /* something came, or nothing did */
    STUB_ENDED,     /* nothing more will come */
    STUB_BROKEN,
};
enum stub_received stub_stream_receive(struct stub_stream *s, struct closer *closer, int fd);
uint32_t stub_stream_received(const struct stub_stream *s);
bool stub_stream_skip(struct stub_stream *s);
enum wire_parsed stub_stream_next(struct stub_stream *s, uint8_t scratch[WIRE_KEEP_MAX],
                                  struct wire_frame *frame);
void stub_stream_discard(struct stub_stream *s);

/* Out. Return of send: false when the peer is gone. */
uint32_t stub_stream_pending(const struct stub_stream *s);
uint32_t stub_stream_room(const struct stub_stream *s);
void stub_stream_append(struct stub_stream *s, const uint8_t *bytes, size_t length);
bool stub_stream_send(struct stub_stream *s, int fd);

#endif
