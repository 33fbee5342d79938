/*
 * samples.h - What a load generator measures in rounds, and how it is summed up
 *
 * A shared machine pauses everybody now and then. So a series is cut into rounds, each round has its
 * own rate and percentiles, and what is reported is the median over the rounds.
 */
#ifndef VGPUD_TESTS_BENCH_SAMPLES_H
#define VGPUD_TESTS_BENCH_SAMPLES_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES_MAX (1u << 20) /* of a round; what is more is counted and not kept */
#define ROUNDS_MAX  200u

struct samples {
    uint64_t *took_ns; /* of the running round */
    uint64_t count;
    uint64_t lost; /* over all rounds */
    uint32_t rounds;
    double per_second[ROUNDS_MAX];
    double p50_us[ROUNDS_MAX];
    double p99_us[ROUNDS_MAX];
};

static inline void fail(const char *what, const char *reason)
{
    fprintf(stderr, "%s: %s\n", what, reason);
    exit(EXIT_FAILURE);
}

static inline void must(bool right, const char *what)
{
    if (!right)
        fail(what, strerror(errno));
}

static inline uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void samples_new(struct samples *s)
{
    *s = (struct samples){.took_ns = malloc(SAMPLES_MAX * sizeof(uint64_t))};
    must(s->took_ns != NULL, "memory");
}

static inline void samples_add(struct samples *s, uint64_t took_ns)
{
    if (s->count < SAMPLES_MAX)
        s->took_ns[s->count] = took_ns;
    s->count++;
}

static inline int samples_order(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* A round of @elapsed_ns is over, in which each sample stood for @weight requests. */
static inline void samples_round(struct samples *s, uint64_t elapsed_ns, uint32_t weight)
{
    size_t kept = s->count < SAMPLES_MAX ? s->count : SAMPLES_MAX;

    must(kept > 0 && s->rounds < ROUNDS_MAX, "a round without an answer");
    qsort(s->took_ns, kept, sizeof(uint64_t), samples_order);
    s->per_second[s->rounds] = (double)s->count * weight * 1e9 / (double)elapsed_ns;
    s->p50_us[s->rounds] = (double)s->took_ns[kept / 2] / 1e3;
    s->p99_us[s->rounds] = (double)s->took_ns[kept - 1 - kept / 100] / 1e3;
    s->rounds++;
    s->count = 0;
}

static inline int double_order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), double_order);
    return values[count / 2];
}

/* One member of a JSON object. */
static inline void samples_print(struct samples *s, const char *name, bool last)
{
    printf("\"%s\": {\"per_second\": %.1f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"lost\": %llu}%s",
           name, median(s->per_second, s->rounds), median(s->p50_us, s->rounds),
           median(s->p99_us, s->rounds), (unsigned long long)s->lost, last ? "" : ", ");
}

static inline uint64_t number(const char *text, uint64_t max)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (end == text || *end || value < 1 || value > max)
        fail(text, "not a number that is allowed here");
    return value;
}

#endif
