/*
 * entry.h - What a submission asks for
 */
#ifndef VGPUD_ENTRY_H
#define VGPUD_ENTRY_H

#include <stdbool.h>

#include "journal.h"
#include "transport.h"

bool entry_urgent(uint8_t kind);
void entry_read(const struct vgpu_submission *e, const struct journal_ring *ring,
                const uint8_t *data, struct journal_wait waits[VGPU_WAITS_MAX],
                struct request_received *what);

#endif
