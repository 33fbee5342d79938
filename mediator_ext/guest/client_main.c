/*
 * client_main.c - vgpu-client: try a VM's GPU from the command line
 *
 * Options may stand before or behind the command and are all long ones, so that "-5" is an operand
 * of vector-add and not an option. Which of them a command takes stands in its row of the table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum takes {
    TAKES_COUNT = 1u,
    TAKES_DEPTH = 2u,
    TAKES_WORKER = 4u,
    TAKES_ELEMENTS = 8u,
    TAKES_REPEAT = 16u,
    TAKES_SOURCE = 32u,
};

static const char usage_text[] =
    "Usage: vgpu-client (--ring PATH | --stub PATH) [--json] [--timeout-ms N] COMMAND\n"
    "\n"
    "Sends GPU work as a VM does. vgpud makes the sockets of a registered VM:\n"
    "  --stub PATH   <run_dir>/vms/<uuid>/stub.sock, version 1 of the interface\n"
    "  --ring PATH   <run_dir>/vms/<uuid>/ring.sock, shared memory\n"
    "\n"
    "Commands over --stub:\n"
    "  ping                        ask whether vgpud is there\n"
    "  nop [--count N]             requests that do nothing\n"
    "  vector-add A B              let the device add two integers\n"
    "  device-info                 describe the device\n"
    "  cuda-call                   a forwarded CUDA call; today's answer is \"not supported\"\n"
    "\n"
    "Commands over --ring:\n"
    "  info                        what the host offers, and its device\n"
    "  nop [--count N] [--depth D] [--worker]\n"
    "                              requests that do nothing, D at a time; --worker: through\n"
    "                              this VM's worker, not answered by vgpud itself\n"
    "  saxpy [--elements N] [--repeat R] [--source FILE]\n"
    "                              build a program, run it, check every element\n"
    "  build FILE                  compile a program (OpenCL C, or PTX) and show its log\n"
    "\n"
    "Options:\n"
    "  --json                      one JSON object instead of words\n"
    "  --timeout-ms N              longest wait for one answer (30000)\n"
    "\n"
    "Exit codes: 0 done; 1 refused or wrong; 2 usage; 3 cannot attach; 7 timeout.\n";

static const struct command {
    const char *name;
    bool on_ring; /* else on the stub socket */
    int operands;
    unsigned takes; /* enum takes */
    int (*run)(const struct client_options *options, struct report *report);
} commands[] = {
    {"ping", false, 0, 0, stub_ping},
    {"nop", false, 0, TAKES_COUNT, stub_nop},
    {"vector-add", false, 2, 0, stub_vector_add},
    {"device-info", false, 0, 0, stub_device_info},
    {"cuda-call", false, 0, 0, stub_cuda_call},
    {"info", true, 0, 0, ring_info},
    {"nop", true, 0, TAKES_COUNT | TAKES_DEPTH | TAKES_WORKER, ring_nop},
    {"saxpy", true, 0, TAKES_ELEMENTS | TAKES_REPEAT | TAKES_SOURCE, ring_saxpy},
    {"build", true, 1, 0, ring_build},
};

static int number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || *value < min || *value > max)
        return -EINVAL;
    return 0;
}

/*
 * One option with its value. @value is NULL when none is left.
 * Return: how many of --name and value belonged to it (1 or 2); negative: wrong, said.
 */
static int take_option(struct client_options *options, const char *name, const char *value,
                       bool joined, unsigned *given)
{
    const struct {
        const char *name;
        uint64_t *number;
        const char **text;
        uint64_t min, max;
        unsigned takes;
    } valued[] = {
        {"--ring", NULL, &options->ring, 0, 0, 0},
        {"--stub", NULL, &options->stub, 0, 0, 0},
        {"--source", NULL, &options->source, 0, 0, TAKES_SOURCE},
        {"--count", &options->count, NULL, 1, 10000000, TAKES_COUNT},
        {"--depth", &options->depth, NULL, 1, 4096, TAKES_DEPTH},
        {"--elements", &options->elements, NULL, 1, UINT64_C(1) << 28, TAKES_ELEMENTS},
        {"--repeat", &options->repeat, NULL, 1, 1000, TAKES_REPEAT},
        {"--timeout-ms", NULL, NULL, 1, 86400000, 0},
    };
    uint64_t timeout_ms;

    if (!strcmp(name, "--json") && !joined) {
        options->json = true;
        return 1;
    }
    if (!strcmp(name, "--worker") && !joined) {
        options->worker = true;
        *given |= TAKES_WORKER;
        return 1;
    }
    for (size_t i = 0; i < LENGTH(valued); i++) {
        uint64_t *place = valued[i].number ? valued[i].number : &timeout_ms;

        if (strcmp(name, valued[i].name))
            continue;
        if (!value) {
            fprintf(stderr, "vgpu-client: %s needs a value\n", name);
            return -EINVAL;
        }
        *given |= valued[i].takes;
        if (valued[i].text) {
            *valued[i].text = value;
        } else if (number(value, valued[i].min, valued[i].max, place)) {
            fprintf(stderr, "vgpu-client: %s is a number from %llu to %llu, not \"%s\"\n", name,
                    (unsigned long long)valued[i].min, (unsigned long long)valued[i].max, value);
            return -EINVAL;
        } else if (!valued[i].number) {
            options->timeout_ms = (uint32_t)timeout_ms;
        }
        return joined ? 1 : 2;
    }
    fprintf(stderr, "vgpu-client: there is no option %s (see --help)\n", name);
    return -EINVAL;
}

static int parse(int argc, char **argv, struct client_options *options, unsigned *given)
{
    char name[32];

    for (int i = 1; i < argc;) {
        const char *arg = argv[i], *equals = strchr(arg, '=');
        int used;

        if (!strcmp(arg, "--")) {
            i++;
            continue;
        }
        if (strncmp(arg, "--", 2)) {
            if (!options->command) {
                options->command = arg;
            } else if (options->operand_count < CLIENT_OPERANDS_MAX) {
                options->operands[options->operand_count++] = arg;
            } else {
                fprintf(stderr, "vgpu-client: too many arguments at \"%s\"\n", arg);
                return -EINVAL;
            }
            i++;
            continue;
        }
        if (equals) {
            snprintf(name, sizeof(name), "%.*s", (int)(equals - arg), arg);
            used = take_option(options, name, equals + 1, true, given);
        } else {
            used = take_option(options, arg, i + 1 < argc ? argv[i + 1] : NULL, false, given);
        }
        if (used < 0)
            return used;
        i += used;
    }
    return 0;
}

static const struct command *find_command(const struct client_options *options)
{
    bool known = false;

    for (size_t i = 0; i < LENGTH(commands); i++) {
        if (strcmp(options->command, commands[i].name))
            continue;
        if (commands[i].on_ring ? options->ring != NULL : options->stub != NULL)
            return &commands[i];
        known = true;
    }
    if (known)
        fprintf(stderr, "vgpu-client: \"%s\" goes over the other socket: give --%s PATH\n",
                options->command, options->ring ? "stub" : "ring");
    else
        fprintf(stderr, "vgpu-client: there is no command \"%s\" (see --help)\n", options->command);
    return NULL;
}

int main(int argc, char **argv)
{
    struct client_options options = {
        .timeout_ms = 30000, .count = 1, .depth = 1, .elements = 1048576, .repeat = 1};
    struct report report = {0};
    const struct command *command;
    unsigned given = 0;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(usage_text, stdout);
            return CLIENT_OK;
        }
    }
    if (parse(argc, argv, &options, &given))
        return CLIENT_USAGE;
    if (!options.command) {
        fputs(usage_text, stderr);
        return CLIENT_USAGE;
    }
    if (!options.ring == !options.stub) {
        fprintf(stderr, "vgpu-client: give either --ring PATH or --stub PATH\n");
        return CLIENT_USAGE;
    }
    command = find_command(&options);
    if (!command)
        return CLIENT_USAGE;
    if (options.operand_count != command->operands || given & ~command->takes) {
        fprintf(stderr, "vgpu-client: \"%s\" over --%s takes %d operands%s\n", command->name,
                command->on_ring ? "ring" : "stub", command->operands,
                given & ~command->takes ? ", and not all of these options (see --help)" : "");
        return CLIENT_USAGE;
    }
    report.json = options.json;
    return command->run(&options, &report);
}
