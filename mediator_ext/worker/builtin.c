/*
 * builtin.c - Work that the worker brings along
 *
 * The buffer for the sum is not charged to the VM: four bytes that it did not ask for.
 */
#include "builtin.h"

#include <stdbool.h>
#include <string.h>

static const char opencl_c[] =
    "__kernel void vgpu_vector_add(uint a, uint b, __global uint *sum) { sum[0] = a + b; }\n";

/* For devices from 2014 on, and drivers from 2017 on. */
static const char ptx[] = ".version 6.0\n"
                          ".target sm_50\n"
                          ".address_size 64\n"
                          ".visible .entry vgpu_vector_add(\n"
                          "    .param .u32 a,\n"
                          "    .param .u32 b,\n"
                          "    .param .u64 sum)\n"
                          "{\n"
                          "    .reg .b32 %r<4>;\n"
                          "    .reg .b64 %rd<3>;\n"
                          "    ld.param.u32 %r1, [a];\n"
                          "    ld.param.u32 %r2, [b];\n"
                          "    ld.param.u64 %rd1, [sum];\n"
                          "    cvta.to.global.u64 %rd2, %rd1;\n"
                          "    add.u32 %r3, %r1, %r2;\n"
                          "    st.global.u32 [%rd2], %r3;\n"
                          "    ret;\n"
                          "}\n";

struct backend_code builtin_source(const struct backend_ops *ops, struct hash_key *key)
{
    bool in_ptx = ops->builtin_kind == VGPU_MODULE_PTX;
    struct backend_code code = {
        .kind = ops->builtin_kind,
        .bytes = (const uint8_t *)(in_ptx ? ptx : opencl_c),
        .size = (in_ptx ? sizeof(ptx) : sizeof(opencl_c)) - 1,
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
