/*
 * bandwidth_main.c - Bulk data between a ring's data area and a buffer of the device
 *
 *     bandwidth_main ROUNDS MS DEPTH PATH BYTES...
 *
 * For each BYTES, in rounds of MS milliseconds that take turns: WRITEs and READs of one buffer, one at a
 * time, DEPTH outstanding, and CHAIN in one command, which is all copying; and the rival, a memcpy() of as many bytes by this process from memory
 * that is shared to memory that is its own, as a worker's buffer is. All of them use the same bytes
 * again and again: what a cache holds for one, it holds for the others.
 *
 * Prints a JSON object: for each BYTES "write_<bytes>_1", "write_<bytes>_<depth>", "write_<bytes>_chain",
 * the same of "read", and "memcpy_<bytes>". Rates are of transfers, samples of commands.
 */
#include <sys/mman.h>

#include "placement.h"
#include "ring_load.h"

#define SIZES_MAX 8
#define DEPTH_MAX 64u
#define BUFFER    1u
#define CHAIN     16u

enum series { WRITE_1, WRITE_MANY, WRITE_CHAIN, READ_1, READ_MANY, READ_CHAIN, COPY, SERIES };

struct size {
    uint64_t bytes;
    uint8_t *from, *to; /* of the rival */
    uint64_t data_at;   /* in the slice */
    struct vgpu_command write, writes, read, reads;
    struct samples samples[SERIES];
};

static void *mapped(uint64_t bytes, int flags)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    must(memory != MAP_FAILED, "memory");
    memset(memory, 1, bytes);
    return memory;
}

static void *from_slice(struct ring_load *load, uint64_t bytes, uint64_t *at)
{
    void *memory = vgpu_session_memory(load->session, bytes, at);

    if (!memory)
        fail("the data slice", "too small for what is to be sent");
    return memory;
}

/* @count times the same WRITE, or READ. */
static void make(struct vgpu_command *command, struct size *size, struct ring_load *load,
                 bool write, uint32_t count)
{
    struct vgpu_data_ref data = vgpu_ref(size->data_at, size->bytes);
    uint32_t room = count * sizeof(struct vgpu_op_write);
    uint64_t at;

    vgpu_command_begin(command, from_slice(load, room, &at), room);
    for (uint32_t i = 0; i < count; i++) {
        if (write)
            vgpu_command_write(command, vgpu_object(BUFFER, 0), data);
        else
            vgpu_command_read(command, vgpu_object(BUFFER, 0), data);
    }
}

static void prepare(struct size *size, struct ring_load *load)
{
    size->from = mapped(size->bytes, MAP_SHARED);
    size->to = mapped(size->bytes, MAP_PRIVATE);
    memset(from_slice(load, size->bytes, &size->data_at), 2, size->bytes);
    make(&size->write, size, load, true, 1);
    make(&size->writes, size, load, true, CHAIN);
    make(&size->read, size, load, false, 1);
    make(&size->reads, size, load, false, CHAIN);
    for (int i = 0; i < SERIES; i++)
        samples_new(&size->samples[i]);
}

/* Where the worker is, as the worker would do it. */
static void round_of_copies(struct size *size, const cpu_set_t *host, uint64_t ms)
{
    uint64_t start, now, before;

    go_to_host_cpu(host);
    start = now = now_ns();
    do {
        before = now;
        memcpy(size->to, size->from, size->bytes);
        __asm__ volatile("" : : "r"(size->to) : "memory"); /* it is not left out */
        now = now_ns();
        samples_add(&size->samples[COPY], now - before);
    } while (now - start < ms * 1000000u);
    samples_round(&size->samples[COPY], now - start, 1);
    go_to_guest_cpu();
}

static void run_round(struct size *size, struct ring_load *load, const cpu_set_t *host,
                      uint32_t depth, uint64_t ms)
{
    round_of_copies(size, host, ms);
    ring_load_use(load, &size->write);
    ring_load_round(load, &size->samples[WRITE_1], 1, ms, 1);
    ring_load_round(load, &size->samples[WRITE_MANY], depth, ms, 1);
    ring_load_use(load, &size->writes);
    ring_load_round(load, &size->samples[WRITE_CHAIN], 2, ms, CHAIN);
    ring_load_use(load, &size->read);
    ring_load_round(load, &size->samples[READ_1], 1, ms, 1);
    ring_load_round(load, &size->samples[READ_MANY], depth, ms, 1);
    ring_load_use(load, &size->reads);
    ring_load_round(load, &size->samples[READ_CHAIN], 2, ms, CHAIN);
}

static void print(struct size *size, uint32_t depth, bool last)
{
    char many[16], name[64];
    const char *const names[][2] = {
        [WRITE_1] = {"write", "1"},         [WRITE_MANY] = {"write", many},
        [WRITE_CHAIN] = {"write", "chain"}, [READ_1] = {"read", "1"},
        [READ_MANY] = {"read", many},       [READ_CHAIN] = {"read", "chain"},
    };

    snprintf(many, sizeof(many), "%u", depth);
    for (int i = 0; i < COPY; i++) {
        snprintf(name, sizeof(name), "%s_%llu_%s", names[i][0], (unsigned long long)size->bytes,
                 names[i][1]);
        samples_print(&size->samples[i], name, false);
    }
    snprintf(name, sizeof(name), "memcpy_%llu", (unsigned long long)size->bytes);
    samples_print(&size->samples[COPY], name, last);
}

int main(int argc, char **argv)
{
    static struct size sizes[SIZES_MAX];
    struct ring_load load;
    uint64_t rounds, ms, most = 0;
    uint32_t depth, count = 0;
    cpu_set_t host;

    if (argc < 6 || argc - 5 > SIZES_MAX)
        fail("usage", "bandwidth_main ROUNDS MS DEPTH PATH BYTES...");
    rounds = number(argv[1], ROUNDS_MAX);
    ms = number(argv[2], 60000);
    depth = (uint32_t)number(argv[3], DEPTH_MAX);
    must(sched_getaffinity(0, sizeof(host), &host) == 0, "sched_getaffinity");
    go_to_guest_cpu();
    ring_load_attach(&load, argv[4]);
    for (int i = 5; i < argc; i++) {
        sizes[count].bytes = number(argv[i], 1u << 30);
        if (sizes[count].bytes > most)
            most = sizes[count].bytes;
        prepare(&sizes[count++], &load);
    }
    must_result(vgpu_alloc(load.session, BUFFER, most, NULL), "a buffer");
    for (uint64_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < count; i++)
            run_round(&sizes[i], &load, &host, depth, ms);
    putchar('{');
    for (uint32_t i = 0; i < count; i++)
        print(&sizes[i], depth, i + 1 == count);
    puts("}");
    ring_load_detach(&load);
    return EXIT_SUCCESS;
}
