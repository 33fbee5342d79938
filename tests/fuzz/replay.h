/*
 * replay.h - A main() for a fuzz target where there is no libFuzzer
 *
 * Compiled with -DFUZZ_REPLAY (any compiler, any sanitizer), a target takes files to replay, or a
 * number of pseudo-random inputs to make up: the same ones each time.
 */
#ifndef VGPUD_TESTS_REPLAY_H
#define VGPUD_TESTS_REPLAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input. Unlike assert() it is there in every build. */
#define FUZZ_CHECK(cond)                                                                           \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: FUZZ_CHECK(%s) failed\n", __FILE__, __LINE__, #cond);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#ifdef FUZZ_REPLAY
static int replay_random(unsigned long count)
{
    static const uint8_t start[12] = {0x55, 0x50, 0x47, 0x56, 1};
    static uint8_t bytes[4096];
    uint64_t random = 1;

    for (unsigned long i = 0; i < count; i++) {
        size_t size;

        random = random * 6364136223846793005ull + 1442695040888963407ull;
        size = (random >> 33) % sizeof(bytes);
        for (size_t k = 0; k < size; k++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            /* Small numbers are more telling than large ones. */
            bytes[k] = (uint8_t)(random >> 60 < 9 ? (random >> 40) % 4 : random >> 40);
            /* Now and then something that a version 1 frame may start with. */
            if ((random >> 50) % 64 == 0 && k + sizeof(start) <= size) {
                memcpy(bytes + k, start, sizeof(start));
                bytes[k + 4] = (uint8_t)((random >> 44) % 20);
                k += sizeof(start) - 1;
            }
        }
        LLVMFuzzerTestOneInput(bytes, size);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[1 << 20];

    if (argc == 2 && strtoul(argv[1], NULL, 10))
        return replay_random(strtoul(argv[1], NULL, 10));
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");

        if (!file) {
            perror(argv[i]);
            return 1;
        }
        LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof(bytes), file));
        fclose(file);
    }
    return 0;
}
#endif

#endif
