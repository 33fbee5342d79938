/*
 * test_spawn_settings.c - The environment of a worker: nothing gets in that is not on the list
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "spawn/settings.h"

static struct settings settings;

/* Parse @bytes of @text, which may contain NULs. */
static int parse(const char *text, size_t bytes)
{
    char detail[SPAWN_DETAIL_BYTES] = {0};

    memcpy(detail, text, bytes);
    return settings_parse(&settings, detail, "/tmp/s/worker-1");
}

#define PARSE(text) parse(text, sizeof(text) - 1)

static bool has(const char *entry)
{
    for (char **known = settings.environment; *known; known++) {
        if (strcmp(*known, entry) == 0) {
            return true;
        }
    }
    return false;
}

static unsigned int count(void)
{
    unsigned int number = 0;

    while (settings.environment[number]) {
        number++;
    }
    return number;
}

static void test_allowed(void)
{
    CASE("without settings a worker has a path and its own directory");
    CHECK(PARSE("") == 0);
    CHECK(count() == 4 && has("PATH=/usr/bin:/bin") && has("HOME=/tmp/s/worker-1"));
    CHECK(has("TMPDIR=/tmp/s/worker-1") && has("POCL_CACHE_DIR=/tmp/s/worker-1"));

    CASE("every allowed name gets through with its value");
    CHECK(PARSE("OCL_ICD_VENDORS=/etc/v\0OCL_ICD_FILENAMES=a=b\0VGPU_BACKEND=null\0"
                "VGPU_OPENCL_LIBRARY=/l\0VGPU_CUDA_LIBRARY=/"
                "c\0VGPU_DEVICE_INDEX=0\0VGPU_CPU_THREADS=2\0"
                "VGPU_MEMORY_LIMIT=1\0POCL_WORK_GROUP_SPECIALIZATION=0\0POCL_X2=") == 0);
    CHECK(count() == 14 && has("OCL_ICD_FILENAMES=a=b") && has("POCL_X2="));
    CHECK(has("VGPU_CUDA_LIBRARY=/c"));
    CHECK(has("POCL_WORK_GROUP_SPECIALIZATION=0") && has("VGPU_MEMORY_LIMIT=1"));
}

static void test_refused(void)
{
    static const char *const names[] = {
        "LD_PRELOAD=/x",
        "LD_LIBRARY_PATH=/x",
        "LIBRARY_PATH=/x",
        "PATH=/x",
        "HOME=/x",
        "TMPDIR=/x",
        "POCL_CACHE_DIR=/x",
        "POCL_=x",
        "POCL_a=x",
        "POCL_A B=x",
        "VGPU_=x",
        "VGPU_BACKEND",
        "=x",
        "VGPU_BACKEN=x",
        "VGPU_BACKENDS=x",
        " VGPU_BACKEND=x",
    };

    CASE("no other name gets through");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CHECK(parse(names[i], strlen(names[i])) == -EINVAL);
    }

    CASE("a name comes once");
    CHECK(PARSE("POCL_A=1\0POCL_A=2") == -EINVAL);
    CHECK(PARSE("POCL_A=1\0POCL_AB=2") == 0);
    CHECK(PARSE("POCL_AB=1\0POCL_A=2") == 0);

    CASE("values have no control characters");
    CHECK(PARSE("POCL_A=1\n2") == -EINVAL && PARSE("POCL_A=\x7f") == -EINVAL);
    CHECK(PARSE("POCL_A=\xc3\xa4 b") == 0);

    CASE("nothing follows the last entry");
    CHECK(PARSE("POCL_A=1\0\0POCL_B=2") == -EINVAL);
}

static void test_limits(void)
{
    char detail[SPAWN_DETAIL_BYTES] = {0};
    char scratch[SETTINGS_SCRATCH_BYTES + 1];
    size_t used = 0;

    CASE("the field must end with a NUL");
    memcpy(detail, "POCL_A=", 7);
    memset(detail + 7, 'x', sizeof(detail) - 7);
    CHECK(settings_parse(&settings, detail, "/s") == -EINVAL);
    detail[sizeof(detail) - 1] = '\0';
    CHECK(settings_parse(&settings, detail, "/s") == 0 && count() == 5);
    CHECK(strlen(settings.environment[0]) == SPAWN_DETAIL_BYTES - 1);

    CASE("there is a largest number of settings");
    memset(detail, 0, sizeof(detail));
    for (int i = 0; i < SETTINGS_MAX; i++) {
        used += (size_t)snprintf(detail + used, sizeof(detail) - used, "POCL_%c=1", 'A' + i) + 1;
    }
    CHECK(settings_parse(&settings, detail, "/s") == 0 && count() == SETTINGS_MAX + 4);
    memcpy(detail + used, "POCL_Z=1", 8);
    CHECK(settings_parse(&settings, detail, "/s") == -E2BIG);

    CASE("a directory whose path does not fit is refused");
    memset(scratch, 'x', sizeof(scratch));
    scratch[SETTINGS_SCRATCH_BYTES] = '\0';
    memset(detail, 0, sizeof(detail));
    CHECK(settings_parse(&settings, detail, scratch) == -ENAMETOOLONG);
    scratch[SETTINGS_SCRATCH_BYTES - 1] = '\0';
    CHECK(settings_parse(&settings, detail, scratch) == 0);
    CHECK(strlen(settings.environment[2]) == strlen("POCL_CACHE_DIR=") + strlen(scratch));
}

int main(void)
{
    test_allowed();
    test_refused();
    test_limits();
    return check_done();
}
