/*
 * spawn_child.c - A worker for the tests of vgpu-spawn: does what it is told on its control socket
 *
 * Commands, one datagram each: "exit N", "signal N" (to itself), "sister" (a process that stays,
 * and answers its pid), "daughter" (the same, but it leaves session and group), "litter N" (a
 * directory N levels deep in $TMPDIR, closed to its owner; answers its path), "say TEXT" (on standard
 * error, then answers), "shout N" (N lines there; answers), "connect PATH" (to the spawner; answers
 * whether it was taken), "relay PATH" (the same, by a child), anything else (answered by itself).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_FD 3

static void answer(const char *text)
{
    if (send(CONTROL_FD, text, strlen(text), 0) < 0) {
        exit(70);
    }
}

static void make_process(int own_session)
{
    char text[32];
    pid_t pid = fork();

    if (pid == 0) {
        if (own_session) {
            setsid();
        }
        snprintf(text, sizeof(text), "%d", (int)getpid());
        answer(text);
        close(CONTROL_FD);
        for (;;) {
            pause();
        }
    }
    if (pid < 0) {
        exit(74);
    }
}

static void make_litter(int levels)
{
    const char *top = getenv("TMPDIR");
    FILE *file;

    if (!top || chdir(top) < 0) {
        exit(71);
    }
    for (int i = 0; i < levels; i++) {
        if (mkdir("d", 0700) < 0 || chdir("d") < 0 || symlink("/etc/passwd", "link") < 0 ||
            !(file = fopen("file", "w")) || fclose(file) != 0) {
            exit(72);
        }
    }
    if (chmod(".", 0) < 0) {
        exit(73);
    }
    answer(top);
}

static void shout(int lines)
{
    for (int i = 0; i < lines; i++) {
        if (dprintf(STDERR_FILENO, "line %d of a worker that says too much\n", i) < 0) {
            break; /* nobody takes it */
        }
    }
    answer("shouted");
}

static void try_spawner(const char *path)
{
    const struct timeval limit = {.tv_sec = 1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    char byte;

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        answer("unreachable");
    } else {
        answer(recv(fd, &byte, 1, 0) == 0 ? "refused" : "taken");
    }
    close(fd);
}

int main(void)
{
    char text[128];
    ssize_t got;

    while ((got = recv(CONTROL_FD, text, sizeof(text) - 1, 0)) > 0) {
        text[got] = '\0';
        if (strncmp(text, "exit ", 5) == 0) {
            exit(atoi(text + 5));
        } else if (strncmp(text, "signal ", 7) == 0) {
            raise(atoi(text + 7));
        } else if (strncmp(text, "litter ", 7) == 0) {
            make_litter(atoi(text + 7));
        } else if (strncmp(text, "say ", 4) == 0) {
            dprintf(STDERR_FILENO, "%s", text + 4);
            answer("said");
        } else if (strncmp(text, "shout ", 6) == 0) {
            shout(atoi(text + 6));
        } else if (strncmp(text, "connect ", 8) == 0) {
            try_spawner(text + 8);
        } else if (strncmp(text, "relay ", 6) == 0) {
            if (fork() == 0) {
                try_spawner(text + 6);
                exit(0);
            }
        } else if (strcmp(text, "daughter") == 0) {
            make_process(1);
        } else if (strcmp(text, "sister") == 0) {
            make_process(0);
        } else {
            answer(text);
        }
    }
    return 0;
}
