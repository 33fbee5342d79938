/*
 * histogram.h - How long things took: counts in log-linear buckets, for quantiles without sampling
 *
 * One writer. A value is counted in units of 128 ns: below 1,024 ns in buckets of one unit, from
 * there on to 73 minutes in 8 buckets for each power of two, and whatever is longer in the last
 * bucket. A quantile is told as the middle of its bucket, so it is off by at most 1/16 of itself
 * (below 1,024 ns: by 64 ns). Count, sum and maximum are exact.
 *
 * 264 buckets of 4 bytes: 1,080 bytes for a histogram. A bucket cannot overflow: when one is full,
 * all are halved, which leaves every quantile where it is and lets what comes then weigh more.
 */
#ifndef VGPUD_HISTOGRAM_H
#define VGPUD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_UNIT_SHIFT 7u /* 128 ns */
#define HISTOGRAM_SUB_SHIFT  3u /* 8 buckets for each power of two */
#define HISTOGRAM_SUB        (1u << HISTOGRAM_SUB_SHIFT)
#define HISTOGRAM_OCTAVES    32u
#define HISTOGRAM_BUCKETS    (HISTOGRAM_SUB * (HISTOGRAM_OCTAVES + 1))

struct histogram {
    uint64_t halved; /* counts that are in no bucket any more */
    uint64_t sum_ns;
    uint64_t max_ns;
    uint32_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_halve(struct histogram *h);
uint64_t histogram_count(const struct histogram *h);
uint64_t histogram_quantile(const struct histogram *h, uint32_t permille);

/**
 * histogram_bucket() - Where a time is counted
 *
 * Apart from histogram_add(), as one time is often counted in several histograms.
 *
 * Return: 0 to HISTOGRAM_BUCKETS - 1
 */
static inline uint32_t histogram_bucket(uint64_t ns)
{
    uint64_t units = ns >> HISTOGRAM_UNIT_SHIFT;
    uint32_t octave;

    if (units < HISTOGRAM_SUB)
        return (uint32_t)units;
    octave = 63u - (uint32_t)__builtin_clzll(units) - HISTOGRAM_SUB_SHIFT;
    if (octave >= HISTOGRAM_OCTAVES)
        return HISTOGRAM_BUCKETS - 1;
    /* The bits below the highest one say which of the octave's buckets it is. */
    return HISTOGRAM_SUB * octave + (uint32_t)(units >> octave);
}

/**
 * histogram_add() - Count a time
 * @bucket: histogram_bucket() of @ns
 */
static inline void histogram_add(struct histogram *h, uint32_t bucket, uint64_t ns)
{
    h->sum_ns += ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
    if (__builtin_expect(++h->bucket[bucket] == UINT32_MAX, 0))
        histogram_halve(h);
}

#endif
