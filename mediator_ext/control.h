/*
 * control.h - How another thread asks the reactor to do something
 */
#ifndef VGPUD_CONTROL_H
#define VGPUD_CONTROL_H

#include <pthread.h>
#include <stdbool.h>

#include "reactor.h"

struct mediator;
typedef int control_fn(struct mediator *m, void *argument);

/* `lock` guards call, argument, result, pending, open; `callers` lets one caller in at a time. */
struct control {
    struct watch watch; /* must be first; the reactor's */
    struct mediator *mediator;
    pthread_mutex_t callers;
    pthread_mutex_t lock;
    pthread_cond_t done;
    control_fn *call;
    void *argument;
    int result;
    bool pending;
    bool open; /* a reactor thread serves calls */
    int wake_fd;
};

int control_init(struct control *c, struct mediator *m, struct reactor *reactor);
void control_free(struct control *c);
void control_open(struct control *c);
void control_close(struct control *c);
int control_call(struct control *c, control_fn *call, void *argument);

#endif
