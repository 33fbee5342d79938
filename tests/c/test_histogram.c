/*
 * test_histogram.c - Quantiles of a histogram against those of the sorted values
 */
/* sanitizers: address */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "histogram.h"

#define VALUES   20000u
#define SETS     60u
#define HOUR_NS  3600000000000ull
#define EXACT_NS 1024u /* below, a quantile is off by EXACT_NS / 16 at most */

static uint64_t random_state = 88172645463325252ull;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static double random_unit(void)
{
    return (double)(random_u64() >> 11) / (double)(1ull << 53);
}

static void add(struct histogram *h, uint64_t ns)
{
    histogram_add(h, histogram_bucket(ns), ns);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool close_to(uint64_t told, uint64_t exact)
{
    uint64_t off = told > exact ? told - exact : exact - told;

    return off <= (exact < EXACT_NS ? EXACT_NS : exact) / 16;
}

/* One kind of distribution for each @kind; times from nothing to over an hour. */
static uint64_t draw(uint32_t kind)
{
    switch (kind % 5) {
    case 0: /* any power of two is as likely as any other */
        return (uint64_t)exp2(random_unit() * log2((double)HOUR_NS));
    case 1: /* heavy tail */
        return (uint64_t)(5000.0 / pow(1.0 - random_unit(), 2.0));
    case 2: /* two humps far apart */
        return random_u64() % 100 ? 2000 + random_u64() % 500 : 80000000 + random_u64() % 5000000;
    case 3: /* all in the linear part */
        return random_u64() % EXACT_NS;
    default: /* one value */
        return 777777;
    }
}

static void test_against_sorted(void)
{
    static const uint32_t asked[] = {1, 10, 500, 900, 950, 990, 999, 1000};
    static uint64_t value[VALUES];
    static struct histogram h;

    CASE("every quantile is within 1/16 of the sorted values', whatever they are and how many");
    for (uint32_t set = 0; set < SETS; set++) {
        uint32_t count = set < 5 ? 1 + set : 1 + (uint32_t)(random_u64() % VALUES);
        uint64_t sum = 0;

        memset(&h, 0, sizeof(h));
        for (uint32_t i = 0; i < count; i++) {
            value[i] = draw(set);
            if (value[i] > HOUR_NS)
                value[i] = HOUR_NS;
            sum += value[i];
            add(&h, value[i]);
        }
        qsort(value, count, sizeof(*value), by_value);
        for (size_t q = 0; q < sizeof(asked) / sizeof(*asked); q++) {
            uint64_t exact = value[((uint64_t)count * asked[q] + 999) / 1000 - 1];
            uint64_t told = histogram_quantile(&h, asked[q]);

            if (!close_to(told, exact))
                fprintf(stderr, "set %u: %u permille of %u: %llu, exact %llu\n", set, asked[q],
                        count, (unsigned long long)told, (unsigned long long)exact);
            CHECK(close_to(told, exact));
        }
        CHECK(histogram_count(&h) == count && h.sum_ns == sum && h.max_ns == value[count - 1]);
    }
}

static void test_buckets(void)
{
    uint32_t last = 0;
    bool rising = true, within = true;

    CASE(
        "buckets follow one another without a gap, and each holds values within 1/8 of each other");
    for (uint64_t ns = 0; ns < 2 * HOUR_NS; ns += 1 + ns / 4096) {
        uint32_t bucket = histogram_bucket(ns);

        rising = rising && (bucket == last || bucket == last + 1);
        within = within && bucket < HISTOGRAM_BUCKETS;
        last = bucket;
    }
    CHECK(rising && within && last == HISTOGRAM_BUCKETS - 1);
    for (uint64_t ns = EXACT_NS; ns < HOUR_NS; ns += ns / 8 + 1)
        CHECK(histogram_bucket(ns) != histogram_bucket(ns + ns / 8 + 1));
    CHECK(histogram_bucket(HOUR_NS) < HISTOGRAM_BUCKETS - 1);
}

static void test_ends(void)
{
    static struct histogram h;

    CASE("nothing counted: every quantile is 0");
    CHECK(histogram_quantile(&h, 500) == 0 && histogram_quantile(&h, 1000) == 0);

    CASE("no quantile exceeds the longest time, and what is beyond the range is told by it");
    add(&h, 1);
    CHECK(histogram_quantile(&h, 500) == 1);
    add(&h, UINT64_MAX);
    CHECK(histogram_bucket(UINT64_MAX) == HISTOGRAM_BUCKETS - 1);
    CHECK(histogram_quantile(&h, 1000) == UINT64_MAX && histogram_quantile(&h, 500) <= 64);
}

static void test_full_bucket(void)
{
    static struct histogram h;
    uint32_t often = histogram_bucket(1000000), rare = histogram_bucket(5000000);

    CASE("a bucket that is full halves all, and the quantiles stay");
    h.max_ns = 5000000;
    h.bucket[often] = UINT32_MAX - 1;
    h.bucket[rare] = 400000000; /* some 9 percent */
    add(&h, 1000000);
    CHECK(h.bucket[often] == UINT32_MAX / 2 && h.bucket[rare] == 200000000);
    CHECK(histogram_count(&h) == UINT32_MAX + 400000000ull);
    CHECK(close_to(histogram_quantile(&h, 900), 1000000));
    CHECK(close_to(histogram_quantile(&h, 950), 5000000));
    add(&h, 1000000);
    CHECK(h.bucket[often] == UINT32_MAX / 2 + 1);
}

int main(void)
{
    test_against_sorted();
    test_buckets();
    test_ends();
    test_full_bucket();
    return check_done();
}
