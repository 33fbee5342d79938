/*
 * cuda_image.h - Is this a whole cubin?
 */
#ifndef VGPUD_WORKER_CUDA_IMAGE_H
#define VGPUD_WORKER_CUDA_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

/**
 * cuda_image_is_cubin() - May the driver be given this as a cubin?
 * @bytes: what claims to be one
 * @size:  its length
 *
 * The driver is told an address and no length: it believes what the headers say. So all that they
 * speak of must lie within.
 *
 * Return: whether it is an ELF file for NVIDIA's devices whose tables and sections are all there.
 */
bool cuda_image_is_cubin(const uint8_t *bytes, uint64_t size);

#endif
