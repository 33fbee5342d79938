/*
 * options.h - The command line
 */
#ifndef VGPUD_SPAWN_OPTIONS_H
#define VGPUD_SPAWN_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit status; the numbers are those of all vgpud's programs. */
enum options_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_CONFLICT = 6, /* a spawner already serves on that socket */
};

struct options {
    char socket[PATH_MAX]; /* paths are absolute, or "" */
    char worker[PATH_MAX];
    char scratch[PATH_MAX];
    char uid_lock[PATH_MAX];
    char log_file[PATH_MAX];
    uid_t allowed_uid;
    uint32_t uid_base; /* 0 = the first range that is free */
    uint32_t max_workers;
    uint32_t max_held;
    uint32_t client_timeout_ms;
    int ready_fd;   /* -1 = none */
    int manager_fd; /* listening socket from the service manager; -1 = none */
    bool daemonize;
    bool delegated;     /* the process's control group is its own to divide */
    bool clear_groups;  /* do that, and nothing else */
    bool workers_given; /* --max-workers, */
    bool held_given;    /* --max-held: meant as it is; a default may be cut */
};

/**
 * options_parse() - Read the command line, and what the service manager passed
 * @options: filled
 *
 * Errors, --help and --version are written here.
 *
 * Return: -1 to go on, or the status to exit with
 */
int options_parse(struct options *options, int argc, char **argv);

#endif
