/*
 * test_spawn_children.c - The table of workers, and the loop that watches them
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "spawn/children.h"
#include "spawn/scratch.h"
#include "spawn/uids.h"
#include "spawn/watch.h"

#define LONG_MS 5000

/* Deal with what the loop reports, as main.c does, until it is a worker's end. Return: was it? */
static bool end_is_reported(struct children *children, int epoll)
{
    struct epoll_event event;

    while (epoll_wait(epoll, &event, 1, LONG_MS) == 1) {
        uint32_t index = (uint32_t)event.data.u64;

        if (event.data.u64 >> 32 == WATCH_CHILD) {
            children_reap(children, index);
            return true;
        }
        children_hear(children, index); /* its output may end first */
    }
    return false;
}

static void test_end_of_a_worker(void)
{
    const char detail[SPAWN_DETAIL_BYTES] = {0}, label[SPAWN_KEY_BYTES] = "label";
    struct scratch scratch = {.directory = -1};
    struct uid_range uids = {.lock_fd = -1};
    const struct child *child = NULL;
    const struct cgroups groups = {.parent = -1, .base = -1};
    struct children_config config = {
        .slots = 1, .program = "/bin/true", .uids = &uids, .scratch = &scratch, .groups = &groups};
    struct children *children;
    struct epoll_event event;
    int control[2], copy;

    CASE("a worker that has ended is reported, and frees its place once that was dealt with");
    config.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(config.epoll_fd >= 0 && scratch_open(&scratch, "/tmp") == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0);
    children = children_new(&config);
    CHECK(children_spawn(children, SPAWN_ROLE_LAUNCH, 0, control[0], detail, label, &child) == 0);
    copy = fcntl(child->pidfd, F_DUPFD_CLOEXEC, 0); /* as the client gets one */
    CHECK(children_forget(children, child->worker_id) == -EBUSY);
    CHECK(end_is_reported(children, config.epoll_fd));
    CHECK(child->state == CHILD_ENDED && child->code == CLD_EXITED && child->status == 0);
    CHECK(children_next_end(children, 0) == child);

    CASE("its end wakes the loop no more, though its client still has the pidfd");
    CHECK(epoll_wait(config.epoll_fd, &event, 1, 0) == 0);
    CHECK(children_forget(children, child->worker_id) == 0);
    CHECK(children_forget(children, child->worker_id) == -ENOENT);

    close(copy);
    close(control[0]);
    close(control[1]);
    children_free(children);
    scratch_close(&scratch);
    close(config.epoll_fd);
}

int main(void)
{
    test_end_of_a_worker();
    return check_done();
}
