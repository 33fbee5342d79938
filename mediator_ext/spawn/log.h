/*
 * log.h - One line per event on standard error
 *
 * Standard error is the journal, a terminal, the file of --log-file, or /dev/null once daemonized
 * without one. A line is written by one write(2), so lines of several processes do not mix.
 */
#ifndef VGPUD_SPAWN_LOG_H
#define VGPUD_SPAWN_LOG_H

#define LOG_FORMAT __attribute__((format(printf, 1, 2)))

/** log_info() - Note something expected: a worker started, a client came */
LOG_FORMAT void log_info(const char *format, ...);

/** log_warn() - Note something that was refused or dropped, and went on */
LOG_FORMAT void log_warn(const char *format, ...);

/** log_error() - Note why something was not done that should have been */
LOG_FORMAT void log_error(const char *format, ...);

#endif
