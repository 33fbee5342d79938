/*
 * vgpu_command.h - libvgpu: the ops of one submission, as bytes (command.c)
 *
 * Part of vgpu.h, which includes it.
 */
#ifndef VGPU_COMMAND_H
#define VGPU_COMMAND_H

#include <stdint.h>

#include "ring_abi.h"

/*
 * The ops of one submission, appended one by one. The first error sticks, appends nothing more, and
 * is reported by vgpu_command_end(): -ENOSPC too long, -E2BIG too many ops, -EINVAL a wrong value
 * or a module load beside other ops (they are of different lanes).
 */
struct vgpu_command {
    uint8_t *bytes; /* the caller's, 8-byte aligned */
    uint32_t capacity;
    uint32_t len;
    uint32_t ops;
    uint8_t lane; /* enum vgpu_lane; right once there is an op */
    int error;
};

struct vgpu_launch_arg {
    uint32_t kind;              /* enum vgpu_arg_kind */
    uint32_t size;              /* bytes of a value, or of local memory */
    const void *value;          /* VGPU_ARG_VALUE */
    struct vgpu_address buffer; /* VGPU_ARG_BUFFER */
};

struct vgpu_launch {
    uint32_t kernel;
    uint32_t dims; /* 1..3 */
    uint64_t offset[3];
    uint64_t global[3];
    uint64_t local[3]; /* all 0 = the device chooses */
    uint32_t shared_bytes;
    uint32_t arg_count;
    const struct vgpu_launch_arg *args;
};

struct vgpu_module_source {
    uint32_t id;
    uint32_t kind; /* enum vgpu_module_kind */
    struct vgpu_data_ref code;
    struct vgpu_data_ref options;
    struct vgpu_data_ref log;
};

/** vgpu_command_begin() - Start an empty command in @capacity bytes at @bytes. */
void vgpu_command_begin(struct vgpu_command *command, void *bytes, uint32_t capacity);

/** vgpu_command_end() - Return: 0 when the command can be submitted, else the first error. */
int vgpu_command_end(const struct vgpu_command *command);

void vgpu_command_nop(struct vgpu_command *command);
void vgpu_command_sync(struct vgpu_command *command);
void vgpu_command_device_info(struct vgpu_command *command, struct vgpu_data_ref out);
void vgpu_command_query(struct vgpu_command *command, uint32_t what, uint32_t id,
                        struct vgpu_data_ref out);
void vgpu_command_alloc(struct vgpu_command *command, uint32_t id, uint64_t bytes);
void vgpu_command_free(struct vgpu_command *command, uint32_t id);
void vgpu_command_write(struct vgpu_command *command, struct vgpu_address dst,
                        struct vgpu_data_ref src);
void vgpu_command_read(struct vgpu_command *command, struct vgpu_address src,
                       struct vgpu_data_ref dst);
void vgpu_command_copy(struct vgpu_command *command, struct vgpu_address dst,
                       struct vgpu_address src, uint64_t bytes);

/**
 * vgpu_command_fill() - Fill @bytes at @dst with a pattern, again and again
 * @bytes: a multiple of @pattern_bytes, as @dst's offset must be
 * @pattern: copied
 * @pattern_bytes: 1, 2, 4, 8 or 16
 */
void vgpu_command_fill(struct vgpu_command *command, struct vgpu_address dst, uint64_t bytes,
                       const void *pattern, uint32_t pattern_bytes);

void vgpu_command_module_load(struct vgpu_command *command,
                              const struct vgpu_module_source *module);
void vgpu_command_module_unload(struct vgpu_command *command, uint32_t id);
void vgpu_command_kernel_create(struct vgpu_command *command, uint32_t id, uint32_t module,
                                const char *name);
void vgpu_command_launch(struct vgpu_command *command, const struct vgpu_launch *launch);

/** vgpu_ref() - @bytes at @offset of the pair's own data slice. */
static inline struct vgpu_data_ref vgpu_ref(uint64_t offset, uint64_t bytes)
{
    return (struct vgpu_data_ref){.off = offset, .len = bytes};
}

/** vgpu_object() - @offset bytes into buffer @id. */
static inline struct vgpu_address vgpu_object(uint32_t id, uint64_t offset)
{
    return (struct vgpu_address){.obj = id, .mode = VGPU_ADDRESS_OBJECT, .off = offset};
}

/** vgpu_arg_value() - A kernel argument by value; @value must live until the command is built. */
static inline struct vgpu_launch_arg vgpu_arg_value(const void *value, uint32_t size)
{
    return (struct vgpu_launch_arg){.kind = VGPU_ARG_VALUE, .size = size, .value = value};
}

/** vgpu_arg_buffer() - A kernel argument that is buffer @id. */
static inline struct vgpu_launch_arg vgpu_arg_buffer(uint32_t id)
{
    return (struct vgpu_launch_arg){
        .kind = VGPU_ARG_BUFFER, .size = sizeof(struct vgpu_address), .buffer = vgpu_object(id, 0)};
}

/** vgpu_arg_local() - A kernel argument that is @size bytes of local memory. */
static inline struct vgpu_launch_arg vgpu_arg_local(uint32_t size)
{
    return (struct vgpu_launch_arg){.kind = VGPU_ARG_LOCAL, .size = size};
}

#endif
