/*
 * bucket.c - A token bucket; pure
 *
 * Theory of operation
 *
 * The level is counted in billionths of a token, so that a rate in tokens per second is what it
 * rises by with every nanosecond: all arithmetic is exact, whatever the rate and however often it is
 * asked. The largest bucket holds 10^9 tokens, 10^18 units, and no product below is larger than that
 * and one more rate.
 *
 * A change keeps the level, cut to what the new bucket holds: nobody gains tokens by a change, nor by
 * having had no limit for a while. Only the first limit that a VM ever gets starts with a full bucket.
 *
 * An engine may die between any two of the stores, which are made in an order in which the level is
 * never above what it should be: the time is moved on before what it brought is added.
 */
#include "bucket.h"

#include <stdbool.h>

static uint64_t capacity_of(uint32_t burst)
{
    return (uint64_t)burst * BUCKET_TOKEN;
}

static uint64_t level_at(const struct journal_bucket *b, uint64_t now_ns)
{
    uint64_t capacity = capacity_of(b->burst), missing, elapsed_ns;

    if (b->rate == 0 || now_ns <= b->stamp_ns || b->level >= capacity)
        return b->level;
    missing = capacity - b->level;
    elapsed_ns = now_ns - b->stamp_ns;
    return elapsed_ns > missing / b->rate ? capacity : b->level + elapsed_ns * b->rate;
}

static void settle(struct journal_bucket *b, uint64_t now_ns)
{
    uint64_t level = level_at(b, now_ns);

    if (now_ns > b->stamp_ns)
        __atomic_store_n(&b->stamp_ns, now_ns, __ATOMIC_RELEASE);
    __atomic_store_n(&b->level, level, __ATOMIC_RELEASE);
}

void bucket_set(struct journal_bucket *b, uint32_t rate, uint32_t burst, uint64_t now_ns)
{
    bool first = b->stamp_ns == 0;

    burst = rate && burst == 0 ? rate : burst;
    if (rate == b->rate && (rate == 0 || burst == b->burst))
        return;
    settle(b, now_ns);
    if (rate && (first || b->level > capacity_of(burst)))
        __atomic_store_n(&b->level, capacity_of(burst), __ATOMIC_RELEASE);
    __atomic_store_n(&b->burst, burst, __ATOMIC_RELEASE);
    __atomic_store_n(&b->rate, rate, __ATOMIC_RELEASE);
}

uint32_t bucket_wait_us(const struct journal_bucket *b, uint64_t now_ns)
{
    uint64_t level = level_at(b, now_ns), ns;

    if (b->rate == 0 || level >= BUCKET_TOKEN)
        return 0;
    ns = (BUCKET_TOKEN - level + b->rate - 1) / b->rate;
    return (uint32_t)((ns + 999) / 1000);
}

void bucket_take(struct journal_bucket *b, uint64_t now_ns)
{
    if (b->rate == 0)
        return;
    settle(b, now_ns);
    __atomic_store_n(&b->level, b->level - BUCKET_TOKEN, __ATOMIC_RELEASE);
}
