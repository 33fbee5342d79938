/*
 * launch.h - The launch role: a VM's units, one after the other, on its device
 */
#ifndef VGPUD_WORKER_LAUNCH_H
#define VGPUD_WORKER_LAUNCH_H

#include "channel.h"
#include "interrupted.h"
#include "tenant.h"

/**
 * launch_unit() - Answer one unit
 * @tenant:      whose
 * @interrupted: streams that wait for a unit to come back
 * @unit:        a copy
 * @number:      of the reply
 * @reply:       filled in completely
 */
void launch_unit(struct tenant *tenant, struct interrupted *interrupted,
                 const struct worker_unit *unit, uint32_t number, struct worker_reply *reply);

/**
 * launch_serve() - Answer units for ever
 * @tenant:  whose
 * @channel: open
 *
 * Return: only when the channel is broken: -EPROTO or another negative errno.
 */
int launch_serve(struct tenant *tenant, struct channel *channel);

#endif
