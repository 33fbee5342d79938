/*
 * opencl_type.h - How large a value of an OpenCL C type is, by its name
 */
#ifndef VGPUD_WORKER_OPENCL_TYPE_H
#define VGPUD_WORKER_OPENCL_TYPE_H

#include <stdint.h>

/**
 * opencl_type_bytes() - The size of a scalar or vector type
 * @name: as CL_KERNEL_ARG_TYPE_NAME tells it
 *
 * Return: bytes, the same on every device; 0 for anything else: structures, what a program has named
 * itself, and size_t, which is the device's.
 */
uint32_t opencl_type_bytes(const char *name);

#endif
