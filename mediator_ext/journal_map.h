/*
 * journal_map.h - Opening a journal
 */
#ifndef VGPUD_JOURNAL_MAP_H
#define VGPUD_JOURNAL_MAP_H

#include <stdbool.h>

#include "journal.h"

int journal_map(int fd, struct journal **out, uint64_t *bytes);
void journal_unmap(struct journal *journal, uint64_t bytes);

/* journal_check.c */
bool journal_sound(const struct journal *j);
bool journal_sent(const struct journal *j, const struct journal_slot *slot);
uint32_t journal_stub_owed(const struct journal *j);

#endif
