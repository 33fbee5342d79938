/*
 * client.h - The parts of vgpu-client
 *
 *     client_main.c     options, help, which command does what
 *     client_report.c   words for people, or one JSON object
 *     client_stub.c     the commands over the stub socket (version 1)
 *     client_ring.c     the commands over the ring: info, nop, build
 *     client_saxpy.c    the command saxpy
 */
#ifndef VGPU_CLIENT_H
#define VGPU_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu.h"
#include "vgpu_stub.h"

enum client_exit {
    CLIENT_OK = 0,
    CLIENT_NEGATIVE = 1, /* a refusal, a wrong result */
    CLIENT_USAGE = 2,
    CLIENT_DETACHED = 3, /* cannot attach, or the attachment was closed */
    CLIENT_TIMEOUT = 7,
};

#define CLIENT_OPERANDS_MAX 2

struct client_options {
    const char *ring;
    const char *stub;
    const char *command;
    const char *operands[CLIENT_OPERANDS_MAX];
    int operand_count;
    bool json;
    bool worker;
    uint32_t timeout_ms;
    uint64_t count;
    uint64_t depth;
    uint64_t elements;
    uint64_t repeat;
    const char *source;
};

/* ---- client_report.c ---- */

/* One run's output. In words: report_say(). With --json: one object, from the fields. */
struct report {
    bool json;
    bool begun; /* the object has a field */
};

/** report_say() - Print to standard output, but not with --json. */
void report_say(const struct report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void report_text(struct report *report, const char *key, const char *text);
void report_count(struct report *report, const char *key, uint64_t value);
void report_integer(struct report *report, const char *key, int64_t value);
void report_real(struct report *report, const char *key, double value);
void report_flag(struct report *report, const char *key, bool value);

/** report_done() - End the output of a run that ends with @exit_code. Return: @exit_code. */
int report_done(struct report *report, enum client_exit exit_code);

/**
 * report_failed() - Say on standard error, and in the object, why the run fails
 * Return: @exit_code
 */
int report_failed(struct report *report, enum client_exit exit_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** report_result() - report_failed() for a negative or positive @result of libvgpu doing @what. */
int report_result(struct report *report, int result, const char *what);

/** report_device() - The fields and the words for a device. */
void report_device(struct report *report, const struct vgpu_device_info *info);

/** device_type_text() - What an enum vgpu_device_type is called. */
const char *device_type_text(uint32_t type);

/** device_text_kind() - The enum vgpu_module_kind of the programs, as text, that a device takes. */
uint32_t device_text_kind(const struct vgpu_device_info *info);

/** text_printable() - Replace in place what is not printable ASCII: it came from elsewhere. */
void text_printable(char *text);

/* ---- the commands; each returns the exit code ---- */

int stub_ping(const struct client_options *options, struct report *report);
int stub_nop(const struct client_options *options, struct report *report);
int stub_vector_add(const struct client_options *options, struct report *report);
int stub_device_info(const struct client_options *options, struct report *report);
int stub_cuda_call(const struct client_options *options, struct report *report);
int ring_info(const struct client_options *options, struct report *report);
int ring_nop(const struct client_options *options, struct report *report);
int ring_build(const struct client_options *options, struct report *report);
int ring_saxpy(const struct client_options *options, struct report *report);

/* ---- shared by the ring commands (client_ring.c) ---- */

struct ring_client {
    struct vgpu_link *link;
    struct vgpu_queue *queue;
    struct vgpu_session *session;
};

/** ring_client_open() - Attach, take pair 0. Return: CLIENT_OK, or the exit code, reported. */
int ring_client_open(const struct client_options *options, uint32_t depth,
                     struct ring_client *client, struct report *report);
void ring_client_close(struct ring_client *client);

/**
 * file_read() - A whole file of at most 16 MiB
 * @text: allocated, the caller's; a NUL stands behind it
 * Return: CLIENT_OK, or the exit code, reported.
 */
int file_read(const char *path, char **text, size_t *bytes, struct report *report);

#endif
