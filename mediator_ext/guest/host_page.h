/*
 * host_page.h - Checks of what the host says about the shared memory; not for users of the library
 */
#ifndef VGPU_HOST_PAGE_H
#define VGPU_HOST_PAGE_H

#include <stdint.h>

#include "vgpu.h"

/**
 * host_page_check() - Is this a host page that can be worked with?
 * @page: a private copy
 * @memory_bytes: size of the memory it describes
 *
 * Return: 0, or -EPROTO with @why.
 */
int host_page_check(const struct vgpu_host_page *page, uint64_t memory_bytes,
                    struct vgpu_reason *why);

#endif
