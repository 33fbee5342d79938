/*
 * opencl_program.c - From source to a binary, and from a binary to a program
 *
 * The two halves run in different processes. The binary is whatever CL_PROGRAM_BINARIES gives; on
 * PoCL that call also links every kernel, once for all local sizes because
 * POCL_WORK_GROUP_SPECIALIZATION is 0, so that the launch side needs neither compiler nor linker.
 * -cl-kernel-arg-info is added on both sides so that the launch side knows what its kernels' arguments
 * are: PoCL keeps it in the binary, and forgets it unless it is asked for again.
 *
 * SPIR-V goes the same way where the device takes it, only that its program is made of it.
 *
 * Files. A worker's scratch directory is small, and a runtime that cannot write to it may abort. PoCL
 * unpacks a program into a directory there, which it removes with the program (POCL_KERNEL_CACHE is
 * 0). So a builder has nothing left there after each build, and a launcher only what is loaded. The
 * name of the directory is in the binary: two programs of one binary would share it, and the first to
 * be released would take it from the other. Therefore the same binary is loaded once. And what might
 * not fit is refused before the runtime is asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "build_log.h"
#include "opencl_device.h"

#define KERNEL_ARG_INFO "-cl-kernel-arg-info"

/* Kept free in the scratch directory: some files for each of a few hundred kernels, and room for what
 * a compiler writes on the way. */
#define FILES_FREE 1024u
#define BYTES_FREE (16ull << 20)

static const char *scratch(void)
{
    return getenv("POCL_CACHE_DIR");
}

/* Can the scratch directory take a program of so many bytes? */
static bool has_room(uint64_t bytes)
{
    const char *directory = scratch();
    struct statvfs facts;

    if (!directory || statvfs(directory, &facts) < 0)
        return true; /* then it is the runtime's to say */
    if (facts.f_files && facts.f_favail < FILES_FREE)
        return false;
    /* Unpacked beside the whole: twice. */
    return (uint64_t)facts.f_bavail * facts.f_frsize >= BYTES_FREE + 2 * bytes;
}

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
    built->log = build_log_hide(log, scratch());
    built->log_bytes = built->log ? strlen(built->log) : 0;
    free(log);
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
    build_log_blank(binaries[0], bytes, scratch());
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

static cl_program create_program(struct backend *backend, const struct backend_code *code,
                                 cl_int *result)
{
    const char *text = (const char *)code->bytes;
    size_t size = code->size;

    if (code->kind == VGPU_MODULE_SPIRV)
        return backend->create_with_il(backend->context, code->bytes, size, result);
    return backend->cl.CreateProgramWithSource(backend->context, 1, &text, &size, result);
}

static bool takes(const struct backend *backend, uint32_t kind)
{
    return kind == VGPU_MODULE_OPENCL_C || (kind == VGPU_MODULE_SPIRV && backend->create_with_il);
}

struct backend_verdict opencl_build(struct backend *backend, const struct backend_code *code,
                                    struct backend_built *built)
{
    cl_program program = NULL;
    char *options = NULL;
    cl_int result;

    if (!takes(backend, code->kind))
        return (struct backend_verdict){VGPU_UNSUPPORTED, 0};
    if (!has_room(code->size))
        return (struct backend_verdict){VGPU_NO_MEMORY, 0};
    if (asprintf(&options, KERNEL_ARG_INFO " %s", code->options) < 0)
        return opencl_verdict(CL_OUT_OF_HOST_MEMORY);
    program = create_program(backend, code, &result);
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

static cl_int load_program(struct backend *backend, const uint8_t *binary, uint64_t bytes,
                           cl_program *program)
{
    const unsigned char *binaries[1] = {binary};
    size_t sizes[1] = {bytes};
    cl_int each = CL_SUCCESS, result = CL_SUCCESS;

    *program = backend->cl.CreateProgramWithBinary(backend->context, 1, &backend->device, sizes,
                                                   binaries, &each, &result);
    if (!*program)
        return result;
    result = each;
    if (result == CL_SUCCESS)
        result =
            backend->cl.BuildProgram(*program, 1, &backend->device, KERNEL_ARG_INFO, NULL, NULL);
    if (result != CL_SUCCESS)
        backend->cl.ReleaseProgram(*program);
    return result;
}

struct backend_verdict opencl_module_load(struct backend *backend, const uint8_t *binary,
                                          uint64_t bytes, struct backend_module **module)
{
    struct hash_key key = hash_siphash((struct hash_key){{1, 1}}, binary, bytes);
    struct backend_module *made;
    cl_int result;

    for (made = backend->modules; made; made = made->next)
        if (hash_same(made->key, key)) {
            made->uses++;
            *module = made;
            return BACKEND_FINE;
        }
    made = has_room(bytes) ? calloc(1, sizeof(*made)) : NULL;
    if (!made)
        return (struct backend_verdict){VGPU_NO_MEMORY, 0};
    result = load_program(backend, binary, bytes, &made->program);
    if (result != CL_SUCCESS) {
        free(made);
        return opencl_verdict(result);
    }
    made->key = key;
    made->uses = 1;
    made->next = backend->modules;
    backend->modules = made;
    *module = made;
    return BACKEND_FINE;
}

void opencl_module_unload(struct backend *backend, struct backend_module *module)
{
    struct backend_module **at = &backend->modules;

    if (--module->uses > 0)
        return;
    while (*at != module)
        at = &(*at)->next;
    *at = module->next;
    backend->cl.ReleaseProgram(module->program);
    free(module);
}
