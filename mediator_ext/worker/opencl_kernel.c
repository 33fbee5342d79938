/*
 * opencl_kernel.c - Kernels, their arguments, and launches
 *
 * A runtime takes the bytes of an argument as it is told to: eight bytes of a guest where it
 * expects a buffer would be used as a pointer to one. So each argument's kind is asked once, when
 * the kernel is made, and compared at each launch; of a value so is its size, where the type's name
 * tells it: PoCL takes three bytes for an int, and the kernel then reads what lies behind them. A
 * kernel with an image or sampler argument is refused: there is no way to pass one. The arguments of a
 * kernel whose runtime says nothing about them are the runtime's to check.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl_device.h"
#include "opencl_type.h"

struct argument {
    uint32_t kind;  /* enum vgpu_arg_kind, or VGPU_ARG_NOT_KNOWN */
    uint32_t bytes; /* of a value; 0 = not known */
};

struct backend_kernel {
    cl_kernel kernel;
    uint32_t arg_count;
    struct argument args[VGPU_LAUNCH_ARGS_MAX];
};

static bool is_opaque_type(const char *name)
{
    return strncmp(name, "image", 5) == 0 || strcmp(name, "sampler_t") == 0 ||
           strcmp(name, "event_t") == 0 || strcmp(name, "pipe") == 0;
}

/* Returns VGPU_OK or VGPU_UNSUPPORTED. */
static uint16_t ask(struct backend *backend, cl_kernel kernel, uint32_t index,
                    struct argument *argument)
{
    cl_kernel_arg_address_qualifier where = 0;
    char type[256] = "";

    *argument = (struct argument){.kind = VGPU_ARG_NOT_KNOWN};
    if (backend->cl.GetKernelArgInfo(kernel, index, CL_KERNEL_ARG_TYPE_NAME, sizeof(type), type,
                                     NULL) == CL_SUCCESS) {
        type[sizeof(type) - 1] = 0;
        if (is_opaque_type(type))
            return VGPU_UNSUPPORTED;
    }
    if (backend->cl.GetKernelArgInfo(kernel, index, CL_KERNEL_ARG_ADDRESS_QUALIFIER, sizeof(where),
                                     &where, NULL) != CL_SUCCESS)
        return VGPU_OK;
    if (where == CL_KERNEL_ARG_ADDRESS_LOCAL) {
        argument->kind = VGPU_ARG_LOCAL;
    } else if (where != CL_KERNEL_ARG_ADDRESS_PRIVATE) {
        argument->kind = VGPU_ARG_BUFFER;
    } else {
        argument->kind = VGPU_ARG_VALUE;
        argument->bytes = opencl_type_bytes(type);
    }
    return VGPU_OK;
}

/* Is this the argument that the kernel takes, as far as that is known? */
static bool fits(const struct argument *argument, const struct backend_arg *given)
{
    if (argument->kind != VGPU_ARG_NOT_KNOWN && argument->kind != given->kind)
        return false;
    return argument->bytes == 0 || argument->bytes == given->size;
}

struct backend_verdict opencl_kernel_create(struct backend *backend, struct backend_module *module,
                                            const char *name, struct backend_kernel **kernel,
                                            uint32_t *args)
{
    struct backend_kernel *made = calloc(1, sizeof(*made));
    uint16_t status = VGPU_OK;
    cl_uint count = 0;
    cl_int code;

    if (!made)
        return opencl_verdict(CL_OUT_OF_HOST_MEMORY);
    made->kernel = backend->cl.CreateKernel(module->program, name, &code);
    if (!made->kernel) {
        free(made);
        return opencl_verdict(code);
    }
    code = backend->cl.GetKernelInfo(made->kernel, CL_KERNEL_NUM_ARGS, sizeof(count), &count, NULL);
    if (code != CL_SUCCESS) {
        opencl_kernel_release(backend, made);
        return opencl_verdict(code);
    }
    if (count > VGPU_LAUNCH_ARGS_MAX)
        status = VGPU_UNSUPPORTED;
    for (uint32_t i = 0; i < count && status == VGPU_OK; i++)
        status = ask(backend, made->kernel, i, &made->args[i]);
    if (status != VGPU_OK) {
        opencl_kernel_release(backend, made);
        return (struct backend_verdict){status, 0};
    }
    made->arg_count = count;
    *kernel = made;
    *args = count;
    return BACKEND_FINE;
}

/* A text that does not fit is cut; one that is not told stays empty. */
static void arg_text(struct backend *backend, cl_kernel kernel, uint32_t index,
                     cl_kernel_arg_info what, char *to, size_t bytes)
{
    char whole[1024] = "";

    if (backend->cl.GetKernelArgInfo(kernel, index, what, sizeof(whole), whole, NULL) != CL_SUCCESS)
        return;
    whole[sizeof(whole) - 1] = 0;
    snprintf(to, bytes, "%.*s", (int)bytes - 1, whole);
}

void opencl_kernel_arg(struct backend *backend, struct backend_kernel *kernel, uint32_t index,
                       struct vgpu_arg_info *info)
{
    const struct argument *argument = &kernel->args[index];

    info->kind = argument->kind;
    info->size = argument->bytes;
    arg_text(backend, kernel->kernel, index, CL_KERNEL_ARG_NAME, info->name, sizeof(info->name));
    arg_text(backend, kernel->kernel, index, CL_KERNEL_ARG_TYPE_NAME, info->type,
             sizeof(info->type));
}

void opencl_kernel_release(struct backend *backend, struct backend_kernel *kernel)
{
    backend->cl.ReleaseKernel(kernel->kernel);
    free(kernel);
}

static struct backend_verdict set_args(struct backend *backend, const struct backend_launch *launch)
{
    const struct backend_kernel *kernel = launch->kernel;

    if (launch->arg_count != kernel->arg_count)
        return (struct backend_verdict){VGPU_INVALID, CL_INVALID_KERNEL_ARGS};
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        const struct backend_arg *arg = &launch->args[i];
        cl_mem mem = arg->buffer ? arg->buffer->mem : NULL;
        cl_int code;

        if (!fits(&kernel->args[i], arg))
            return (struct backend_verdict){VGPU_INVALID, CL_INVALID_ARG_VALUE};
        if (arg->kind == VGPU_ARG_BUFFER)
            code = backend->cl.SetKernelArg(kernel->kernel, i, sizeof(mem), &mem);
        else
            code = backend->cl.SetKernelArg(kernel->kernel, i, arg->size, arg->value);
        if (code != CL_SUCCESS)
            return opencl_verdict(code);
    }
    return BACKEND_FINE;
}

static cl_int wait_for_oldest(struct backend *backend)
{
    cl_int code = backend->cl.WaitForEvents(1, &backend->in_flight[0]);

    backend->cl.ReleaseEvent(backend->in_flight[0]);
    backend->in_flight_count--;
    memmove(&backend->in_flight[0], &backend->in_flight[1],
            backend->in_flight_count * sizeof(backend->in_flight[0]));
    return code;
}

struct backend_verdict opencl_launch(struct backend *backend, const struct backend_launch *launch)
{
    struct backend_verdict verdict;
    cl_int code = CL_SUCCESS;
    cl_event event = NULL;

    if (launch->shared_bytes != 0) /* dynamic shared memory is CUDA's; here it is an argument */
        return (struct backend_verdict){VGPU_UNSUPPORTED, 0};
    verdict = set_args(backend, launch);
    if (verdict.status != VGPU_OK)
        return verdict;
    if (backend->in_flight_count == BACKEND_LAUNCHES_IN_FLIGHT)
        code = wait_for_oldest(backend);
    if (code == CL_SUCCESS)
        code = backend->cl.EnqueueNDRangeKernel(
            backend->queue, launch->kernel->kernel, launch->dims, launch->offset, launch->global,
            launch->local[0] ? launch->local : NULL, 0, NULL, &event);
    if (code != CL_SUCCESS)
        return opencl_verdict(code);
    backend->in_flight[backend->in_flight_count++] = event;
    return BACKEND_FINE;
}

struct backend_verdict opencl_finish(struct backend *backend)
{
    cl_int code = CL_SUCCESS;

    /* Not clFinish: an event tells how its launch went, and nothing but launches can be pending. */
    while (backend->in_flight_count > 0) {
        cl_int each = wait_for_oldest(backend);

        if (code == CL_SUCCESS)
            code = each;
    }
    return opencl_verdict(code);
}
