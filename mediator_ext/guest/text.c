/*
 * text.c - What the numbers of the interface mean, in words for the person who sees them
 *
 * Each text says what happened and, where there is something to do, what. Tables are tied to their
 * enums, so that a status without a text does not compile.
 */
#include "vgpu.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "link.h"
#include "vgpu_stub.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *name;
    const char *text;
} status_words[] = {
    [VGPU_OK] = {"OK", "done"},
    [VGPU_INVALID] = {"INVALID", "the host found the request malformed"},
    [VGPU_UNSUPPORTED] = {"UNSUPPORTED", "this host or its device does not offer this"},
    [VGPU_BUSY] = {"BUSY", "too many requests of this VM are queued: try again later"},
    [VGPU_RATE] = {"RATE", "this VM is over its request rate: try again later"},
    [VGPU_QUOTA] = {"QUOTA", "this VM's device memory quota is used up: free buffers first"},
    [VGPU_TIMEOUT] = {"TIMEOUT", "the request waited or ran longer than it may"},
    [VGPU_CANCELLED] = {"CANCELLED", "the request was cancelled"},
    [VGPU_DEVICE_LOST] = {"DEVICE_LOST", "this VM's GPU context is gone: make all objects anew"},
    [VGPU_NO_CONTEXT] = {"NO_CONTEXT", "no GPU context can be had now: try again later"},
    [VGPU_QUARANTINED] = {"QUARANTINED", "this VM is quarantined until an administrator clears it"},
    [VGPU_POOL_DISABLED] = {"POOL_DISABLED",
                            "this VM's pool is disabled, or the VM has none: ask an administrator"},
    [VGPU_ABORTED] = {"ABORTED", "an earlier part of the chain failed"},
    [VGPU_BUILD_FAILED] = {"BUILD_FAILED", "the program does not compile: see its build log"},
    [VGPU_NO_OBJECT] = {"NO_OBJECT", "there is no object with this id"},
    [VGPU_EXISTS] = {"EXISTS", "the object id is in use"},
    [VGPU_NO_MEMORY] = {"NO_MEMORY", "the device, or this VM's worker, is out of memory"},
    [VGPU_FAILED] = {"FAILED", "the device's runtime refused; its own code is in `native`"},
};
_Static_assert(LENGTH(status_words) == VGPU_STATUS_COUNT, "a status has no words");

static const char *const wire_status_words[] = {
    [WIRE_OK] = "done",
    [WIRE_INVALID_REQUEST] = "vgpud found the request malformed, or it names another VM",
    [WIRE_TOO_LARGE] = "the request is too large",
    [WIRE_UNAVAILABLE] = "no GPU context can be had now: try again later",
    [WIRE_TIMEOUT] = "the request waited or ran longer than it may",
    [WIRE_DEVICE_ERROR] = "the device's runtime refused",
    [WIRE_INVALID_POOL] = "this VM's pool is disabled, or the VM has none: ask an administrator",
    [WIRE_QUEUE_FULL] =
        "this VM has too many requests queued, or is over its rate: try again later",
    [WIRE_UNSUPPORTED] = "this host does not offer this",
    [WIRE_INVALID_LENGTH] = "the request's lengths contradict each other",
    [WIRE_RATE_LIMITED] = "this VM is over its request rate: try again later",
    [WIRE_VM_QUARANTINED] = "this VM is quarantined until an administrator clears it",
    [WIRE_DEVICE_LOST] = "this VM's GPU context is gone",
    [WIRE_CANCELLED] = "the request was cancelled",
};
_Static_assert(LENGTH(wire_status_words) == WIRE_CANCELLED + 1, "a wire status has no words");

const char *vgpu_status_name(int status)
{
    return status >= 0 && status < VGPU_STATUS_COUNT ? status_words[status].name : "UNKNOWN";
}

const char *vgpu_result_text(int result)
{
    if (result >= 0) {
        return result < VGPU_STATUS_COUNT ? status_words[result].text
                                          : "the host answered with a status not known here";
    }
    switch (-result) {
    case EPIPE:
        return "vgpud closed the attachment";
    case ETIMEDOUT:
        return "no answer in time";
    case EPROTO:
        return "the host broke the interface: it wrote what it must not write";
    case EIO:
        return "the host stopped serving this queue pair: attach again";
    case EFBIG:
        return "does not fit into the shared memory of this VM";
    default:
        return strerror(-result);
    }
}

const char *vgpu_wire_status_text(uint32_t status)
{
    return status < LENGTH(wire_status_words) ? wire_status_words[status]
                                              : "vgpud answered with a status not known here";
}

uint64_t vgpu_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void reason_set(struct vgpu_reason *why, const char *format, ...)
{
    va_list args;

    if (!why)
        return;
    va_start(args, format);
    vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
}
