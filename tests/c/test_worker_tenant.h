/*
 * test_worker_tenant.h - A VM on the null device inside a test, and commands for it
 */
#ifndef VGPUD_TESTS_WORKER_TENANT_H
#define VGPUD_TESTS_WORKER_TENANT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ring_abi.h"
#include "worker/backend.h"
#include "worker/tenant.h"
#include "worker_channel.h"

#define SLICE_BYTES 262144u
#define QUOTA_BYTES 65536u

/* Where bulk data lies in a slice: behind the largest command. */
#define DATA_AT 131072u

/* Two pairs whose slices are plain memory: a sanitizer sees every byte outside. */
static inline void tenant_of_null(struct tenant *tenant)
{
    struct backend_settings settings = {.device = -1};
    struct backend *backend;
    char reason[64];

    if (backend_null.open(&settings, &backend, reason, sizeof(reason)) != 0 ||
        tenant_open(tenant, &backend_null, backend, QUOTA_BYTES) != 0)
        abort();
    tenant->slices.count = 2;
    tenant->slices.bytes = SLICE_BYTES;
    for (int i = 0; i < 2; i++) {
        tenant->slices.base[i] = calloc(1, SLICE_BYTES);
        if (!tenant->slices.base[i])
            abort();
    }
}

static inline void tenant_of_null_close(struct tenant *tenant)
{
    tenant_close(tenant);
    free(tenant->slices.base[0]);
    free(tenant->slices.base[1]);
}

/* A command under construction in the slice of pair 0. */
struct script {
    struct tenant *tenant;
    uint32_t len;
};

static inline void *script_op(struct script *script, uint16_t op, uint32_t size)
{
    struct vgpu_op_header *head = (void *)(script->tenant->slices.base[0] + script->len);

    memset(head, 0, size);
    head->op = op;
    head->size = size;
    script->len += size;
    return head;
}

static inline struct worker_unit script_unit(const struct script *script, uint8_t lane)
{
    return (struct worker_unit){
        .token = 7,
        .kind = WORKER_UNIT_COMMAND,
        .lane = lane,
        .ctx = 1,
        .stream = 1,
        .budget_us = 1000000,
        .cmd_len = script->len,
    };
}

static inline void script_alloc(struct script *script, uint32_t id, uint64_t bytes)
{
    struct vgpu_op_alloc *op = script_op(script, VGPU_OP_ALLOC, sizeof(*op));

    op->id = id;
    op->bytes = bytes;
}

static inline void script_free(struct script *script, uint32_t id)
{
    struct vgpu_op_free *op = script_op(script, VGPU_OP_FREE, sizeof(*op));

    op->id = id;
}

static inline struct vgpu_op_module_load *script_load(struct script *script, uint32_t id,
                                                      const char *code)
{
    struct vgpu_op_module_load *op = script_op(script, VGPU_OP_MODULE_LOAD, sizeof(*op));

    strcpy((char *)script->tenant->slices.base[0] + DATA_AT, code);
    op->id = id;
    op->kind = VGPU_MODULE_OPENCL_C;
    op->code = (struct vgpu_data_ref){.off = DATA_AT, .len = strlen(code)};
    return op;
}

#endif
