/*
 * test_faults.c - What faults weigh, and how they are forgotten
 */
#include <math.h>
#include <stdbool.h>

#include "check.h"
#include "faults.h"

#define HALF_LIFE_NS  600000000000ull
#define FRACTION_LOST 32.0 /* of a FAULT_POINT, by rounding down once for each bit */

static bool near(uint64_t points, double wanted)
{
    return fabs((double)points - wanted) <= wanted / 1e6 + FRACTION_LOST;
}

static void test_decay(void)
{
    const uint64_t points = 1000ull * FAULT_POINT;
    uint64_t kept = points;

    CASE("nothing is forgotten in no time, half in each half-life");
    CHECK(faults_decay(points, 0, HALF_LIFE_NS) == points);
    CHECK(faults_decay(points, HALF_LIFE_NS, HALF_LIFE_NS) == points / 2);
    CHECK(faults_decay(points, 5 * HALF_LIFE_NS, HALF_LIFE_NS) == points / 32);

    CASE("in between it is 2^-x");
    for (int i = 1; i < 1000; i++) {
        uint64_t elapsed_ns = HALF_LIFE_NS / 331 * (uint64_t)i;
        double left = exp2(-(double)elapsed_ns / (double)HALF_LIFE_NS);

        CHECK(near(faults_decay(points, elapsed_ns, HALF_LIFE_NS), (double)points * left));
    }

    CASE("it is forgotten alike in one step and in a thousand");
    for (int i = 0; i < 1000; i++)
        kept = faults_decay(kept, HALF_LIFE_NS / 1000, HALF_LIFE_NS);
    CHECK(fabs((double)kept - (double)points / 2) < 1000 * FRACTION_LOST + (double)points / 1e4);

    CASE("ages forget everything, extremes overflow nothing, and without a half-life nothing is "
         "lost");
    CHECK(faults_decay(points, UINT64_MAX, HALF_LIFE_NS) == 0);
    CHECK(faults_decay(points, UINT64_MAX, 1) == 0);
    CHECK(faults_decay((uint64_t)FAULT_POINTS_MAX * FAULT_POINT, HALF_LIFE_NS - 1, HALF_LIFE_NS) >=
          (uint64_t)FAULT_POINTS_MAX * FAULT_POINT / 2);
    CHECK(faults_decay(points, UINT64_MAX, UINT32_MAX * 1000000ull) == 0);
    CHECK(faults_decay(points, HALF_LIFE_NS, 0) == points);
}

static void test_weights(void)
{
    CASE("every kind of fault weighs something, a worker's more than a message's");
    for (int fault = MEDIATOR_FAULT_FRAME; fault < MEDIATOR_FAULT_COUNT; fault++)
        CHECK(faults_weight((enum mediator_fault)fault) > 0);
    CHECK(faults_weight(MEDIATOR_FAULT_CRASH) > faults_weight(MEDIATOR_FAULT_RING));
    CHECK(faults_weight(MEDIATOR_FAULT_RING) > faults_weight(MEDIATOR_FAULT_FRAME));
    CHECK(faults_weight((enum mediator_fault)0) == 0 && faults_weight(MEDIATOR_FAULT_COUNT) == 0);
}

int main(void)
{
    test_decay();
    test_weights();
    return check_done();
}
