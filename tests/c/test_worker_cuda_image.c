/*
 * test_worker_cuda_image.c - Only a whole cubin is one
 */
#include <elf.h>
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "worker/cuda_image.h"

#define CUDA_DEVICES 190
#define BYTES        4096u

/* A file with two sections and a segment; each test spoils another field of it. */
struct image {
    Elf64_Ehdr head;
    Elf64_Phdr segment;
    Elf64_Shdr section[2];
    uint8_t code[BYTES - sizeof(Elf64_Ehdr) - sizeof(Elf64_Phdr) - 2 * sizeof(Elf64_Shdr)];
};

static struct image good(void)
{
    struct image image = {
        .head =
            {
                .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                .e_type = ET_EXEC,
                .e_machine = CUDA_DEVICES,
                .e_ehsize = sizeof(Elf64_Ehdr),
                .e_phoff = offsetof(struct image, segment),
                .e_phentsize = sizeof(Elf64_Phdr),
                .e_phnum = 1,
                .e_shoff = offsetof(struct image, section),
                .e_shentsize = sizeof(Elf64_Shdr),
                .e_shnum = 2,
            },
        .segment = {.p_type = PT_LOAD, .p_offset = BYTES - 64, .p_filesz = 64},
        .section = {{.sh_type = SHT_NULL, .sh_offset = UINT64_MAX, .sh_size = UINT64_MAX},
                    {.sh_type = SHT_PROGBITS, .sh_offset = BYTES - 64, .sh_size = 64}},
    };

    return image;
}

static bool is_one(const struct image *image)
{
    return cuda_image_is_cubin((const uint8_t *)image, sizeof(*image));
}

/* Spoils a good one, and asks. */
#define WITH(field, value) (image = good(), image.field = (value), is_one(&image))

int main(void)
{
    struct image image = good();

    CASE("a file whose parts all lie within it is a cubin");
    CHECK(is_one(&image));
    CHECK(WITH(head.e_phnum, 0));
    image = good();
    image.head.e_shnum = 0;
    image.head.e_shoff = 0;
    CHECK(is_one(&image));

    CASE("a section that takes no room in the file may be of any size");
    image = good();
    image.section[1].sh_type = SHT_NOBITS;
    image.section[1].sh_size = UINT64_MAX;
    CHECK(is_one(&image));

    CASE("what is not an ELF file, or not for these devices, is none");
    CHECK(!WITH(head.e_ident[0], 0));
    CHECK(!WITH(head.e_ident[EI_CLASS], ELFCLASS32));
    CHECK(!WITH(head.e_ident[EI_DATA], ELFDATA2MSB));
    CHECK(!WITH(head.e_machine, EM_X86_64));
    CHECK(!WITH(head.e_ehsize, sizeof(Elf64_Ehdr) + 8));

    CASE("a file that ends before its head, a table or a part of it does is none");
    image = good();
    CHECK(!cuda_image_is_cubin((const uint8_t *)&image, sizeof(Elf64_Ehdr) - 1));
    CHECK(!cuda_image_is_cubin((const uint8_t *)&image, offsetof(struct image, code) - 1));
    CHECK(!cuda_image_is_cubin((const uint8_t *)&image, sizeof(image) - 1));
    CHECK(!WITH(head.e_shoff, BYTES - 64));
    CHECK(!WITH(head.e_phoff, BYTES - 32));
    CHECK(!WITH(section[1].sh_size, 65));
    CHECK(!WITH(segment.p_filesz, 65));

    CASE("no number is so large that it passes");
    CHECK(!WITH(head.e_shoff, UINT64_MAX));
    CHECK(!WITH(head.e_phoff, UINT64_MAX - 8));
    CHECK(!WITH(head.e_shnum, UINT16_MAX));
    CHECK(!WITH(section[1].sh_offset, UINT64_MAX - 63));
    CHECK(!WITH(section[1].sh_size, UINT64_MAX));
    CHECK(!WITH(segment.p_offset, UINT64_MAX - 63));
    CHECK(!WITH(segment.p_filesz, UINT64_MAX));

    CASE("tables whose entries have another size are not understood, so they are none");
    CHECK(!WITH(head.e_shentsize, 32));
    CHECK(!WITH(head.e_phentsize, 32));

    CASE("more sections than the head can count are not understood, either");
    CHECK(!WITH(head.e_shnum, 0));
    return check_done();
}
