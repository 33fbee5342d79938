/*
 * test_control.c - Calls from other threads take effect on the reactor's thread, as a whole
 */
/* sanitizers: address thread */
#include <pthread.h>
#include <unistd.h>

#include "check.h"
#include "control.h"

#define CALLERS 4
#define CALLS   2000

/* What the reactor owns here; no lock, so the thread sanitizer sees who touches it. */
struct mediator {
    struct reactor reactor;
    struct control control;
    pthread_t thread;
    bool stopping;
    uint64_t count;
};

struct caller {
    struct mediator *m;
    pthread_t thread;
    uint64_t wrong;
};

struct seen {
    pthread_t thread;
    int argument;
};

static int note_thread(struct mediator *m, void *argument)
{
    struct seen *seen = argument;

    (void)m;
    seen->thread = pthread_self();
    return -seen->argument;
}

static int add_one(struct mediator *m, void *argument)
{
    *(uint64_t *)argument = ++m->count;
    return (int)(m->count % 100);
}

static int stop(struct mediator *m, void *argument)
{
    (void)argument;
    m->stopping = true;
    return 0;
}

static void *reactor_thread(void *argument)
{
    struct mediator *m = argument;

    while (!m->stopping)
        reactor_turn(&m->reactor, -1);
    return NULL;
}

static void *call_often(void *argument)
{
    struct caller *caller = argument;
    uint64_t last = 0;

    for (int i = 0; i < CALLS; i++) {
        uint64_t now = 0;
        int rc = control_call(&caller->m->control, add_one, &now);

        if (now <= last || rc != (int)(now % 100))
            caller->wrong++;
        last = now;
    }
    return NULL;
}

int main(void)
{
    struct mediator m = {.count = 0};
    struct caller caller[CALLERS];
    struct seen seen = {.argument = 7};

    CASE("before there is a reactor thread the caller runs the call itself");
    CHECK(reactor_init(&m.reactor) == 0 && control_init(&m.control, &m, &m.reactor) == 0);
    CHECK(control_call(&m.control, note_thread, &seen) == -7);
    CHECK(pthread_equal(seen.thread, pthread_self()));

    CASE("then it runs on the reactor's thread, and its result comes back");
    control_open(&m.control);
    CHECK(pthread_create(&m.thread, NULL, reactor_thread, &m) == 0);
    CHECK(control_call(&m.control, note_thread, &seen) == -7);
    CHECK(pthread_equal(seen.thread, m.thread));

    CASE("callers from several threads each get their own result, and none is lost");
    for (int i = 0; i < CALLERS; i++) {
        caller[i] = (struct caller){.m = &m};
        CHECK(pthread_create(&caller[i].thread, NULL, call_often, &caller[i]) == 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(caller[i].thread, NULL);
        CHECK(caller[i].wrong == 0);
    }

    CASE("after the reactor thread has ended the caller runs the call itself again");
    CHECK(control_call(&m.control, stop, NULL) == 0);
    pthread_join(m.thread, NULL);
    control_close(&m.control);
    CHECK(m.count == CALLERS * CALLS);
    CHECK(control_call(&m.control, note_thread, &seen) == -7);
    CHECK(pthread_equal(seen.thread, pthread_self()));
    control_free(&m.control);
    reactor_free(&m.reactor);
    return check_done();
}
