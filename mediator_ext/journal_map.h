/*
 * journal_map.h - Opening a journal
 */
#ifndef VGPUD_JOURNAL_MAP_H
#define VGPUD_JOURNAL_MAP_H

#include "journal.h"

int journal_map(int fd, struct journal **out, uint64_t *bytes);
void journal_unmap(struct journal *journal, uint64_t bytes);

#endif
