/*
 * build_log.h - What a guest is shown of a compiler's words
 */
#ifndef VGPUD_WORKER_BUILD_LOG_H
#define VGPUD_WORKER_BUILD_LOG_H

#include <stdint.h>

/**
 * build_log_hide() - A build log without the paths of the host
 * @log:       text
 * @directory: of which nothing is to be seen, without a final slash; NULL or empty = none
 *
 * A compiler names the file in which it was given the source. Where that stands, the guest reads
 * "<program>": the file is none of its, and its path says how this host is arranged.
 *
 * Return: another text, malloc'd; NULL without memory.
 */
char *build_log_hide(const char *log, const char *directory);

/**
 * build_log_blank() - Overwrite a directory of the host wherever it stands in a binary
 * @binary:    changed in place; nothing in it moves
 * @bytes:     of @binary
 * @directory: as for build_log_hide()
 *
 * A compiler names its input also in what it makes, where only people would look for it.
 */
void build_log_blank(uint8_t *binary, uint64_t bytes, const char *directory);

#endif
