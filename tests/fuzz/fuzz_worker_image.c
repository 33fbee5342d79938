/*
 * fuzz_worker_image.c - Any bytes as a cubin
 *
 * What is taken for a whole one is looked at once more, by other means: nothing that a reader of its
 * headers is led to lies outside. The copy has the input's size, so that a sanitizer sees what is read.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "worker/cuda_image.h"

/* Every byte of a part, added up in a wider type than the check uses. */
static void check_part(size_t size, uint64_t off, uint64_t bytes)
{
    FUZZ_CHECK((unsigned __int128)off + bytes <= size);
}

static void check_whole(const uint8_t *bytes, size_t size)
{
    Elf64_Ehdr head;

    memcpy(&head, bytes, sizeof(head));
    check_part(size, head.e_shoff, (uint64_t)head.e_shnum * sizeof(Elf64_Shdr));
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr section;

        memcpy(&section, bytes + head.e_shoff + i * sizeof(section), sizeof(section));
        if (section.sh_type != SHT_NULL && section.sh_type != SHT_NOBITS)
            check_part(size, section.sh_offset, section.sh_size);
    }
    for (uint32_t i = 0; i < head.e_phnum; i++) {
        Elf64_Phdr segment;

        check_part(size, head.e_phoff, (uint64_t)head.e_phnum * sizeof(segment));
        memcpy(&segment, bytes + head.e_phoff + i * sizeof(segment), sizeof(segment));
        check_part(size, segment.p_offset, segment.p_filesz);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    FUZZ_CHECK(copy);
    if (size)
        memcpy(copy, data, size);
    if (cuda_image_is_cubin(copy, size))
        check_whole(copy, size);
    free(copy);
    return 0;
}
