/*
 * options.c - The command line
 *
 * Everything that decides what runs, as whom, and how much of it, is an option and nothing else: no
 * client and no environment variable can change it. Relative paths are completed here, since the
 * spawner works in "/" afterwards.
 */
#include "spawn/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spawn/log.h"
#include "spawn/spawn_protocol.h"
#include "spawn/uids.h"

#define DEFAULT_MAX_WORKERS 1024
#define DEFAULT_MAX_HELD    14336
#define LIMIT_WORKERS       16384
#define LIMIT_HELD          (1u << 20)
#define DEFAULT_TIMEOUT_MS  10000
#define MANAGER_FIRST_FD    3 /* sd_listen_fds(3) */

enum option_id {
    OPTION_SOCKET = 1,
    OPTION_WORKER,
    OPTION_ALLOW_UID,
    OPTION_UID_BASE,
    OPTION_UID_LOCK,
    OPTION_MAX_WORKERS,
    OPTION_MAX_HELD,
    OPTION_CLIENT_TIMEOUT,
    OPTION_SCRATCH,
    OPTION_LOG_FILE,
    OPTION_READY_FD,
    OPTION_DAEMONIZE,
    OPTION_DELEGATED,
    OPTION_CLEAR_GROUPS,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"worker", required_argument, NULL, OPTION_WORKER},
    {"allow-uid", required_argument, NULL, OPTION_ALLOW_UID},
    {"worker-uid-base", required_argument, NULL, OPTION_UID_BASE},
    {"uid-lock", required_argument, NULL, OPTION_UID_LOCK},
    {"max-workers", required_argument, NULL, OPTION_MAX_WORKERS},
    {"max-held", required_argument, NULL, OPTION_MAX_HELD},
    {"client-timeout-ms", required_argument, NULL, OPTION_CLIENT_TIMEOUT},
    {"scratch", required_argument, NULL, OPTION_SCRATCH},
    {"log-file", required_argument, NULL, OPTION_LOG_FILE},
    {"ready-fd", required_argument, NULL, OPTION_READY_FD},
    {"daemonize", no_argument, NULL, OPTION_DAEMONIZE},
    {"delegated", no_argument, NULL, OPTION_DELEGATED},
    {"clear-groups", no_argument, NULL, OPTION_CLEAR_GROUPS},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "Usage: vgpu-spawn --socket PATH --worker PATH [OPTION...]\n"
    "\n"
    "Starts, watches and ends the worker processes of vgpud, and keeps its descriptors while\n"
    "vgpud itself is restarted.\n"
    "\n"
    "  --socket PATH           where to listen, unless the service manager passes a socket\n"
    "  --worker PATH           the vgpu-worker program\n"
    "  --allow-uid UID|NAME    who may connect besides the spawner's own uid\n"
    "  --worker-uid-base N     worker uids are N + 4 x slot + role; a multiple of 4. Without it, "
    "as\n"
    "                          root, the first range that no other spawner uses\n"
    "  --uid-lock FILE         where spawners lock their uids (" UIDS_LOCK_FILE ")\n"
    "  --max-workers N         VMs, or slots, that may have a launch and a build worker each "
    "(1024)\n"
    "  --max-held N            descriptors kept for vgpud (14336)\n"
    "  --client-timeout-ms N   drop a client that leaves an answer unread this long (10000)\n"
    "  --scratch DIR           where workers get a private directory each (/tmp)\n"
    "  --log-file FILE         append to FILE once ready, instead of standard error\n"
    "  --ready-fd N            write \"ready\\n\" there when clients can connect, and close it\n"
    "  --daemonize             go to the background when ready; without --log-file, be silent "
    "there\n"
    "  --delegated             the cgroup that it is started in is its own, to be divided\n"
    "  --clear-groups          only end and remove what a spawner has left there, and exit\n"
    "  --help, --version\n"
    "\n"
    "SIGTERM ends the spawner and leaves the workers running; SIGINT ends them too. What vgpud "
    "had\n"
    "it hold is gone in both cases.\n"
    "\n"
    "Exit status: 0 ended as asked, 1 failed, 2 wrong usage, 6 a spawner already serves there.\n";

static int usage_error(const char *name, const char *value, const char *expected)
{
    log_error("--%s %s: expected %s; see --help", name, value, expected);
    return EXIT_USAGE;
}

/* Return: -1, or the status to exit with */
static int parse_number(const char *name, const char *text, uint32_t min, uint32_t max,
                        uint32_t *number)
{
    char expected[64];
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || value < min || value > max) {
        snprintf(expected, sizeof(expected), "a number from %u to %u", min, max);
        return usage_error(name, text, expected);
    }
    *number = (uint32_t)value;
    return -1;
}

static int parse_path(const char *name, const char *text, char *path)
{
    char here[PATH_MAX];
    int length;

    if (text[0] == '/') {
        length = snprintf(path, PATH_MAX, "%s", text);
    } else if (text[0] && getcwd(here, sizeof(here))) {
        length = snprintf(path, PATH_MAX, "%s/%s", here, text);
    } else {
        length = -1;
    }
    if (length < 0 || length >= PATH_MAX) {
        return usage_error(name, text, "a path");
    }
    return -1;
}

static int parse_user(const char *name, const char *text, uid_t *uid)
{
    const struct passwd *user;
    uint32_t number;

    if (text[0] >= '0' && text[0] <= '9') {
        int status = parse_number(name, text, 0, UINT32_MAX - 1, &number);

        *uid = number;
        return status;
    }
    user = getpwnam(text);
    if (!user) {
        return usage_error(name, text, "a uid or the name of a user of this machine");
    }
    *uid = user->pw_uid;
    return -1;
}

static int parse_ready_fd(const char *name, const char *text, int *fd)
{
    uint32_t number;
    int status = parse_number(name, text, STDERR_FILENO + 1, INT_MAX, &number);

    if (status < 0 && fcntl((int)number, F_GETFD) < 0) {
        return usage_error(name, text, "an open descriptor above 2");
    }
    *fd = (int)number;
    return status;
}

static int parse_option(struct options *options, int id, const char *name, const char *text)
{
    switch (id) {
    case OPTION_SOCKET:
        return parse_path(name, text, options->socket);
    case OPTION_WORKER:
        return parse_path(name, text, options->worker);
    case OPTION_ALLOW_UID:
        return parse_user(name, text, &options->allowed_uid);
    case OPTION_UID_BASE:
        return parse_number(name, text, 1, INT32_MAX, &options->uid_base);
    case OPTION_UID_LOCK:
        return parse_path(name, text, options->uid_lock);
    case OPTION_MAX_WORKERS:
        options->workers_given = true;
        return parse_number(name, text, 1, LIMIT_WORKERS, &options->max_workers);
    case OPTION_MAX_HELD:
        options->held_given = true;
        return parse_number(name, text, 1, LIMIT_HELD, &options->max_held);
    case OPTION_CLIENT_TIMEOUT:
        return parse_number(name, text, 1, 3600000, &options->client_timeout_ms);
    case OPTION_SCRATCH:
        return parse_path(name, text, options->scratch);
    case OPTION_LOG_FILE:
        return parse_path(name, text, options->log_file);
    case OPTION_READY_FD:
        return parse_ready_fd(name, text, &options->ready_fd);
    case OPTION_DAEMONIZE:
        options->daemonize = true;
        return -1;
    case OPTION_DELEGATED:
        options->delegated = true;
        return -1;
    case OPTION_CLEAR_GROUPS:
        options->clear_groups = true;
        return -1;
    case OPTION_HELP:
        fputs(help, stdout);
        return EXIT_OK;
    case OPTION_VERSION:
        printf("vgpu-spawn, protocol %d\n", SPAWN_VERSION);
        return EXIT_OK;
    default:
        return EXIT_USAGE; /* getopt has said why */
    }
}

/* Variables that are meant for another process are none of ours. */
static int parse_manager_socket(struct options *options)
{
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");

    options->manager_fd = -1;
    if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid()) {
        return -1;
    }
    if (strcmp(count, "1") != 0) {
        log_error("the service manager passed %s sockets, expected one", count);
        return EXIT_USAGE;
    }
    options->manager_fd = MANAGER_FIRST_FD;
    return -1;
}

static int check_together(const struct options *options, int argc, char **argv)
{
    if (optind < argc) {
        log_error("unexpected argument %s; see --help", argv[optind]);
        return EXIT_USAGE;
    }
    if (options->clear_groups) {
        return -1;
    }
    if (!options->worker[0]) {
        log_error("--worker is missing: the path of vgpu-worker; see --help");
        return EXIT_USAGE;
    }
    if (!options->socket[0] && options->manager_fd < 0) {
        log_error("--socket is missing, and the service manager passed none; see --help");
        return EXIT_USAGE;
    }
    /* The socket is open to its owner alone, besides root. */
    if (geteuid() != 0 && options->allowed_uid != geteuid() && options->allowed_uid != 0) {
        log_error("--allow-uid %u: only root can serve another uid; leave it out, or start "
                  "vgpu-spawn as uid %u",
                  options->allowed_uid, options->allowed_uid);
        return EXIT_USAGE;
    }
    if (options->daemonize && options->manager_fd >= 0) {
        log_error("--daemonize does not go with a socket of the service manager: use Type=notify");
        return EXIT_USAGE;
    }
    return -1;
}

int options_parse(struct options *options, int argc, char **argv)
{
    int id, position, status;

    memset(options, 0, sizeof(*options));
    strcpy(options->scratch, "/tmp");
    strcpy(options->uid_lock, UIDS_LOCK_FILE);
    options->allowed_uid = geteuid();
    options->max_workers = DEFAULT_MAX_WORKERS;
    options->max_held = DEFAULT_MAX_HELD;
    options->client_timeout_ms = DEFAULT_TIMEOUT_MS;
    options->ready_fd = -1;
    while ((id = getopt_long(argc, argv, "", long_options, &position)) != -1) {
        const char *name = id == '?' ? "" : long_options[position].name;

        status = parse_option(options, id, name, optarg);
        if (status >= 0) {
            return status;
        }
    }
    status = parse_manager_socket(options);
    return status >= 0 ? status : check_together(options, argc, argv);
}
