/*
 * build_options.c - Which compiler options a guest may give
 *
 * A list of what is allowed, because what a compiler does with the rest differs: -I, -include,
 * -o, -Xclang, @file and their kin reach files of the host. This keeps the obvious doors shut; what
 * a source can still name (#include, .incbin) is kept away by there being nothing to find in the
 * builder's file system.
 */
#include "build_options.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BLANKS " \t\r\n"

static bool is_one_of(const char *word, size_t len)
{
    static const char *const exact[] = {
        "-w",
        "-Werror",
        "-cl-single-precision-constant",
        "-cl-denorms-are-zero",
        "-cl-fp32-correctly-rounded-divide-sqrt",
        "-cl-opt-disable",
        "-cl-strict-aliasing",
        "-cl-uniform-work-group-size",
        "-cl-no-subgroup-ifp",
        "-cl-mad-enable",
        "-cl-no-signed-zeros",
        "-cl-unsafe-math-optimizations",
        "-cl-finite-math-only",
        "-cl-fast-relaxed-math",
        "-cl-kernel-arg-info",
        "-cl-std=CL1.0",
        "-cl-std=CL1.1",
        "-cl-std=CL1.2",
        "-cl-std=CL2.0",
        "-cl-std=CL3.0",
    };

    for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
        if (strlen(exact[i]) == len && memcmp(exact[i], word, len) == 0)
            return true;
    return false;
}

/* NAME or NAME=VALUE. A value with a path in it would be a way to say #include PATH. */
static bool is_definition(const char *word, size_t len)
{
    size_t i = 0;

    if (len == 0 || !(isalpha((unsigned char)word[0]) || word[0] == '_'))
        return false;
    while (i < len && (isalnum((unsigned char)word[i]) || word[i] == '_'))
        i++;
    if (i == len)
        return true;
    if (word[i++] != '=')
        return false;
    for (size_t first = i; i < len; i++) {
        char c = word[i];

        if (!isalnum((unsigned char)c) && (c == 0 || !strchr("_.+-*/()", c)))
            return false;
        if ((c == '/' && (i == first || word[i - 1] == '/' || word[i - 1] == '.')) ||
            (c == '.' && i > first && word[i - 1] == '.'))
            return false;
    }
    return true;
}

int build_options_check(const char *options, char **refusal)
{
    const char *at = options + strspn(options, BLANKS);

    while (*at) {
        size_t len = strcspn(at, BLANKS);
        bool fine;

        if (len == 2 && memcmp(at, "-D", 2) == 0) {
            at += len;
            at += strspn(at, BLANKS);
            len = strcspn(at, BLANKS);
            fine = is_definition(at, len);
        } else if (len > 2 && memcmp(at, "-D", 2) == 0) {
            fine = is_definition(at + 2, len - 2);
        } else {
            fine = is_one_of(at, len);
        }
        if (!fine) {
            if (asprintf(refusal,
                         "vgpud: the option '%.*s' is not allowed; allowed are -D NAME[=VALUE] "
                         "without paths, -w, -Werror and the -cl- options\n",
                         (int)len, at) < 0)
                *refusal = NULL;
            return -EPERM;
        }
        at += len;
        at += strspn(at, BLANKS);
    }
    return 0;
}
