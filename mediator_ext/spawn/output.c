/*
 * output.c - What a worker says on its standard error
 *
 * All of it is foreign: bytes that are not printable are shown as '?', so that no line of the log can
 * be forged or a terminal moved, and the number of bytes is limited, so that no disk can be filled.
 */
#include "spawn/output.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "spawn/log.h"

int output_open(struct output *output, int *write_end)
{
    int ends[2];

    *output = (struct output){.fd = -1, .left = OUTPUT_BYTES_MAX};
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    output->fd = ends[0];
    *write_end = ends[1];
    return 0;
}

static void end_line(struct output *output, uint32_t worker_id, const char *label)
{
    output->line[output->used] = '\0';
    if (output->used) {
        log_info("worker %u (%s) says: %s", worker_id, label, output->line);
    }
    output->used = 0;
}

static void take(struct output *output, uint32_t worker_id, const char *label, const char *text,
                 uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        bool printable = text[i] >= ' ' && text[i] <= '~';

        if (text[i] == '\n' || output->used == OUTPUT_LINE_BYTES) {
            end_line(output, worker_id, label);
        }
        if (text[i] != '\n') {
            output->line[output->used++] = printable ? text[i] : '?';
        }
    }
}

bool output_read(struct output *output, uint32_t worker_id, const char *label)
{
    char text[OUTPUT_BYTES_MAX];
    ssize_t got;

    while (output->fd >= 0 && output->left) {
        got = read(output->fd, text, output->left);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && errno == EAGAIN) {
            return true;
        }
        if (got <= 0) {
            return false;
        }
        take(output, worker_id, label, text, (uint32_t)got);
        output->left -= (uint32_t)got;
        if (!output->left) {
            end_line(output, worker_id, label);
            log_warn("worker %u (%s) says too much: no more of it is logged", worker_id, label);
        }
    }
    return false;
}

void output_close(struct output *output, uint32_t worker_id, const char *label)
{
    if (output->fd < 0) {
        return;
    }
    output_read(output, worker_id, label);
    end_line(output, worker_id, label);
    close(output->fd);
    output->fd = -1;
}
