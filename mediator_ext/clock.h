/*
 * clock.h - The engine's clock, for its parts and for the transports
 */
#ifndef VGPUD_CLOCK_H
#define VGPUD_CLOCK_H

#include <stdint.h>

uint64_t engine_now_ns(void);

#endif
