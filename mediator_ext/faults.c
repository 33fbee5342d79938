/*
 * faults.c - How faults count, and how they are forgotten
 *
 * Theory of operation
 *
 * A fault is what a VM, or the work it had run, did against the rules: not what was merely refused, and
 * not what ended with an error, such as a program that does not compile. Each kind weighs so many
 * points, and a VM's points halve with every half-life, so that what counts is how often and not for
 * how long a VM has been there. At the threshold it is quarantined at once.
 *
 * A worker weighs more than a message: it has cost the others time on the device, or shows that what
 * runs in it has got further than it should. Who is quarantined already is not counted any further,
 * nor told about: its log would be a flood of its own.
 *
 * The points are in the journal, so that a restart forgets nothing; the time in which no engine was
 * there counts for the decay.
 */
#include "faults.h"

#include "engine.h"

#define FRACTION_BITS  20u
#define FACTOR_BITS    24u
#define HALF_LIVES_MAX 40u /* after so many nothing is left of FAULT_POINTS_MAX */

static const uint8_t weight[MEDIATOR_FAULT_COUNT] = {
    [MEDIATOR_FAULT_FRAME] = 1,          [MEDIATOR_FAULT_FOREIGN_ID] = 5,
    [MEDIATOR_FAULT_RING] = 5,           [MEDIATOR_FAULT_ENTRY] = 1,
    [MEDIATOR_FAULT_WORKER] = 20,        [MEDIATOR_FAULT_RUN_TIMEOUT] = 10,
    [MEDIATOR_FAULT_BUILD_TIMEOUT] = 10, [MEDIATOR_FAULT_CRASH] = 10,
};

uint32_t faults_weight(enum mediator_fault fault)
{
    return (unsigned int)fault < MEDIATOR_FAULT_COUNT ? weight[fault] : 0;
}

/* 2^-(1/2), 2^-(1/4), 2^-(1/8), ... in FACTOR_BITS: a factor for each bit of a fraction. */
static const uint32_t root[FRACTION_BITS] = {
    11863283u, 14107901u, 15384775u, 16065917u, 16417715u, 16596492u, 16686609u,
    16731851u, 16754518u, 16765863u, 16771539u, 16774377u, 16775796u, 16776506u,
    16776861u, 16777039u, 16777127u, 16777172u, 16777194u, 16777205u,
};

uint64_t faults_decay(uint64_t points, uint64_t elapsed_ns, uint64_t half_life_ns)
{
    uint64_t halves, rest_ns;

    if (half_life_ns == 0)
        return points;
    halves = elapsed_ns / half_life_ns;
    if (halves >= HALF_LIVES_MAX)
        return 0;
    points >>= halves;
    rest_ns = elapsed_ns % half_life_ns;
    /* The fraction of a half-life that is left over, bit by bit. */
    for (uint32_t bit = 0; bit < FRACTION_BITS && rest_ns; bit++) {
        rest_ns *= 2;
        if (rest_ns < half_life_ns)
            continue;
        rest_ns -= half_life_ns;
        points = points * root[bit] >> FACTOR_BITS;
    }
    return points;
}

static uint64_t points_at(const struct vm *vm, uint64_t now_ns)
{
    const struct journal_faults *f = &vm->journal->faults;
    uint64_t half_life_ns = (uint64_t)vm->mediator->config.fault_half_life_ms * 1000000u;

    return now_ns > f->stamp_ns ? faults_decay(f->points, now_ns - f->stamp_ns, half_life_ns)
                                : f->points;
}

/** faults_settle() - From now on the points decay by another half-life */
void faults_settle(struct vm *vm, uint64_t now_ns)
{
    struct journal_faults *f = &vm->journal->faults;

    f->points = points_at(vm, now_ns);
    f->stamp_ns = now_ns;
}

/** faults_points() - The points that a VM has now, rounded up */
uint32_t faults_points(const struct vm *vm, uint64_t now_ns)
{
    return (uint32_t)((points_at(vm, now_ns) + FAULT_POINT - 1) / FAULT_POINT);
}

/**
 * vm_fault() - A VM, or a worker of it, did what it must not
 * @detail: told with the event, see enum mediator_fault
 *
 * May quarantine the VM: then what it has queued has been answered on return.
 */
void vm_fault(struct vm *vm, enum mediator_fault fault, uint64_t detail)
{
    uint32_t threshold = vm->mediator->config.fault_threshold;
    struct journal_faults *f = &vm->journal->faults;
    uint64_t now_ns = engine_now_ns();

    vm->stats.faults++;
    if (quarantine_holds(vm))
        return;
    vm_event(vm, MEDIATOR_FAULT, fault, detail);
    faults_settle(vm, now_ns);
    f->points += (uint64_t)faults_weight(fault) * FAULT_POINT;
    if (f->points > (uint64_t)FAULT_POINTS_MAX * FAULT_POINT)
        f->points = (uint64_t)FAULT_POINTS_MAX * FAULT_POINT;
    /* By the number that is shown: ten faults of ten points are a hundred, though a second apart. */
    if (threshold && faults_points(vm, now_ns) >= threshold && !vm->retired)
        quarantine_begin(vm, fault, faults_points(vm, now_ns));
}
