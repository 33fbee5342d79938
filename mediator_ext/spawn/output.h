/*
 * output.h - What a worker says on its standard error
 *
 * Guest code runs in a worker and has its descriptors. So a worker is not given the spawner's log
 * but a pipe, of which the spawner logs so much, line by line, with the worker's number before it.
 */
#ifndef VGPUD_SPAWN_OUTPUT_H
#define VGPUD_SPAWN_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#define OUTPUT_LINE_BYTES 200u
#define OUTPUT_BYTES_MAX  4096u /* that are logged of one worker */

struct output {
    int fd; /* where it is read; -1 = nowhere any more */
    uint32_t left;
    uint32_t used; /* of the line that has not ended yet */
    char line[OUTPUT_LINE_BYTES + 1];
};

/**
 * output_open() - Make the pipe
 * @output: filled
 * @write_end: set to the worker's end, the caller's to close. A worker that is not read from any
 *             more does not wait: what it writes then is lost.
 *
 * Return: 0, or -errno
 */
int output_open(struct output *output, int *write_end);

/**
 * output_read() - Log what has come
 * @worker_id: whose
 * @label: its label, for the log
 *
 * Return: false if nothing more is to be read: it has said as much as it may, or has closed its end
 */
bool output_read(struct output *output, uint32_t worker_id, const char *label);

/** output_close() - Log what is left of it, and close it; nothing if it is closed */
void output_close(struct output *output, uint32_t worker_id, const char *label);

#endif
