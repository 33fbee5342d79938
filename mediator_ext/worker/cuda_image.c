/*
 * cuda_image.c - Is this a whole cubin?
 *
 * The layout is that of ELF (System V ABI, chapter 4); EM_CUDA is registered there.
 */
#include "cuda_image.h"

#include <elf.h>
#include <string.h>

#ifndef EM_CUDA
#define EM_CUDA 190
#endif

static bool lies_within(uint64_t size, uint64_t off, uint64_t bytes)
{
    return off <= size && bytes <= size - off;
}

static bool sections_lie_within(const uint8_t *bytes, uint64_t size, const Elf64_Ehdr *head)
{
    Elf64_Shdr section;

    if (head->e_shnum == 0)
        return head->e_shoff == 0; /* else the number would stand in a section header */
    if (head->e_shentsize != sizeof(section) ||
        !lies_within(size, head->e_shoff, (uint64_t)head->e_shnum * sizeof(section)))
        return false;
    for (uint32_t i = 0; i < head->e_shnum; i++) {
        memcpy(&section, bytes + head->e_shoff + i * sizeof(section), sizeof(section));
        if (section.sh_type != SHT_NULL && section.sh_type != SHT_NOBITS &&
            !lies_within(size, section.sh_offset, section.sh_size))
            return false;
    }
    return true;
}

static bool segments_lie_within(const uint8_t *bytes, uint64_t size, const Elf64_Ehdr *head)
{
    Elf64_Phdr segment;

    if (head->e_phnum == 0)
        return true;
    if (head->e_phentsize != sizeof(segment) ||
        !lies_within(size, head->e_phoff, (uint64_t)head->e_phnum * sizeof(segment)))
        return false;
    for (uint32_t i = 0; i < head->e_phnum; i++) {
        memcpy(&segment, bytes + head->e_phoff + i * sizeof(segment), sizeof(segment));
        if (!lies_within(size, segment.p_offset, segment.p_filesz))
            return false;
    }
    return true;
}

bool cuda_image_is_cubin(const uint8_t *bytes, uint64_t size)
{
    Elf64_Ehdr head;

    if (size < sizeof(head))
        return false;
    memcpy(&head, bytes, sizeof(head));
    return memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_ident[EI_CLASS] == ELFCLASS64 &&
           head.e_ident[EI_DATA] == ELFDATA2LSB && head.e_machine == EM_CUDA &&
           head.e_ehsize == sizeof(head) && sections_lie_within(bytes, size, &head) &&
           segments_lie_within(bytes, size, &head);
}
