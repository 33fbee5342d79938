/*
 * fake_cuda_module.c - The fake CUDA driver: compiling PTX, and modules
 *
 * PTX begins with .version, or it is an error that the log tells; so is an .error in it. What a kernel
 * is to the fake stands behind its .entry: parameters, and .maxntid if there is one.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

#define EM_CUDA_DEVICES 190

struct CUmod_st {
    struct fake_object object;
    char *text;
    CUfunction functions;
};

struct CUlinkState_st {
    struct fake_object object;
    char *error; /* the caller's buffer */
    size_t error_bytes;
    char *text;
    uint8_t *cubin;
};

/* ---- compiling ---- */

static void take_options(CUlinkState link, unsigned int count, const CUjit_option *options,
                         void **values)
{
    for (unsigned int i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
            link->error = values[i];
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            link->error_bytes = (size_t)(uintptr_t)values[i];
    }
}

DRIVER(cuLinkCreate_v2,
       (unsigned int count, CUjit_option *options, void **values, CUlinkState *link))
{
    CUresult code = fake_enter("cuLinkCreate_v2", true);

    if (code != CUDA_SUCCESS)
        return code;
    *link = fake_make(FAKE_LINK, sizeof(**link));
    take_options(*link, count, options, values);
    return CUDA_SUCCESS;
}

static CUresult refuse(CUlinkState link, int line, const char *what)
{
    if (link->error)
        snprintf(link->error, link->error_bytes,
                 "ptxas application ptx input, line %d; fatal   : %s\n", line, what);
    return CUDA_ERROR_INVALID_PTX;
}

DRIVER(cuLinkAddData_v2,
       (CUlinkState link, CUjitInputType type, void *data, size_t bytes, const char *name,
        unsigned int count, CUjit_option *options, void **values))
{
    CUresult code = fake_enter("cuLinkAddData_v2", true);
    const char *text = data;

    (void)options;
    (void)values;
    if (!fake_alive("cuLinkAddData_v2", link, FAKE_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    if (code != CUDA_SUCCESS)
        return code;
    if (type != CU_JIT_INPUT_PTX || count != 0 || !name || link->text)
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes == 0 || strnlen(text, bytes) != bytes - 1)
        fake_misuse("cuLinkAddData_v2", "PTX whose length is not that of a text with its NUL");
    if (strncmp(text, ".version", 8) != 0)
        return refuse(link, 1, "Missing .version directive at start of file");
    if (strstr(text, ".error"))
        return refuse(link, 2, "Parsing error near '.error': syntax error");
    link->text = strdup(text);
    return CUDA_SUCCESS;
}

#ifndef FAKE_CUDA_WITHOUT_LINKER
DRIVER(cuLinkComplete, (CUlinkState link, void **cubin, size_t *bytes))
{
    CUresult code = fake_enter("cuLinkComplete", true);
    const Elf64_Ehdr head = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_CUDA_DEVICES,
        .e_version = EV_CURRENT,
        .e_ehsize = sizeof(head),
    };

    if (!fake_alive("cuLinkComplete", link, FAKE_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    if (code != CUDA_SUCCESS)
        return code;
    if (!link->text)
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = sizeof(head) + strlen(link->text) + 1;
    free(link->cubin);
    link->cubin = malloc(*bytes);
    if (!link->cubin)
        abort();
    memcpy(link->cubin, &head, sizeof(head));
    strcpy((char *)link->cubin + sizeof(head), link->text);
    *cubin = link->cubin;
    return CUDA_SUCCESS;
}
#endif

void fake_drop_link(void *object)
{
    CUlinkState link = object;

    free(link->text);
    free(link->cubin);
}

DRIVER(cuLinkDestroy, (CUlinkState link))
{
    CUresult code = fake_enter("cuLinkDestroy", true);

    if (!fake_alive("cuLinkDestroy", link, FAKE_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    fake_drop_link(link);
    fake_unmake(link);
    return code;
}

/* ---- modules ---- */

DRIVER(cuModuleLoadDataEx, (CUmodule * module, const void *image, unsigned int count,
                            CUjit_option *options, void **values))
{
    CUresult code = fake_enter("cuModuleLoadDataEx", true);
    const Elf64_Ehdr *head = image;
    const char *text = (const char *)(head + 1);

    (void)count;
    (void)options;
    (void)values;
    if (code != CUDA_SUCCESS)
        return code;
    if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_machine != EM_CUDA_DEVICES) {
        fake_misuse("cuModuleLoadDataEx", "of something other than a cubin");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (strncmp(text, ".version", 8) != 0)
        return CUDA_ERROR_INVALID_IMAGE;
    *module = fake_make(FAKE_MODULE, sizeof(**module));
    (*module)->text = strdup(text);
    return CUDA_SUCCESS;
}

void fake_drop_module(void *object)
{
    CUmodule module = object;

    while (module->functions) {
        CUfunction next = module->functions->next;

        free(module->functions);
        module->functions = next;
    }
    free(module->text);
}

DRIVER(cuModuleUnload, (CUmodule module))
{
    CUresult code = fake_enter("cuModuleUnload", true);

    if (!fake_alive("cuModuleUnload", module, FAKE_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    if (code == CUDA_SUCCESS && fake_is_busy())
        fake_misuse("cuModuleUnload", "while work is unfinished");
    fake_drop_module(module);
    fake_unmake(module);
    return code;
}

bool fake_is_function(const char *symbol, CUfunction function)
{
    for (struct fake_object *each = fake_first(); each; each = each->next)
        if (each->kind == FAKE_MODULE)
            for (CUfunction known = ((CUmodule)each)->functions; known; known = known->next)
                if (known == function)
                    return true;
    fake_misuse(symbol, "no function, or of a module that is gone");
    return false;
}

/* Behind ".entry NAME"; NULL when there is none of that name. */
static const char *find_entry(const char *text, const char *name)
{
    static const char entry[] = ".entry ";
    size_t length = strlen(name);

    while ((text = strstr(text, entry))) {
        text += sizeof(entry) - 1;
        if (strncmp(text, name, length) == 0 && (text[length] == '(' || text[length] == ' '))
            return text + length;
    }
    return NULL;
}

/* ".param .u32 a" and ".param .align 8 .b8 a[24]" */
static uint32_t parameter_size(const char *text)
{
    const char *end = text + strcspn(text, ",)"), *array = memchr(text, '[', (size_t)(end - text));
    const char *type = strchr(text, '.');

    if (array)
        return (uint32_t)strtoul(array + 1, NULL, 10);
    return type ? (uint32_t)strtoul(type + 2, NULL, 10) / 8 : 0;
}

DRIVER(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))
{
    static const char param[] = ".param", limit[] = ".maxntid ";
    CUresult code = fake_enter("cuModuleGetFunction", true);
    const char *at, *end, *body;
    CUfunction made;

    if (!fake_alive("cuModuleGetFunction", module, FAKE_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    if (code != CUDA_SUCCESS)
        return code;
    at = find_entry(module->text, name);
    if (!at)
        return CUDA_ERROR_NOT_FOUND;
    made = calloc(1, sizeof(*made));
    if (!made)
        abort();
    end = at + strcspn(at, ")");
    while ((at = strstr(at, param)) && at < end) {
        if (made->params == FAKE_CUDA_PARAMETERS)
            abort();
        at += sizeof(param) - 1;
        made->size[made->params++] = parameter_size(at);
    }
    body = end + strcspn(end, "{");
    at = strstr(end, limit);
    made->max_threads =
        at && at < body ? (uint32_t)atoi(at + sizeof(limit) - 1) : FAKE_CUDA_THREADS;
    made->shared_bytes = FAKE_CUDA_SHARED;
    snprintf(made->name, sizeof(made->name), "%s", name);
    made->next = module->functions;
    module->functions = made;
    *function = made;
    return CUDA_SUCCESS;
}
