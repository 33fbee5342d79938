/*
 * histogram.c - How long things took: counts in log-linear buckets, for quantiles without sampling
 */
#include "histogram.h"

/** histogram_halve() - A bucket is full: make room in all. Once in 2^32 times */
void histogram_halve(struct histogram *h)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        h->halved += h->bucket[i] - h->bucket[i] / 2;
        h->bucket[i] /= 2;
    }
}

/** histogram_count() - How many times were counted */
uint64_t histogram_count(const struct histogram *h)
{
    uint64_t all = h->halved;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        all += h->bucket[i];
    return all;
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
    uint64_t all = histogram_count(h) - h->halved, rank, ns;
    uint32_t i;

    if (all == 0)
        return 0;
    rank = (all * permille + 999) / 1000; /* 264 x 2^32 x 1000 fits */
    for (i = 0; i < HISTOGRAM_BUCKETS - 1 && h->bucket[i] < rank; i++)
        rank -= h->bucket[i];
    /* Nothing is known of the last bucket's upper end but the longest time. */
    ns = i == HISTOGRAM_BUCKETS - 1 ? h->max_ns : middle_ns(i);
    return ns < h->max_ns ? ns : h->max_ns;
}
