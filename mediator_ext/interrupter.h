/*
 * interrupter.h - Ringing a guest's eventfd without ever waiting for it
 */
#ifndef VGPUD_INTERRUPTER_H
#define VGPUD_INTERRUPTER_H

#include <linux/aio_abi.h>
#include <stdint.h>

struct interrupter {
    aio_context_t context;
    int file;          /* read from, zero bytes at a time */
    uint32_t unreaped; /* finished reads whose events still lie in the context */
};

int interrupter_init(struct interrupter *i);
void interrupter_free(struct interrupter *i);
int interrupter_ring(struct interrupter *i, int eventfd);

#endif
