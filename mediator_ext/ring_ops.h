/*
 * ring_ops.h - The guest-visible interface, version 2: the ops of a command
 *
 * Part of ring_abi.h, which includes it and says how commands come and are answered. Only the VM's
 * own worker reads them.
 */
#ifndef VGPU_RING_OPS_H
#define VGPU_RING_OPS_H

#include <stdint.h>

/*
 * Numbers are never reused. Reserved are 0x04..0x0f for contexts and streams, 0x16..0x1f for
 * sub-buffers, rectangles, images, samplers and shared virtual memory, 0x23..0x2f for separate
 * compilation and linking, 0x31..0x3f for graphs, 0x41..0x4f for events, 0x50..0x5f for
 * registering guest RAM and peers.
 */
enum vgpu_op {
    VGPU_OP_NOP = 0x01,
    VGPU_OP_DEVICE_INFO = 0x02,
    VGPU_OP_QUERY = 0x03,
    VGPU_OP_ALLOC = 0x10,
    VGPU_OP_FREE = 0x11,
    VGPU_OP_WRITE = 0x12,
    VGPU_OP_READ = 0x13,
    VGPU_OP_COPY = 0x14,
    VGPU_OP_FILL = 0x15,
    VGPU_OP_MODULE_LOAD = 0x20,
    VGPU_OP_MODULE_UNLOAD = 0x21,
    VGPU_OP_KERNEL_CREATE = 0x22,
    VGPU_OP_LAUNCH = 0x30,
    VGPU_OP_SYNC = 0x40,
};

struct vgpu_op_header {
    uint16_t op;    /* enum vgpu_op */
    uint16_t flags; /* 0 */
    uint32_t size;  /* bytes with this header, a multiple of 8 */
};

/* Where bulk data lies. Segment 0 is the pair's own slice of the data area. */
struct vgpu_data_ref {
    uint32_t seg;
    uint32_t flags; /* 0 */
    uint64_t off;
    uint64_t len;
};

enum vgpu_address_mode {
    VGPU_ADDRESS_OBJECT = 0, /* obj + off */
    VGPU_ADDRESS_RAW = 1,    /* off is an address that ALLOC returned; reserved: UNSUPPORTED */
};

struct vgpu_address {
    uint32_t obj;
    uint32_t mode; /* enum vgpu_address_mode */
    uint64_t off;
};

/* DEVICE_INFO: writes struct vgpu_device_info, cut to the reference's length; out_len = bytes. */
struct vgpu_op_device_info {
    struct vgpu_op_header head;
    struct vgpu_data_ref out;
};

enum vgpu_fact {
    VGPU_FACT_KERNEL_ARGS = 1, /* of kernel obj: a struct vgpu_arg_info for each argument */
    VGPU_FACT_BUILD_LOG = 2,   /* of module obj: text without NUL */
    VGPU_FACT_BINARY = 3,      /* of module obj: what the device's compiler made of it */
};

/*
 * QUERY: result[0] = bytes of the whole answer. It is written to `out` as a whole, out_len = bytes, or
 * not at all: with len 0 it is only asked for, with a len that is too small the op is INVALID.
 */
struct vgpu_op_query {
    struct vgpu_op_header head;
    uint32_t what; /* enum vgpu_fact */
    uint32_t obj;
    struct vgpu_data_ref out;
};

#define VGPU_ARG_NOT_KNOWN 0xffffffffu /* the kind of an argument that the device does not tell */

/* Texts end with NUL, and are cut; they are empty where the device does not tell them. */
struct vgpu_arg_info {
    uint32_t kind; /* enum vgpu_arg_kind, or VGPU_ARG_NOT_KNOWN */
    uint32_t size; /* of a value; 0 = not known, or no value */
    char name[60];
    char type[60];
};

/* ALLOC: a buffer of zeroes; result[0] = its raw device address where the device has one, else 0.
 * */
struct vgpu_op_alloc {
    struct vgpu_op_header head;
    uint32_t id;
    uint32_t flags; /* 0 */
    uint64_t bytes;
};

struct vgpu_op_free {
    struct vgpu_op_header head;
    uint32_t id;
    uint32_t reserved;
};

/* WRITE: src (data area) to dst (device), src.len bytes. */
struct vgpu_op_write {
    struct vgpu_op_header head;
    struct vgpu_address dst;
    struct vgpu_data_ref src;
};

/* READ: src (device) to dst (data area), dst.len bytes; out_len = bytes. */
struct vgpu_op_read {
    struct vgpu_op_header head;
    struct vgpu_address src;
    struct vgpu_data_ref dst;
};

/* COPY: len bytes from src to dst, both on the device; in one buffer the two must not overlap. */
struct vgpu_op_copy {
    struct vgpu_op_header head;
    struct vgpu_address dst;
    struct vgpu_address src;
    uint64_t len;
};

#define VGPU_PATTERN_BYTES_MAX 16u

/* FILL: len bytes at dst with a pattern, again and again; dst.off and len are multiples of it. */
struct vgpu_op_fill {
    struct vgpu_op_header head;
    struct vgpu_address dst;
    uint64_t len;
    uint32_t pattern_bytes; /* 1, 2, 4, 8 or 16 */
    uint32_t reserved;
    uint8_t pattern[VGPU_PATTERN_BYTES_MAX]; /* zeroes past pattern_bytes */
};

enum vgpu_module_kind {
    VGPU_MODULE_OPENCL_C = 1,
    VGPU_MODULE_SPIRV = 2,
    VGPU_MODULE_PTX = 3,
    VGPU_MODULE_CUBIN = 4,
};

/*
 * MODULE_LOAD: compile (or take) code. The build log, also of a build that went well, is written to
 * `log`, cut to its length, without a final NUL; out_len = bytes. len 0 = no log wanted.
 */
struct vgpu_op_module_load {
    struct vgpu_op_header head;
    uint32_t id;
    uint32_t kind; /* enum vgpu_module_kind */
    struct vgpu_data_ref code;
    struct vgpu_data_ref options; /* text without NUL; len 0 = none */
    struct vgpu_data_ref log;
};

struct vgpu_op_module_unload {
    struct vgpu_op_header head;
    uint32_t id;
    uint32_t reserved;
};

/* KERNEL_CREATE: the name follows the structure, padded with zeroes to 8; result[0] = arguments. */
struct vgpu_op_kernel_create {
    struct vgpu_op_header head;
    uint32_t id;
    uint32_t module;
    uint32_t name_len; /* bytes, 1..VGPU_NAME_MAX */
    uint32_t reserved;
};

enum vgpu_arg_kind {
    VGPU_ARG_VALUE = 0,  /* size bytes follow, padded to 8 */
    VGPU_ARG_BUFFER = 1, /* size 16: a struct vgpu_address follows, off 0 */
    VGPU_ARG_LOCAL = 2,  /* size bytes of local memory; nothing follows */
};

struct vgpu_arg {
    uint32_t kind; /* enum vgpu_arg_kind */
    uint32_t size;
};

/* LAUNCH: arg_count arguments follow, each a struct vgpu_arg and its bytes. */
struct vgpu_op_launch {
    struct vgpu_op_header head;
    uint32_t kernel;
    uint32_t dims; /* 1..3 */
    uint64_t offset[3];
    uint64_t global[3];
    uint64_t local[3]; /* all 0 = the device chooses */
    uint32_t shared_bytes;
    uint32_t arg_count;
};

/* SYNC and NOP have no body. SYNC returns when the ops before it are finished on the device. */

enum vgpu_device_type {
    VGPU_DEVICE_TYPE_NONE = 0, /* the null device: runs nothing */
    VGPU_DEVICE_TYPE_CPU = 1,
    VGPU_DEVICE_TYPE_GPU = 2,
    VGPU_DEVICE_TYPE_ACCELERATOR = 3,
};

/* Also the result data of GET_DEVICE_INFO in the version 1 framing. Texts end with NUL. */
struct vgpu_device_info {
    uint32_t size; /* of this structure: later fields are added at its end */
    uint32_t type; /* enum vgpu_device_type */
    char name[96];
    char vendor[48];
    char driver[48];
    char backend[16]; /* "opencl", "cuda", "null" */
    uint64_t global_mem_bytes;
    uint64_t max_alloc_bytes;
    uint64_t local_mem_bytes;
    uint64_t vm_memory_bytes; /* this VM's quota */
    uint64_t max_work_group;
    uint32_t compute_units;
    uint32_t clock_mhz;
    uint32_t module_kinds; /* bit (1 << enum vgpu_module_kind) */
    uint32_t reserved;
};

_Static_assert(sizeof(struct vgpu_data_ref) == 24, "data reference");
_Static_assert(sizeof(struct vgpu_address) == 16, "address");
_Static_assert(sizeof(struct vgpu_op_query) == 40, "query op");
_Static_assert(sizeof(struct vgpu_arg_info) == 128, "argument information");
_Static_assert(sizeof(struct vgpu_op_alloc) == 24, "alloc op");
_Static_assert(sizeof(struct vgpu_op_write) == 48, "write op");
_Static_assert(sizeof(struct vgpu_op_read) == 48, "read op");
_Static_assert(sizeof(struct vgpu_op_copy) == 48, "copy op");
_Static_assert(sizeof(struct vgpu_op_fill) == 56, "fill op");
_Static_assert(sizeof(struct vgpu_op_module_load) == 88, "module load op");
_Static_assert(sizeof(struct vgpu_op_kernel_create) == 24, "kernel create op");
_Static_assert(sizeof(struct vgpu_op_launch) == 96, "launch op");
_Static_assert(sizeof(struct vgpu_device_info) == 272, "device information");

#endif
