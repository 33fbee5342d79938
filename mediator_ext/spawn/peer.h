/*
 * peer.h - Who a process is, by /proc
 */
#ifndef VGPUD_SPAWN_PEER_H
#define VGPUD_SPAWN_PEER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * peer_lookup() - Read a process's effective uid and command line
 * @pid: process
 * @uid: the effective uid, which is what SO_PEERCRED reports for a connection it makes
 * @command: its arguments, one blank between two, cut to fit and ended by NUL; control characters
 *           become '?'; "" for a kernel thread
 * @size: bytes at @command, at least 1
 *
 * Return: 0; -EINVAL for a pid below 1; -ESRCH if there is no such process; another -errno
 */
int peer_lookup(pid_t pid, uint32_t *uid, char *command, size_t size);

/**
 * peer_parent() - Whose child a process is
 *
 * Return: the pid of its parent; 0 if it has none, or if there is no such process
 */
pid_t peer_parent(pid_t pid);

#endif
