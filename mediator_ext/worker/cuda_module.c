/*
 * cuda_module.c - From PTX or a cubin to a binary, and from a binary to a module
 *
 * The two halves run in different processes. PTX is compiled by the driver's own compiler, through its
 * linker interface, which gives a cubin for the device of the context; the launch side is never given
 * PTX. A cubin that a guest brings goes the same way, so that what is wrong with it shows in the build
 * worker: it is loaded there once, and handed on as it is.
 *
 * There are no options: what nvcc takes is not what the driver takes, and the files that some of the
 * driver's options name are the host's.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_device.h"
#include "cuda_image.h"

#define LOG_BYTES   32768u /* of each of the two */
#define JIT_OPTIONS 4u

/* The two logs of the driver's compiler. The driver writes into both until its handle is destroyed. */
struct jit {
    CUjit_option options[JIT_OPTIONS];
    void *values[JIT_OPTIONS];
    char error[LOG_BYTES];
    char info[LOG_BYTES];
};

static struct jit *jit_new(void)
{
    struct jit *made = calloc(1, sizeof(*made));

    if (!made)
        return NULL;
    made->options[0] = CU_JIT_INFO_LOG_BUFFER;
    made->values[0] = made->info;
    made->options[1] = CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES;
    made->values[1] = (void *)(uintptr_t)(sizeof(made->info) - 1); /* the last byte stays NUL */
    made->options[2] = CU_JIT_ERROR_LOG_BUFFER;
    made->values[2] = made->error;
    made->options[3] = CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
    made->values[3] = (void *)(uintptr_t)(sizeof(made->error) - 1);
    return made;
}

static const char *line_end(const char *text)
{
    size_t length = strlen(text);

    return length > 0 && text[length - 1] != '\n' ? "\n" : "";
}

/* What the compiler said; of a failure of which it said nothing, the name. */
static void take_log(struct backend *backend, const struct jit *jit, CUresult code,
                     struct backend_built *built)
{
    bool silent = code != CUDA_SUCCESS && !jit->error[0] && !jit->info[0];
    int bytes;

    bytes = asprintf(&built->log, "%s%s%s%s%s%s", jit->error, line_end(jit->error), jit->info,
                     line_end(jit->info), silent ? cuda_error_name(&backend->cu, code) : "",
                     silent ? "\n" : "");
    if (bytes == 0)
        free(built->log);
    if (bytes <= 0)
        built->log = NULL;
    else
        built->log_bytes = (uint64_t)bytes;
}

static struct backend_verdict refuse(struct backend_built *built, const char *sentence)
{
    built->log = strdup(sentence);
    built->log_bytes = built->log ? strlen(built->log) : 0;
    return (struct backend_verdict){VGPU_BUILD_FAILED, 0};
}

static CUresult take_binary(const void *bytes, uint64_t size, struct backend_built *built)
{
    if (!cuda_image_is_cubin(bytes, size))
        return CUDA_ERROR_INVALID_IMAGE;
    built->binary = malloc(size);
    if (!built->binary)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(built->binary, bytes, size);
    built->binary_bytes = size;
    return CUDA_SUCCESS;
}

static CUresult compile(struct backend *backend, const struct backend_code *code, struct jit *jit,
                        struct backend_built *built)
{
    const struct cuda_driver *cu = &backend->cu;
    CUlinkState link = NULL;
    void *cubin = NULL;
    size_t bytes = 0;
    CUresult result;

    result = cu->LinkCreate(JIT_OPTIONS, jit->options, jit->values, &link);
    if (result != CUDA_SUCCESS)
        return result;
    /* The length of a text has its NUL in it. The driver does not write into what it is given. */
    result = cu->LinkAddData(link, CU_JIT_INPUT_PTX, (void *)(uintptr_t)code->bytes, code->size + 1,
                             "<program>", 0, NULL, NULL);
    if (result == CUDA_SUCCESS)
        result = cu->LinkComplete(link, &cubin, &bytes);
    if (result == CUDA_SUCCESS)
        result = take_binary(cubin, bytes, built); /* it is the handle's, and goes with it */
    cu->LinkDestroy(link);
    return result;
}

static CUresult prove(struct backend *backend, const struct backend_code *code, struct jit *jit,
                      struct backend_built *built)
{
    CUmodule module = NULL;
    CUresult result;

    result =
        backend->cu.ModuleLoadDataEx(&module, code->bytes, JIT_OPTIONS, jit->options, jit->values);
    if (result != CUDA_SUCCESS)
        return result;
    backend->cu.ModuleUnload(module);
    return take_binary(code->bytes, code->size, built);
}

/* A build ends in one of the states that may cross to the launch side, or with this process. */
static struct backend_verdict build_verdict(struct backend *backend, CUresult code)
{
    struct backend_verdict verdict = cuda_verdict(backend, code);

    if (verdict.status != VGPU_OK && verdict.status != VGPU_NO_MEMORY &&
        verdict.status != VGPU_DEVICE_LOST)
        verdict.status = VGPU_BUILD_FAILED;
    return verdict;
}

struct backend_verdict cuda_build(struct backend *backend, const struct backend_code *code,
                                  struct backend_built *built)
{
    struct jit *jit;
    CUresult result;

    if (code->kind != VGPU_MODULE_PTX && code->kind != VGPU_MODULE_CUBIN)
        return (struct backend_verdict){VGPU_UNSUPPORTED, 0};
    if (code->options[strspn(code->options, " \t\r\n")])
        return refuse(built, "vgpud: PTX and cubins take no options\n");
    if (code->kind == VGPU_MODULE_PTX && memchr(code->bytes, 0, code->size))
        return refuse(built, "vgpud: PTX is a text, and this has a NUL in it\n");
    if (code->kind == VGPU_MODULE_CUBIN && !cuda_image_is_cubin(code->bytes, code->size))
        return refuse(built, "vgpud: this is no cubin, or not a whole one\n");
    jit = jit_new();
    if (!jit)
        return cuda_verdict(backend, CUDA_ERROR_OUT_OF_MEMORY);
    result = code->kind == VGPU_MODULE_PTX ? compile(backend, code, jit, built)
                                           : prove(backend, code, jit, built);
    take_log(backend, jit, result, built);
    free(jit);
    return build_verdict(backend, result);
}

struct backend_verdict cuda_module_load(struct backend *backend, const uint8_t *binary,
                                        uint64_t bytes, struct backend_module **module)
{
    struct backend_module *made;
    CUresult code;

    if (!cuda_image_is_cubin(binary, bytes))
        return cuda_verdict(backend, CUDA_ERROR_INVALID_IMAGE);
    made = calloc(1, sizeof(*made));
    if (!made)
        return cuda_verdict(backend, CUDA_ERROR_OUT_OF_MEMORY);
    code = backend->cu.ModuleLoadDataEx(&made->module, binary, 0, NULL, NULL);
    if (code != CUDA_SUCCESS) {
        free(made);
        return cuda_verdict(backend, code);
    }
    *module = made;
    return BACKEND_FINE;
}

void cuda_module_unload(struct backend *backend, struct backend_module *module)
{
    (void)cuda_verdict(backend, backend->cu.ModuleUnload(module->module));
    free(module);
}
