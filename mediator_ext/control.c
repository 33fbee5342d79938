/*
 * control.c - How another thread asks the reactor to do something
 *
 * Theory of operation
 *
 * The reactor owns the engine, without a lock. A control call leaves a function and its argument
 * here, wakes the reactor by an eventfd and waits; the reactor runs it between two events and wakes
 * the caller. So a call takes effect at once, as a whole, and blocks its caller for one turn at
 * most. Before the reactor thread is started and after it has ended, the caller runs the function
 * itself.
 */
#include "control.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void serve(struct watch *watch, uint32_t events)
{
    struct control *c = (struct control *)watch;

    (void)events;
    pthread_mutex_lock(&c->lock);
    if (c->pending) {
        c->result = c->call(c->mediator, c->argument);
        c->pending = false;
        pthread_cond_signal(&c->done);
    }
    pthread_mutex_unlock(&c->lock);
}

/**
 * control_init() - Make the mailbox and let the reactor watch it
 *
 * Return: 0, or a negative errno
 */
int control_init(struct control *c, struct mediator *m, struct reactor *reactor)
{
    int rc;

    *c = (struct control){.mediator = m, .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (c->wake_fd < 0)
        return -errno;
    pthread_mutex_init(&c->callers, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done, NULL);
    rc = reactor_watch(reactor, &c->watch, c->wake_fd, EPOLLIN | EPOLLET, serve);
    if (rc)
        control_free(c);
    return rc;
}

/** control_free() - Release it; nobody may be calling */
void control_free(struct control *c)
{
    close(c->wake_fd);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->callers);
}

/** control_open() - From now on a reactor thread serves calls */
void control_open(struct control *c)
{
    pthread_mutex_lock(&c->lock);
    c->open = true;
    pthread_mutex_unlock(&c->lock);
}

/** control_close() - The reactor thread has ended */
void control_close(struct control *c)
{
    pthread_mutex_lock(&c->lock);
    c->open = false;
    pthread_mutex_unlock(&c->lock);
}

/**
 * control_call() - Have @call run on the reactor thread, and wait for it; any thread but the
 * reactor's
 *
 * Return: what @call returned
 */
int control_call(struct control *c, control_fn *call, void *argument)
{
    const uint64_t one = 1;
    int result;

    pthread_mutex_lock(&c->callers);
    pthread_mutex_lock(&c->lock);
    if (!c->open) {
        result = call(c->mediator, argument);
    } else {
        c->call = call;
        c->argument = argument;
        c->pending = true;
        /* Its counter cannot overflow: it would take 2^64 calls. */
        while (write(c->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
        while (c->pending)
            pthread_cond_wait(&c->done, &c->lock);
        result = c->result;
    }
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_unlock(&c->callers);
    return result;
}
