/*
 * test_worker_null.c - The device that runs nothing, and can be kept busy all the same
 */
#include <time.h>

#include "check.h"
#include "worker/backend.h"

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The shortest of some launches of a kernel of that name, ns. */
static uint64_t launch_ns(struct backend *backend, const char *name)
{
    struct backend_launch launch = {.dims = 1, .global = {1}};
    uint64_t best = UINT64_MAX;
    uint32_t args;

    CHECK(backend_null.kernel_create(backend, NULL, name, &launch.kernel, &args).status == VGPU_OK);
    for (int i = 0; i < 20; i++) {
        uint64_t start = now_ns(), took;

        CHECK(backend_null.launch(backend, &launch).status == VGPU_OK);
        CHECK(backend_null.finish(backend).status == VGPU_OK);
        took = now_ns() - start;
        if (took < best)
            best = took;
    }
    backend_null.kernel_release(backend, launch.kernel);
    return best;
}

int main(void)
{
    struct backend_settings settings = {.device = -1};
    struct backend *backend;
    char reason[64];

    CHECK(backend_null.open(&settings, &backend, reason, sizeof(reason)) == 0);

    CASE("a kernel named busy_<N>us keeps the device busy for N microseconds, no shorter");
    CHECK(launch_ns(backend, "busy_1000us") >= 1000000);
    CHECK(launch_ns(backend, "busy_2000us") >= 2000000);

    CASE("any other kernel takes no time");
    CHECK(launch_ns(backend, "saxpy") < 1000000);
    CHECK(launch_ns(backend, "busy_us") < 1000000);
    CHECK(launch_ns(backend, "busy_1000ms") < 1000000);
    CHECK(launch_ns(backend, "busy_1000us_") < 1000000);
    CHECK(launch_ns(backend, "busy_1000001us") < 1000000);
    CHECK(launch_ns(backend, "busy_99999999999999999999999999999us") < 1000000);
    backend_null.close(backend);
    return check_done();
}
