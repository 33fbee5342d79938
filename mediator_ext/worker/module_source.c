/*
 * module_source.c - The code that a MODULE_LOAD names, taken out of the guest's reach
 */
#include "module_source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct module_source *module_source_new(void)
{
    struct module_source *made = calloc(1, sizeof(*made));
    void *bytes;

    if (!made)
        return NULL;
    bytes = mmap(NULL, MODULE_CODE_BYTES_MAX + 1, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED) {
        free(made);
        return NULL;
    }
    made->bytes = bytes;
    return made;
}

void module_source_free(struct module_source *source)
{
    if (!source)
        return;
    munmap(source->bytes, MODULE_CODE_BYTES_MAX + 1);
    free(source);
}

uint16_t module_source_take(struct module_source *source, const struct slices *slices, uint32_t qp,
                            uint32_t kinds, const struct vgpu_op_header *head)
{
    const struct vgpu_op_module_load *op = (const void *)head;
    const uint8_t *code, *options;

    if (head->op != VGPU_OP_MODULE_LOAD || head->size != sizeof(*op) || op->id == 0)
        return VGPU_INVALID;
    if ((op->code.flags | op->options.flags | op->log.flags) != 0)
        return VGPU_INVALID;
    code = slices_at(slices, qp, op->code.seg, op->code.off, op->code.len);
    options = slices_at(slices, qp, op->options.seg, op->options.off, op->options.len);
    if (!code || !options || !slices_at(slices, qp, op->log.seg, op->log.off, op->log.len))
        return VGPU_INVALID;
    if (op->code.len == 0 || op->code.len > MODULE_CODE_BYTES_MAX ||
        op->options.len > MODULE_OPTIONS_BYTES_MAX)
        return VGPU_INVALID;
    if (op->kind < VGPU_MODULE_OPENCL_C || op->kind > VGPU_MODULE_CUBIN)
        return VGPU_INVALID;
    if (!(kinds & (1u << op->kind)))
        return VGPU_UNSUPPORTED;

    memcpy(source->bytes, code, op->code.len);
    source->bytes[op->code.len] = 0;
    memcpy(source->options, options, op->options.len);
    source->options[op->options.len] = 0;
    if (strlen(source->options) != op->options.len)
        return VGPU_INVALID;
    source->code = (struct backend_code){
        .kind = op->kind,
        .bytes = source->bytes,
        .size = op->code.len,
        .options = source->options,
    };
    source->key = hash_module(op->kind, source->options, source->bytes, op->code.len);
    return VGPU_OK;
}
