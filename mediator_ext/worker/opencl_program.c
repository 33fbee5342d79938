/*
 * opencl_program.c - From source to a binary, and from a binary to a program
 *
 * The two halves run in different processes. The binary is whatever CL_PROGRAM_BINARIES gives; on
 * PoCL that call also links every kernel, once for all local sizes because
 * POCL_WORK_GROUP_SPECIALIZATION is 0, so that the launch side needs neither compiler nor linker.
 * -cl-kernel-arg-info is added so that the launch side knows what its kernels' arguments are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl_device.h"

/* The log of a build; a build without one leaves *built as it is. */
static void take_log(struct backend *backend, cl_program program, struct backend_built *built)
{
    size_t bytes = 0;
    char *log;

    if (backend->cl.GetProgramBuildInfo(program, backend->device, CL_PROGRAM_BUILD_LOG, 0, NULL,
                                        &bytes) != CL_SUCCESS ||
        bytes <= 1)
        return;
    log = malloc(bytes + 1);
    if (!log)
        return;
    log[bytes] = 0;
    if (backend->cl.GetProgramBuildInfo(program, backend->device, CL_PROGRAM_BUILD_LOG, bytes, log,
                                        NULL) != CL_SUCCESS) {
        free(log);
        return;
    }
    built->log = log;
    built->log_bytes = strlen(log);
}

static cl_int take_binary(struct backend *backend, cl_program program, struct backend_built *built)
{
    unsigned char *binaries[1];
    size_t bytes = 0;
    cl_int code;

    code =
        backend->cl.GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof(bytes), &bytes, NULL);
    if (code != CL_SUCCESS)
        return code;
    if (bytes == 0)
        return CL_INVALID_PROGRAM_EXECUTABLE;
    binaries[0] = malloc(bytes);
    if (!binaries[0])
        return CL_OUT_OF_HOST_MEMORY;
    code =
        backend->cl.GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof(binaries), binaries, NULL);
    if (code != CL_SUCCESS) {
        free(binaries[0]);
        return code;
    }
    built->binary = binaries[0];
    built->binary_bytes = bytes;
    return CL_SUCCESS;
}

/* A build ends in one of the states that may cross to the launch side. */
static struct backend_verdict build_verdict(cl_int code)
{
    struct backend_verdict verdict = opencl_verdict(code);

    if (verdict.status != VGPU_OK && verdict.status != VGPU_NO_MEMORY)
        verdict.status = VGPU_BUILD_FAILED;
    return verdict;
}

struct backend_verdict opencl_build(struct backend *backend, const struct backend_code *code,
                                    struct backend_built *built)
{
    const char *text = (const char *)code->bytes;
    cl_program program = NULL;
    char *options = NULL;
    size_t size = code->size;
    cl_int result;

    if (code->kind != VGPU_MODULE_OPENCL_C)
        return (struct backend_verdict){VGPU_UNSUPPORTED, 0};
    if (asprintf(&options, "-cl-kernel-arg-info %s", code->options) < 0)
        return opencl_verdict(CL_OUT_OF_HOST_MEMORY);
    program = backend->cl.CreateProgramWithSource(backend->context, 1, &text, &size, &result);
    if (!program)
        goto out;
    result = backend->cl.BuildProgram(program, 1, &backend->device, options, NULL, NULL);
    take_log(backend, program, built);
    if (result == CL_SUCCESS)
        result = take_binary(backend, program, built);
out:
    if (program)
        backend->cl.ReleaseProgram(program);
    free(options);
    return build_verdict(result);
}

struct backend_verdict opencl_module_load(struct backend *backend, const uint8_t *binary,
                                          uint64_t bytes, struct backend_module **module)
{
    const unsigned char *binaries[1] = {binary};
    size_t sizes[1] = {bytes};
    cl_int each = CL_SUCCESS, result = CL_SUCCESS;
    cl_program program;

    program = backend->cl.CreateProgramWithBinary(backend->context, 1, &backend->device, sizes,
                                                  binaries, &each, &result);
    if (!program)
        return opencl_verdict(result);
    result = each;
    if (result == CL_SUCCESS)
        result = backend->cl.BuildProgram(program, 1, &backend->device, "", NULL, NULL);
    if (result != CL_SUCCESS) {
        backend->cl.ReleaseProgram(program);
        return opencl_verdict(result);
    }
    *module = (struct backend_module *)(void *)program;
    return BACKEND_FINE;
}

void opencl_module_unload(struct backend *backend, struct backend_module *module)
{
    backend->cl.ReleaseProgram(AS_PROGRAM(module));
}
