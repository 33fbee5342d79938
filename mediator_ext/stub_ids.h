/*
 * stub_ids.h - Which VM ids the header of a version 1 frame may name
 */
#ifndef VGPUD_STUB_IDS_H
#define VGPUD_STUB_IDS_H

#include <stdbool.h>

#include "journal.h"

bool stub_ids_has(const struct journal_stub *j, uint32_t vm_id);
void stub_ids_add(struct journal_stub *j, uint32_t vm_id);

#endif
