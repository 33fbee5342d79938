/*
 * build.h - The build role: compiles what a VM wants to load, and runs nothing of it
 */
#ifndef VGPUD_WORKER_BUILD_H
#define VGPUD_WORKER_BUILD_H

#include "channel.h"
#include "tenant.h"

/**
 * build_unit() - Answer one unit
 * @tenant: whose
 * @unit:   a copy; its first_op is the MODULE_LOAD
 * @reply:  filled in completely: DONE, with VGPU_OK once the result is on the exchange
 */
void build_unit(struct tenant *tenant, const struct worker_unit *unit, struct worker_reply *reply);

/**
 * build_serve() - Answer units for ever
 * @tenant:  whose
 * @channel: open
 *
 * Return: only when the channel is broken: -EPROTO or another negative errno.
 */
int build_serve(struct tenant *tenant, struct channel *channel);

#endif
