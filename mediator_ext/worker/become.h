/*
 * become.h - From a bind message to a VM's slices and channel
 */
#ifndef VGPUD_WORKER_BECOME_H
#define VGPUD_WORKER_BECOME_H

#include "bind.h"
#include "channel.h"
#include "tenant.h"

/**
 * become() - Map what a bind brought
 * @bind:    received; on success nothing of it is left open but what @channel and @tenant took over
 * @tenant:  open; its slices and its exchange are set
 * @channel: opened
 * @reason:  set on failure: a sentence, sizeof(struct worker_ready.reason) bytes
 *
 * The ring's descriptor is closed: only the slices stay reachable.
 *
 * Return: 0; -errno, and then nothing is mapped and the descriptors are still the bind's.
 */
int become(struct bind *bind, struct tenant *tenant, struct channel *channel, char *reason);

#endif
