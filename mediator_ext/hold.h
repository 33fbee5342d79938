/*
 * hold.h - Letting the spawner hold what must outlive the engine
 */
#ifndef VGPUD_HOLD_H
#define VGPUD_HOLD_H

int hold_fd(int spawner, const char *uuid, const char *what, int fd);
int hold_drop(int spawner, const char *uuid, const char *what);

#endif
