/*
 * check.h - The smallest test harness that names its claims
 *
 * A test program calls CASE("claim") before each group of CHECKs. Every claim prints one line when
 * the next one starts or at CHECK_DONE(), so a crash shows which claim was running.
 */
#ifndef VGPUD_TESTS_CHECK_H
#define VGPUD_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static const char *check_case;
static int check_case_failed, check_failures, check_cases;

static inline void check_finish_case(void)
{
    if (check_case) {
        printf("%s - %s\n", check_case_failed ? "not ok" : "ok", check_case);
        fflush(stdout);
    }
    check_case = NULL;
    check_case_failed = 0;
}

#define CASE(claim)                                                                                \
    do {                                                                                           \
        check_finish_case();                                                                       \
        check_case = (claim);                                                                      \
        check_cases++;                                                                             \
    } while (0)

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: CHECK(%s) failed\n", __FILE__, __LINE__,                   \
                    check_case ? check_case : "?", #cond);                                         \
            check_case_failed = 1;                                                                 \
            check_failures++;                                                                      \
        }                                                                                          \
    } while (0)

/* Return: the exit status of the test program; a program without a claim has failed. */
static inline int check_done(void)
{
    check_finish_case();
    printf("%d claims, %d failed checks\n", check_cases, check_failures);
    return check_failures || check_cases == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
