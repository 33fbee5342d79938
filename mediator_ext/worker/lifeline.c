/*
 * lifeline.c - Ending with those who started us
 *
 * The socket is the only tie to vgpud and the spawner. While one of them holds the other end, this
 * process lives, with its VM's data; when both are gone, nobody could ever use it again.
 *
 * Nothing is said on the socket after the answer to the bind. What comes all the same is read and
 * dropped (descriptors in it are closed by the kernel): a mistaken message is no reason to lose a
 * VM's objects.
 */
#include "lifeline.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void *watch(void *argument)
{
    int control = (int)(intptr_t)argument;
    char byte;

    for (;;) {
        ssize_t got = recv(control, &byte, sizeof(byte), 0);

        if (got > 0)
            fputs("vgpu-worker: dropped an unexpected message on the control socket\n", stderr);
        else if (got == 0 || errno != EINTR)
            _exit(0);
    }
    return NULL;
}

int lifeline_start(int control)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int error;

    error = pthread_attr_init(&attributes);
    if (error)
        return -error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attributes, watch, (void *)(intptr_t)control);
    pthread_attr_destroy(&attributes);
    return -error;
}
