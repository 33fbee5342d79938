/*
 * faults.h - How faults count, and how they are forgotten; pure
 */
#ifndef VGPUD_FAULTS_H
#define VGPUD_FAULTS_H

#include <stdint.h>

#include "mediator.h"

#define FAULT_POINT      65536u     /* a point, in the units in which points are kept */
#define FAULT_POINTS_MAX (1u << 21) /* more are not counted */

/* What one fault of a kind adds, in points. */
uint32_t faults_weight(enum mediator_fault fault);

/* What is left of @points (in FAULT_POINTs) after @elapsed_ns: half of it after each half-life, and
 * in between as 2^-x. Within one part in a million. */
uint64_t faults_decay(uint64_t points, uint64_t elapsed_ns, uint64_t half_life_ns);

#endif
