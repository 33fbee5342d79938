/*
 * test_request_line.c - Who waits for a slot, and whom a free one wakes
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "engine.h"

#define OWN_MOST 24u
#define TOTAL    60u

/* A VM with nothing but slots, and a transport to be woken. */
struct waiter {
    struct vm *vm;
    struct transport transport;
};

static void waiter_new(struct waiter *w, struct mediator *m, uint32_t in_use)
{
    *w = (struct waiter){.vm = calloc(1, sizeof(*w->vm))};
    w->vm->mediator = m;
    w->vm->journal = calloc(1, sizeof(struct journal));
    w->vm->journal->slot_count = OWN_MOST + JOURNAL_SLOTS_URGENT;
    w->vm->request = calloc(OWN_MOST, sizeof(struct request));
    for (uint32_t i = 0; i < OWN_MOST; i++)
        w->vm->request[i].vm = w->vm;
    w->vm->in_use = in_use;
    m->in_use += in_use;
    w->transport.vm = w->vm;
    w->vm->transport[0] = &w->transport;
}

static void waiter_free(struct waiter *w)
{
    free(w->vm->request);
    free(w->vm->journal);
    free(w->vm);
}

static void ends_one(struct waiter *w)
{
    request_free(&w->vm->request[w->vm->in_use - 1]);
}

/* Was it woken since the last look? */
static bool woken(struct waiter *w)
{
    bool was = w->transport.woken;

    w->transport.woken = false;
    return was;
}

int main(void)
{
    struct mediator *m = aligned_alloc(_Alignof(struct mediator), sizeof(*m));
    struct waiter full, busy, first, second, third;

    memset(m, 0, sizeof(*m));
    m->config.max_queued_total = TOTAL + 100;

    CASE("who has all slots that are its own is woken by its own answers, and by no other's");
    waiter_new(&full, m, OWN_MOST);
    waiter_new(&busy, m, 20);
    request_starve(full.vm);
    ends_one(&busy);
    CHECK(!woken(&full) && full.vm->starved);
    ends_one(&full);
    CHECK(woken(&full) && !full.vm->starved && !woken(&busy));

    CASE("who waits for what all share is woken in the order of coming, one for each free slot");
    m->in_use = 0;
    m->config.max_queued_total = TOTAL;
    waiter_new(&first, m, 18);
    waiter_new(&second, m, 18);
    waiter_new(&third, m, 18);
    m->in_use = TOTAL;
    request_starve(first.vm);
    request_starve(second.vm);
    request_starve(third.vm);
    ends_one(&busy);
    CHECK(woken(&first) && !woken(&second) && !woken(&third));
    m->in_use = TOTAL;
    ends_one(&busy);
    CHECK(!woken(&first) && woken(&second) && !woken(&third));

    CASE("who leaves the line, from any place in it, is woken no more, and the others are");
    m->in_use = TOTAL;
    request_starve(first.vm);
    request_starve(second.vm);
    request_forget_starved(first.vm);
    ends_one(&busy);
    CHECK(woken(&third) && !woken(&first) && !woken(&second));
    m->in_use = TOTAL;
    ends_one(&busy);
    CHECK(woken(&second) && !woken(&first));
    CHECK(!m->starved && !m->starved_last);

    waiter_free(&full);
    waiter_free(&busy);
    waiter_free(&first);
    waiter_free(&second);
    waiter_free(&third);
    free(m);
    return check_done();
}
