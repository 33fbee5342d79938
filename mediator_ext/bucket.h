/*
 * bucket.h - A token bucket; pure
 *
 * The bucket is a part of a VM's journal. @now_ns is the caller's clock and never runs backwards.
 */
#ifndef VGPUD_BUCKET_H
#define VGPUD_BUCKET_H

#include "journal.h"

#define BUCKET_TOKEN    1000000000u /* a bucket rises by its rate with every nanosecond */
#define BUCKET_RATE_MAX 1000000000u

/* How many tokens a second there are, and how many the bucket holds. Changes nothing when nothing
 * is changed. @rate 0 = no limit, @burst 0 = as many as @rate; up to BUCKET_RATE_MAX both. */
void bucket_set(struct journal_bucket *bucket, uint32_t rate, uint32_t burst, uint64_t now_ns);

/* Return: microseconds until a token is there, rounded up; 0 = there is one */
uint32_t bucket_wait_us(const struct journal_bucket *bucket, uint64_t now_ns);

/* Take a token, which is there. */
void bucket_take(struct journal_bucket *bucket, uint64_t now_ns);

#endif
