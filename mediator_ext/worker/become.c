/*
 * become.c - From a bind message to a VM's slices and channel
 */
#include "become.h"

#include <stdio.h>
#include <string.h>

#define REASON_BYTES sizeof(((struct worker_ready *)0)->reason)

int become(struct bind *bind, struct tenant *tenant, struct channel *channel, char *reason)
{
    int error;

    error = slices_map(&tenant->slices, bind->fds[WORKER_BIND_RING], &bind->message);
    if (error) {
        snprintf(reason, REASON_BYTES, "cannot map the data area: %s", strerror(-error));
        return error;
    }
    error = channel_open(channel, bind->fds[WORKER_BIND_CHANNEL], bind->fds[WORKER_BIND_DOORBELL]);
    if (error) {
        snprintf(reason, REASON_BYTES, "cannot map the channel: %s", strerror(-error));
        slices_unmap(&tenant->slices);
        return error;
    }
    bind->fds[WORKER_BIND_DOORBELL] = -1;
    tenant->exchange = bind->fds[WORKER_BIND_EXCHANGE];
    bind->fds[WORKER_BIND_EXCHANGE] = -1;
    bind_close(bind);
    return 0;
}
