/*
 * builtin.c - Work that the worker brings along
 *
 * The buffer for the sum is not charged to the VM: four bytes that it did not ask for.
 */
#include "builtin.h"

#include <string.h>

static const char source[] =
    "__kernel void vgpu_vector_add(uint a, uint b, __global uint *sum) { sum[0] = a + b; }\n";

struct backend_code builtin_source(struct hash_key *key)
{
    struct backend_code code = {
        .kind = VGPU_MODULE_OPENCL_C,
        .bytes = (const uint8_t *)source,
        .size = sizeof(source) - 1,
        .options = "",
    };

    *key = hash_module(code.kind, code.options, code.bytes, code.size);
    return code;
}

struct backend_verdict builtin_load(struct builtin *builtin, const struct backend_ops *ops,
                                    struct backend *backend, const uint8_t *binary, uint64_t bytes)
{
    struct backend_verdict verdict;
    uint64_t raw;
    uint32_t args;

    verdict = ops->module_load(backend, binary, bytes, &builtin->module);
    if (verdict.status == VGPU_OK)
        verdict = ops->alloc(backend, sizeof(uint32_t), &builtin->out, &raw);
    if (verdict.status == VGPU_OK)
        verdict = ops->kernel_create(backend, builtin->module, "vgpu_vector_add", &builtin->kernel,
                                     &args);
    if (verdict.status != VGPU_OK)
        builtin_close(builtin, ops, backend);
    return verdict;
}

struct backend_verdict builtin_vector_add(struct builtin *builtin, const struct backend_ops *ops,
                                          struct backend *backend, uint32_t a, uint32_t b,
                                          uint32_t *sum)
{
    const struct backend_arg args[] = {
        {.kind = VGPU_ARG_VALUE, .size = sizeof(a), .value = &a},
        {.kind = VGPU_ARG_VALUE, .size = sizeof(b), .value = &b},
        {.kind = VGPU_ARG_BUFFER, .buffer = builtin->out},
    };
    const struct backend_launch launch = {
        .kernel = builtin->kernel,
        .dims = 1,
        .global = {1},
        .local = {1},
        .arg_count = sizeof(args) / sizeof(args[0]),
        .args = args,
    };
    struct backend_verdict verdict;

    if (ops->vector_add) {
        *sum = ops->vector_add(a, b);
        return BACKEND_FINE;
    }
    verdict = ops->launch(backend, &launch);
    if (verdict.status == VGPU_OK)
        verdict = ops->finish(backend);
    if (verdict.status == VGPU_OK)
        verdict = ops->read(backend, builtin->out, 0, sum, sizeof(*sum));
    return verdict;
}

void builtin_close(struct builtin *builtin, const struct backend_ops *ops, struct backend *backend)
{
    if (builtin->kernel)
        ops->kernel_release(backend, builtin->kernel);
    if (builtin->out)
        ops->free(backend, builtin->out);
    if (builtin->module)
        ops->module_unload(backend, builtin->module);
    memset(builtin, 0, sizeof(*builtin));
}
