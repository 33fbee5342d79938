/*
 * test_bucket.c - The token bucket on a virtual clock: exact, whatever the rate, the gaps, the changes
 */
#include <stdbool.h>

#include "bucket.h"
#include "check.h"

#define SECOND_NS 1000000000ull
#define START_NS  (5 * SECOND_NS)

static struct journal_bucket bucket_of(uint32_t rate, uint32_t burst)
{
    struct journal_bucket bucket = {0};

    bucket_set(&bucket, rate, burst, START_NS);
    return bucket;
}

/* Take all that is there. Return: how many that were */
static uint64_t drain(struct journal_bucket *bucket, uint64_t now_ns)
{
    uint64_t taken = 0;

    while (bucket_wait_us(bucket, now_ns) == 0) {
        bucket_take(bucket, now_ns);
        taken++;
    }
    return taken;
}

static void test_rate(void)
{
    struct journal_bucket bucket = bucket_of(0, 0);
    static const uint32_t rates[] = {1, 3, 7, 1000, 999983, BUCKET_RATE_MAX};
    uint64_t taken, now_ns;

    CASE("without a rate there is always a token");
    for (int i = 0; i < 1000; i++)
        bucket_take(&bucket, START_NS);
    CHECK(bucket_wait_us(&bucket, START_NS) == 0);

    CASE("a new bucket is full: so many at once as the burst says, without one as the rate says");
    bucket = bucket_of(10, 3);
    CHECK(drain(&bucket, START_NS) == 3);
    bucket = bucket_of(10, 0);
    CHECK(drain(&bucket, START_NS) == 10);

    CASE("over a long time exactly rate x time are let through, in steps that divide nothing");
    for (unsigned int i = 0; rates[i] <= 1000000; i++) {
        uint64_t seconds = rates[i] < 10 ? 86400 : 2000000 / rates[i];

        bucket = bucket_of(rates[i], 3 * rates[i]);
        taken = drain(&bucket, START_NS);
        CHECK(taken == 3 * rates[i]);
        for (now_ns = START_NS; now_ns < START_NS + seconds * SECOND_NS; now_ns += 1234567891)
            taken += drain(&bucket, now_ns);
        taken += drain(&bucket, START_NS + seconds * SECOND_NS);
        CHECK(taken == (seconds + 3) * rates[i] && bucket.level == 0);
    }

    CASE("it is said exactly when the next one is there");
    for (unsigned int i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        uint32_t wait_us;

        bucket = bucket_of(rates[i], 1);
        CHECK(drain(&bucket, START_NS) == 1);
        wait_us = bucket_wait_us(&bucket, START_NS);
        CHECK(wait_us == (1000000 + rates[i] - 1) / rates[i]);
        CHECK(bucket_wait_us(&bucket, START_NS + wait_us * 1000ull) == 0);
        if (wait_us > 1)
            CHECK(bucket_wait_us(&bucket, START_NS + (wait_us - 1) * 1000ull) == 1);
    }
}

static void test_extremes(void)
{
    struct journal_bucket bucket = bucket_of(BUCKET_RATE_MAX, BUCKET_RATE_MAX);

    CASE("the largest rate and burst, and ages of waiting, overflow nothing");
    CHECK(bucket.level == 1000000000ull * BUCKET_TOKEN);
    bucket_take(&bucket, START_NS);
    CHECK(bucket.level == 999999999ull * BUCKET_TOKEN);
    bucket_take(&bucket, UINT64_MAX);
    CHECK(bucket.level == 999999999ull * BUCKET_TOKEN);
    bucket = bucket_of(1, BUCKET_RATE_MAX);
    bucket.level = 0;
    CHECK(bucket_wait_us(&bucket, START_NS + 3 * SECOND_NS) == 0);
    bucket_take(&bucket, UINT64_MAX - 1);
    CHECK(bucket.level == 999999999ull * BUCKET_TOKEN);
    bucket = bucket_of(BUCKET_RATE_MAX, 1);
    bucket_take(&bucket, START_NS);
    CHECK(bucket_wait_us(&bucket, START_NS) == 1 && bucket_wait_us(&bucket, START_NS + 1) == 0);

    CASE("a clock that stands still or runs backwards gives nothing, and takes nothing back");
    bucket = bucket_of(5, 5);
    CHECK(drain(&bucket, START_NS) == 5);
    CHECK(bucket_wait_us(&bucket, START_NS - SECOND_NS) == 200000);
    bucket_set(&bucket, 6, 6, START_NS - SECOND_NS);
    CHECK(bucket.level == 0 && bucket.stamp_ns == START_NS);
}

static void test_changes(void)
{
    struct journal_bucket bucket = bucket_of(10, 10), before;

    CASE("setting what is set already changes nothing at all");
    CHECK(drain(&bucket, START_NS) == 10);
    before = bucket;
    bucket_set(&bucket, 10, 10, START_NS + SECOND_NS / 2);
    bucket_set(&bucket, 10, 0, START_NS + SECOND_NS / 2);
    CHECK(bucket.level == before.level && bucket.stamp_ns == before.stamp_ns);

    CASE("a larger rate or burst starts with what is there, not with a full bucket");
    bucket_set(&bucket, 100, 1000, START_NS);
    CHECK(drain(&bucket, START_NS) == 0);
    CHECK(drain(&bucket, START_NS + SECOND_NS) == 100);

    CASE("what had come by until then came at the old rate");
    bucket_set(&bucket, 1, 1000, START_NS + 2 * SECOND_NS);
    CHECK(drain(&bucket, START_NS + 2 * SECOND_NS) == 100);
    CHECK(drain(&bucket, START_NS + 3 * SECOND_NS) == 1);

    CASE("a smaller burst cuts what is there, and a larger one later does not give it back");
    bucket = bucket_of(10, 10);
    bucket_set(&bucket, 10, 4, START_NS);
    bucket_set(&bucket, 10, 10, START_NS);
    CHECK(drain(&bucket, START_NS) == 4);

    CASE("taking a limit away and setting it again refills nothing");
    bucket_set(&bucket, 0, 0, START_NS);
    bucket_take(&bucket, START_NS);
    bucket_set(&bucket, 10, 10, START_NS + 60 * SECOND_NS);
    CHECK(drain(&bucket, START_NS + 60 * SECOND_NS) == 0);
    CHECK(drain(&bucket, START_NS + 61 * SECOND_NS) == 10);
}

/* A bucket as an engine leaves it that dies with some of a call's stores made: from each the next one
 * must not have more than without the death. */
static void test_deaths(void)
{
    struct journal_bucket bucket = bucket_of(10, 10), half;

    CASE("an engine that dies between two stores of a call leaves no more than there was");
    CHECK(drain(&bucket, START_NS) == 10);
    half = bucket;
    half.stamp_ns = START_NS + SECOND_NS / 2; /* the first store of a settlement */
    CHECK(drain(&half, START_NS + SECOND_NS / 2) == 0);
    half.level = 5ull * BUCKET_TOKEN; /* the second: now it is settled, and nothing is taken yet */
    CHECK(drain(&half, START_NS + SECOND_NS / 2) == 5);

    CASE("the same for a change, which the next engine makes again");
    half = (struct journal_bucket){.stamp_ns =
                                       START_NS}; /* a first limit, of which one store is made */
    bucket_set(&half, 10, 10, START_NS);
    CHECK(drain(&half, START_NS) == 0);
    half = bucket_of(10, 10);
    half.level = 4ull * BUCKET_TOKEN; /* cut for a burst of 4 that is not stored yet */
    bucket_set(&half, 10, 4, START_NS);
    CHECK(drain(&half, START_NS) == 4);
}

int main(void)
{
    test_rate();
    test_extremes();
    test_changes();
    test_deaths();
    return check_done();
}
