/*
 * test_worker_options.c - Which compiler options a guest may give
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "worker/build_options.h"

static int allowed(const char *options)
{
    char *refusal = NULL;
    int result = build_options_check(options, &refusal);

    if (result != 0 && (!refusal || !strstr(refusal, "is not allowed")))
        abort();
    free(refusal);
    return result == 0;
}

int main(void)
{
    static const char *const fine[] = {
        "",       "  ",   "-w",    "-Werror",          "-cl-std=CL1.2 -cl-mad-enable",
        "-DN",    "-D N", "-DN=3", "-D  STEP=1.0f/60", "-DF=sqrt(x)*(-2)",
        "\t-w\n",
    };
    static const char *const refused[] = {
        "-I.",           "-I /etc",     "-include x", "-o x",      "-Xclang -load",
        "@file",         "/etc/passwd", "-D",         "-D 1N",     "-DN=/etc/passwd",
        "-DN=../x",      "-DN=a//b",    "-DN=./x",    "-DN=\"x\"", "-DN=<x>",
        "-cl-std=CL9.9", "-w-w",        "-DN;rm",     "-cl-",      "-save-temps",
    };

    CASE("definitions, -w, -Werror and the -cl- options are allowed");
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        CHECK(allowed(fine[i]));
    CASE("everything else is refused by name");
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        CHECK(!allowed(refused[i]));
    return check_done();
}
