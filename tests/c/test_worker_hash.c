/*
 * test_worker_hash.c - The name of a build
 */
#include <string.h>

#include "check.h"
#include "worker/hash.h"

/* The reference vectors: key 00 01 .. 0f, input 00 01 .. of growing length. */
static void reference_vectors(void)
{
    static const uint8_t expected[][16] = {
        {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02,
         0x93},
        {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc,
         0x45},
    };
    uint8_t bytes[16];
    struct hash_key key, got;

    CASE("SipHash-2-4-128 gives the values of its authors");
    for (int i = 0; i < 16; i++)
        bytes[i] = (uint8_t)i;
    memcpy(&key, bytes, sizeof(key));
    for (uint64_t length = 0; length < 2; length++) {
        got = hash_siphash(key, bytes, length);
        CHECK(memcmp(&got, expected[length], sizeof(got)) == 0);
    }
}

static void every_part_counts(void)
{
    struct hash_key base = hash_module(1, "-w", "kernel", 6);

    CASE("kind, options and code each change the key, and so does where one ends");
    CHECK(hash_same(base, hash_module(1, "-w", "kernel", 6)));
    CHECK(!hash_same(base, hash_module(2, "-w", "kernel", 6)));
    CHECK(!hash_same(base, hash_module(1, "", "kernel", 6)));
    CHECK(!hash_same(base, hash_module(1, "-w", "kernel", 5)));
    CHECK(!hash_same(base, hash_module(1, "-wk", "ernel", 5)));
}

int main(void)
{
    reference_vectors();
    every_part_counts();
    return check_done();
}
