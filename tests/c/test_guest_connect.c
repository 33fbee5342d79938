/*
 * test_guest_connect.c - Connecting to a socket that nobody accepts from, as while vgpud is restarted
 */
/* sanitizers: address thread */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "guest/vgpu.h"
#include "guest/vgpu_stub.h"

#define SOON_MS     30
#define WAITING_MAX 64

struct crowd {
    struct sockaddr_un address;
    int listener;
    int waiting[WAITING_MAX]; /* connections that were not accepted */
    int count;
};

/* A listener whose queue is full. */
static void crowd_new(struct crowd *crowd)
{
    crowd->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(crowd->address.sun_path, sizeof(crowd->address.sun_path), "/tmp/vgpu-crowd-%d",
             (int)getpid());
    unlink(crowd->address.sun_path);
    crowd->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(crowd->listener, (struct sockaddr *)&crowd->address, sizeof(crowd->address)) == 0);
    CHECK(listen(crowd->listener, 1) == 0);
    for (crowd->count = 0; crowd->count < WAITING_MAX; crowd->count++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        crowd->waiting[crowd->count] = fd;
        if (connect(fd, (struct sockaddr *)&crowd->address, sizeof(crowd->address)) < 0) {
            CHECK(errno == EAGAIN);
            close(fd);
            break;
        }
    }
    CHECK(crowd->count > 0 && crowd->count < WAITING_MAX);
}

static void crowd_free(struct crowd *crowd)
{
    for (int i = 0; i < crowd->count; i++)
        close(crowd->waiting[i]);
    close(crowd->listener);
    unlink(crowd->address.sun_path);
}

int main(void)
{
    struct vgpu_link *link = NULL;
    struct vgpu_stub *stub = NULL;
    struct vgpu_reason why = {0};
    struct crowd crowd;

    alarm(60); /* where the wait has no end */
    crowd_new(&crowd);
    CASE("a ring that nobody accepts on is given up in time, with what to do");
    CHECK(vgpu_attach(crowd.address.sun_path, VGPU_FEATURES_ALL, SOON_MS, &link, &why) ==
          -ETIMEDOUT);
    CHECK(!link && strstr(why.text, "it may be restarting"));

    CASE("no time at all is no time without end");
    CHECK(vgpu_attach(crowd.address.sun_path, VGPU_FEATURES_ALL, 0, &link, &why) == -ETIMEDOUT);

    CASE("so is a stub socket");
    CHECK(vgpu_stub_connect(crowd.address.sun_path, SOON_MS, &stub, &why) == -ETIMEDOUT);
    CHECK(!stub && strstr(why.text, "it may be restarting"));
    crowd_free(&crowd);
    return check_done();
}
