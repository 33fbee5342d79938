/*
 * lifeline.h - Ending with those who started us
 */
#ifndef VGPUD_WORKER_LIFELINE_H
#define VGPUD_WORKER_LIFELINE_H

/**
 * lifeline_start() - End this process when the control socket's other end is closed by everybody
 * @control: the control socket; nobody else reads it from now on
 *
 * Starts a thread. The end is _exit(0), whatever the other threads do: an endless kernel, too.
 *
 * Return: 0 or -errno.
 */
int lifeline_start(int control);

#endif
