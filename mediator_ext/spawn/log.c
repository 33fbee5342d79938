/*
 * log.c - One line per event on standard error
 *
 * There is no state: the destination is whatever descriptor 2 is. Lines longer than LINE_BYTES are
 * cut. Callers pass foreign text only after it was checked to be printable.
 */
#include "spawn/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_BYTES 1024

static void write_line(const char *level, const char *format, va_list arguments)
{
    char line[LINE_BYTES];
    size_t room = sizeof(line) - 1; /* the newline */
    size_t used = (size_t)snprintf(line, room, "vgpu-spawn: %s", level);
    int wanted = vsnprintf(line + used, room - used, format, arguments);

    if (wanted > 0) {
        size_t text = (size_t)wanted;
        used += text < room - used ? text : room - used - 1;
    }
    line[used++] = '\n';
    /* Where the log cannot be written there is nobody left to tell. */
    if (write(STDERR_FILENO, line, used) < 0) {
        return;
    }
}

void log_info(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_line("", format, arguments);
    va_end(arguments);
}

void log_warn(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_line("warning: ", format, arguments);
    va_end(arguments);
}

void log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_line("error: ", format, arguments);
    va_end(arguments);
}
