/*
 * histogram.c - How long things took: counts in log-linear buckets, for quantiles without sampling
 */
#include "histogram.h"

/**
 * histogram_bucket() - Where a time is counted
 *
 * Apart from histogram_add(), as one time is often counted in several histograms.
 *
 * Return: 0 to HISTOGRAM_BUCKETS - 1
 */
uint32_t histogram_bucket(uint64_t ns)
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

/* Once in 2^32 times. */
__attribute__((cold, noinline)) static void halve(struct histogram *h)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->bucket[i] /= 2;
}

/**
 * histogram_add() - Count a time
 * @bucket: histogram_bucket() of @ns
 */
void histogram_add(struct histogram *h, uint32_t bucket, uint64_t ns)
{
    h->count++;
    h->sum_ns += ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
    if (__builtin_expect(++h->bucket[bucket] == UINT32_MAX, 0))
        halve(h);
}

/* The middle of a bucket. */
static uint64_t middle_ns(uint32_t bucket)
{
    uint32_t octave = bucket < HISTOGRAM_SUB ? 0 : bucket / HISTOGRAM_SUB - 1;
    uint64_t first = bucket - HISTOGRAM_SUB * octave;

    return ((2 * first + 1) << octave << HISTOGRAM_UNIT_SHIFT) / 2;
}

/**
 * histogram_quantile() - The time that so many thousandths of all do not exceed (nearest rank)
 * @permille: 1 to 1000
 *
 * Return: nanoseconds; 0 = nothing was counted
 */
uint64_t histogram_quantile(const struct histogram *h, uint32_t permille)
{
    uint64_t all = 0, rank, ns;
    uint32_t i;

    for (i = 0; i < HISTOGRAM_BUCKETS; i++)
        all += h->bucket[i];
    if (all == 0)
        return 0;
    rank = (all * permille + 999) / 1000; /* 264 x 2^32 x 1000 fits */
    for (i = 0; i < HISTOGRAM_BUCKETS - 1 && h->bucket[i] < rank; i++)
        rank -= h->bucket[i];
    /* Nothing is known of the last bucket's upper end but the longest time. */
    ns = i == HISTOGRAM_BUCKETS - 1 ? h->max_ns : middle_ns(i);
    return ns < h->max_ns ? ns : h->max_ns;
}
