/*
 * module_source.h - The code that a MODULE_LOAD names, taken out of the guest's reach
 *
 * Launcher and builder do the same with it up to the key: that is why both find the same one.
 */
#ifndef VGPUD_WORKER_MODULE_SOURCE_H
#define VGPUD_WORKER_MODULE_SOURCE_H

#include <stdint.h>

#include "backend.h"
#include "hash.h"
#include "slices.h"

#define MODULE_CODE_BYTES_MAX    (16u << 20)
#define MODULE_OPTIONS_BYTES_MAX 4096u

struct module_source {
    struct hash_key key;
    struct backend_code code; /* points into this structure */
    char options[MODULE_OPTIONS_BYTES_MAX + 1];
    uint8_t *bytes; /* MODULE_CODE_BYTES_MAX + 1, reserved once; used pages come as needed */
};

/**
 * module_source_new() - Reserve room for one source
 *
 * Return: to be freed by module_source_free(); NULL without memory.
 */
struct module_source *module_source_new(void);

/**
 * module_source_free() - Free it
 * @source: may be NULL
 */
void module_source_free(struct module_source *source);

/**
 * module_source_take() - Copy and check what a MODULE_LOAD names
 * @source: filled in, with its key
 * @slices: the data area
 * @qp:     pair of the submission
 * @kinds:  bits (1 << enum vgpu_module_kind) that the device takes
 * @head:   the op, head->size bytes of it
 *
 * Return: VGPU_OK, VGPU_INVALID, or VGPU_UNSUPPORTED for a kind that the device does not take.
 */
uint16_t module_source_take(struct module_source *source, const struct slices *slices, uint32_t qp,
                            uint32_t kinds, const struct vgpu_op_header *head);

#endif
