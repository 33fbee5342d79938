/*
 * client_stub.c - The commands of vgpu-client over the stub socket (version 1)
 *
 * Version 1 says BUSY without saying for how long, so a refused request is repeated after growing
 * pauses, BUSY_TRIES times.
 */
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUSY_TRIES        12
#define BUSY_PAUSE_MS     5
#define BUSY_PAUSE_MAX_MS 500

static int stub_open(const struct client_options *options, struct vgpu_stub **stub,
                     struct report *report)
{
    struct vgpu_reason why;
    int rc = vgpu_stub_connect(options->stub, (int)options->timeout_ms, stub, &why);

    return rc ? report_failed(report, CLIENT_DETACHED, "%s", why.text) : CLIENT_OK;
}

/* A connection that ends before the first answer was refused; version 1 cannot say why. */
static int stub_failed(struct report *report, int rc, const char *what, bool first)
{
    if (rc == -EPIPE && first)
        return report_failed(report, CLIENT_DETACHED,
                             "vgpud closed the connection: either another client is connected to "
                             "this VM (one at a time: end it first), or this user is not the peer "
                             "that the VM was registered with (see vgpu-admin show-vm)");
    return report_result(report, rc, what);
}

static int request(struct vgpu_stub *stub, uint32_t opcode, const uint32_t *params,
                   uint32_t param_count, struct vgpu_stub_answer *answer, uint64_t *busy)
{
    long pause_ms = BUSY_PAUSE_MS;

    for (int tries = 1;; tries++) {
        struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000};
        int rc = vgpu_stub_request(stub, opcode, params, param_count, answer);

        if (rc || answer->type != WIRE_BUSY || tries == BUSY_TRIES)
            return rc;
        (*busy)++;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        pause_ms = pause_ms * 2 > BUSY_PAUSE_MAX_MS ? BUSY_PAUSE_MAX_MS : pause_ms * 2;
    }
}

static int refused(struct report *report, uint32_t status, const char *what)
{
    report_count(report, "wire_status", status);
    return report_failed(report, CLIENT_NEGATIVE, "%s: %s (status 0x%02" PRIx32 ")", what,
                         vgpu_wire_status_text(status), status);
}

int stub_ping(const struct client_options *options, struct report *report)
{
    struct vgpu_stub *stub;
    uint64_t start_ns;
    double us;
    int rc = stub_open(options, &stub, report);

    if (rc)
        return rc;
    start_ns = vgpu_now_ns();
    rc = vgpu_stub_ping(stub);
    us = (double)(vgpu_now_ns() - start_ns) / 1e3;
    vgpu_stub_close(stub);
    if (rc)
        return stub_failed(report, rc, "ping", true);
    report_say(report, "vgpud answered after %.1f us.\n", us);
    report_real(report, "round_trip_us", us);
    return report_done(report, CLIENT_OK);
}

int stub_nop(const struct client_options *options, struct report *report)
{
    struct vgpu_stub_answer answer;
    struct vgpu_stub *stub;
    uint64_t done, busy = 0, start_ns, max_ns = 0;
    double total_ms;
    int rc = stub_open(options, &stub, report);

    if (rc)
        return rc;
    start_ns = vgpu_now_ns();
    for (done = 0; done < options->count; done++) {
        uint64_t sent_ns = vgpu_now_ns(), took_ns;

        rc = request(stub, WIRE_OP_NOP, NULL, 0, &answer, &busy);
        if (rc || answer.status != WIRE_OK)
            break;
        took_ns = vgpu_now_ns() - sent_ns;
        max_ns = took_ns > max_ns ? took_ns : max_ns;
    }
    total_ms = (double)(vgpu_now_ns() - start_ns) / 1e6;
    vgpu_stub_close(stub);
    report_count(report, "answered", done);
    report_count(report, "busy", busy);
    if (rc)
        return stub_failed(report, rc, "nop", done == 0);
    if (done < options->count)
        return refused(report, answer.status, "nop");
    report_say(report,
               "%" PRIu64 " requests answered in %.3f ms (%.1f us each, slowest %.1f us).\n", done,
               total_ms, total_ms * 1e3 / (double)done, (double)max_ns / 1e3);
    report_real(report, "total_ms", total_ms);
    report_real(report, "mean_us", total_ms * 1e3 / (double)done);
    report_real(report, "max_us", (double)max_ns / 1e3);
    return report_done(report, CLIENT_OK);
}

int stub_vector_add(const struct client_options *options, struct report *report)
{
    struct vgpu_stub_answer answer;
    struct vgpu_stub *stub;
    uint32_t params[2];
    uint64_t busy = 0;
    int32_t sum;
    int rc;

    for (int i = 0; i < 2; i++) {
        char *end;
        long value;

        errno = 0;
        value = strtol(options->operands[i], &end, 10);
        if (errno || end == options->operands[i] || *end || value < INT32_MIN || value > INT32_MAX)
            return report_failed(report, CLIENT_USAGE, "\"%s\" is not a 32-bit integer",
                                 options->operands[i]);
        params[i] = (uint32_t)value;
    }
    rc = stub_open(options, &stub, report);
    if (rc)
        return rc;
    rc = request(stub, WIRE_OP_VECTOR_ADD, params, 2, &answer, &busy);
    vgpu_stub_close(stub);
    if (rc)
        return stub_failed(report, rc, "vector-add", true);
    if (answer.status != WIRE_OK)
        return refused(report, answer.status, "vector-add");
    if (answer.result_count != 1)
        return report_failed(report, CLIENT_NEGATIVE, "vector-add: %" PRIu32 " results, not one",
                             answer.result_count);
    sum = (int32_t)answer.results[0];
    report_say(report, "%" PRId32 " + %" PRId32 " = %" PRId32 ", after %.3f ms in vgpud.\n",
               (int32_t)params[0], (int32_t)params[1], sum, (double)answer.exec_time_us / 1e3);
    report_integer(report, "result", sum);
    report_count(report, "exec_time_us", answer.exec_time_us);
    report_count(report, "busy", busy);
    if ((uint32_t)sum != params[0] + params[1])
        return report_failed(report, CLIENT_NEGATIVE, "vector-add: the sum is wrong");
    return report_done(report, CLIENT_OK);
}

int stub_device_info(const struct client_options *options, struct report *report)
{
    struct vgpu_stub_answer answer;
    struct vgpu_device_info info;
    struct vgpu_stub *stub;
    uint64_t busy = 0;
    int rc = stub_open(options, &stub, report);

    if (rc)
        return rc;
    rc = request(stub, WIRE_OP_GET_DEVICE_INFO, NULL, 0, &answer, &busy);
    vgpu_stub_close(stub);
    if (rc)
        return stub_failed(report, rc, "device-info", true);
    if (answer.status != WIRE_OK)
        return refused(report, answer.status, "device-info");
    rc = vgpu_device_info_read(answer.data, answer.data_bytes, &info);
    if (rc)
        return report_result(report, rc, "device-info");
    report_device(report, &info);
    return report_done(report, CLIENT_OK);
}

int stub_cuda_call(const struct client_options *options, struct report *report)
{
    struct vgpu_stub_cuda answer;
    struct vgpu_stub *stub;
    int rc = stub_open(options, &stub, report);

    if (rc)
        return rc;
    rc = vgpu_stub_cuda_call(stub, 1 /* cuInit */, &answer);
    vgpu_stub_close(stub);
    if (rc)
        return stub_failed(report, rc, "cuda-call", true);
    if (answer.type != WIRE_CUDA_RESULT)
        return refused(report, answer.wire_status, "cuda-call");
    report_count(report, "cuda_result", answer.status);
    if (answer.status == WIRE_CUDA_NOT_SUPPORTED)
        return report_failed(report, CLIENT_NEGATIVE,
                             "cuda-call: answered \"not supported\" (CUDA result %" PRIu32
                             "): this "
                             "vgpud does not forward CUDA; use the ring",
                             answer.status);
    report_say(report, "The CUDA call was answered with result %" PRIu32 ".\n", answer.status);
    return report_done(report, answer.status ? CLIENT_NEGATIVE : CLIENT_OK);
}
