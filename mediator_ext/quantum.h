/*
 * quantum.h - How much of one VM's work the device is given at a time; pure
 *
 * The device belongs to one VM at a time, and further units of that VM may be queued behind the first
 * one, so that it need not wait for the next. Each must be expected to begin within the quantum: eight
 * kernels of 20 ms put in at once make all others wait for 160 ms. units_in_flight bounds the number,
 * unless they are all shorter than a hand-over between VMs.
 */
#ifndef VGPUD_QUANTUM_H
#define VGPUD_QUANTUM_H

#include <stdbool.h>
#include <stdint.h>

#define QUANTUM_SHORT_UNITS_NS 20000u

/**
 * quantum_has_room() - May one more unit be queued behind those that are out?
 * @end_ns: when the quantum of the VM that has the device is over
 * @in_flight: its units that are out
 * @estimate_ns: what one of them takes
 * @most: units_in_flight
 */
static inline bool quantum_has_room(uint64_t now_ns, uint64_t end_ns, uint32_t in_flight,
                                    uint64_t estimate_ns, uint32_t most)
{
    uint64_t ahead_ns = in_flight * estimate_ns;

    return now_ns + ahead_ns < end_ns && (in_flight < most || ahead_ns < QUANTUM_SHORT_UNITS_NS);
}

#endif
