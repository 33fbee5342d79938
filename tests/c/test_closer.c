/*
 * test_closer.c - Descriptors that clients send are thrown away, and nobody waits for that
 */
/* sanitizers: address thread */
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "closer.h"
#include "lingering.h"

static void pair(int ends[2])
{
    rig_must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "a pair");
}

static ssize_t receive(struct closer *c, int fd)
{
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    return closer_receive(c, fd, &message);
}

int main(void)
{
    struct closer closer;
    int ends[2], peer, fd_before, fd_after;
    char byte;

    CHECK(closer_init(&closer) == 0);

    CASE("a descriptor that comes with a message is closed, and whoever receives it does not wait");
    pair(ends);
    CHECK(send_away(ends[0], lingering_socket(&peer)));
    CHECK(receive(&closer, ends[1]) == 1);
    CHECK(tcp_closed(peer));
    close(peer);

    CASE("a message without descriptors, no message, and the end are told apart");
    CHECK(send(ends[0], "y", 1, 0) == 1 && receive(&closer, ends[1]) == 1);
    CHECK(receive(&closer, ends[1]) < 0 && errno == EAGAIN);
    CHECK(shutdown(ends[0], SHUT_WR) == 0 && receive(&closer, ends[1]) == 0);

    CASE("a connection is ended for whoever else holds it, and its client sees that");
    fd_before = dup(ends[1]);
    closer_hang_up(&closer, ends[1]);
    CHECK(recv(ends[0], &byte, 1, 0) == 0);
    close(fd_before);
    close(ends[0]);

    CASE("descriptors that nobody has received are closed with it, and nobody waits");
    pair(ends);
    CHECK(send_away(ends[0], lingering_socket(&peer)));
    fd_before = dup(ends[1]); /* as the spawner holds it */
    closer_hang_up(&closer, ends[1]);
    CHECK(tcp_closed(peer));
    close(fd_before);
    close(ends[0]);
    close(peer);

    CASE("what was sent before is still read by the client");
    pair(ends);
    CHECK(send(ends[1], "z", 1, 0) == 1);
    closer_hang_up(&closer, ends[1]);
    CHECK(recv(ends[0], &byte, 1, 0) == 1 && byte == 'z' && recv(ends[0], &byte, 1, 0) == 0);
    close(ends[0]);

    CASE("nothing stays open");
    fd_before = dup(0);
    close(fd_before);
    for (int i = 0; i < 300; i++) {
        pair(ends);
        CHECK(send_away(ends[0], dup(0)) && receive(&closer, ends[1]) == 1);
        close(ends[0]);
        closer_hang_up(&closer, ends[1]);
    }
    closer_free(&closer);
    fd_after = dup(0);
    CHECK(fd_after < fd_before); /* the thread's pipe is closed, too */
    close(fd_after);
    return check_done();
}
