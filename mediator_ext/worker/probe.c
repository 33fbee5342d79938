/*
 * probe.c - Does this device really work?
 *
 * An OpenCL library that loads and lists a device may still be unable to build: PoCL without a
 * linker, for one, aborts the process at the first kernel. That is found out here, in a process of
 * its own, before a VM is told that there is a device.
 */
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "builtin.h"

/* Says what failed, with the first line of the log if there is one. */
static int failed(const char *what, struct backend_verdict verdict,
                  const struct backend_built *built, char *reason, size_t reason_bytes)
{
    const char *log = built->log ? built->log : "";
    int line = 0;

    while ((uint64_t)line < built->log_bytes && log[line] != '\n')
        line++;
    snprintf(reason, reason_bytes,
             "the device cannot %s the test kernel (status %d, native %d)%s%.*s", what,
             verdict.status, verdict.native, line ? ": " : "", line, log);
    return -ENODEV;
}

int probe_device(const struct backend_ops *ops, struct backend *backend, char *reason,
                 size_t reason_bytes)
{
    struct backend_built built = {0};
    struct backend_verdict verdict;
    struct builtin builtin = {0};
    struct backend_code code;
    struct hash_key key;
    uint32_t sum = 0;
    int error = 0;

    code = builtin_source(ops, &key);
    verdict = ops->build(backend, &code, &built);
    if (verdict.status != VGPU_OK) {
        error = failed("build", verdict, &built, reason, reason_bytes);
        goto out;
    }
    verdict = builtin_load(&builtin, ops, backend, built.binary, built.binary_bytes);
    if (verdict.status != VGPU_OK) {
        error = failed("load", verdict, &built, reason, reason_bytes);
        goto out;
    }
    verdict = builtin_vector_add(&builtin, ops, backend, 2, 3, &sum);
    if (verdict.status != VGPU_OK) {
        error = failed("run", verdict, &built, reason, reason_bytes);
    } else if (sum != 5) {
        snprintf(reason, reason_bytes, "the device says that 2 + 3 is %u", sum);
        error = -ENODEV;
    }
    builtin_close(&builtin, ops, backend);
out:
    free(built.log);
    free(built.binary);
    return error;
}
