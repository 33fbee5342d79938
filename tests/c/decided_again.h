/*
 * decided_again.h - Whatever a test does with an engine, a simulator must decide it in the same way
 */
#ifndef VGPUD_TESTS_DECIDED_AGAIN_H
#define VGPUD_TESTS_DECIDED_AGAIN_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "check.h"
#include "mediator_record.h"

#define RECORDED_MAX 60000u /* a test that does more is decided again as far as that */

/** record_from_now() - Record an engine */
static inline void record_from_now(struct mediator *m)
{
    CHECK(mediator_record_start(m, RECORDED_MAX) == 0);
}

/** decided_again() - End the recording. Return: did the simulator decide all of it as the engine did? */
static inline bool decided_again(struct mediator *m)
{
    struct mediator_record *records = calloc(2 * RECORDED_MAX, sizeof(*records));
    struct mediator_simulator *sim = mediator_simulator_new();
    uint32_t count = 0, applied = 0;
    int taken, rc;

    CHECK(records && sim && mediator_record_stop(m) == 0);
    while ((taken = mediator_record_read(m, records + count, 2 * RECORDED_MAX - count)) > 0)
        count += (uint32_t)taken;
    rc = mediator_simulator_apply(sim, records, count, 1, &applied);
    if (rc)
        fprintf(stderr, "record %u of %u, type %u: %d\n", applied, count,
                applied < count ? records[applied].type : 0, rc);
    mediator_simulator_free(sim);
    free(records);
    return rc == 0 || rc == -ENODATA;
}

#endif
