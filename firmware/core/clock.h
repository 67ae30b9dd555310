/* Board time.  Every stretch of code belongs to a time class; the ticks spent in a class are weighed by its scale.
 *
 * Sums are kept in units of 2^-20 ns in 64 bits: board time wraps after 2^44 ns (4.9 hours).  Between two calls of
 * clock_enter() fewer than 2^32 ticks may pass.
 */
#ifndef HIL_CLOCK_H
#define HIL_CLOCK_H

#include "program.h"

struct clock_reading {
    uint64_t time_q20; /* board nanoseconds * 2^20 */
    uint64_t ticks;    /* of port_ticks(), without CLASS_OFF */
};

/* Take the scales of a program.  Without one, or with all scales zero, port_ticks_hz() is the scale of every class:
 * a clock that stops for printing would not be the one that a power meter sees.  It starts at 0 in CLASS_OFF. */
void clock_init(const struct program *program);

/* What has passed since the last clock_enter() or clock_skip() is not board time: the board waited for the host. */
void clock_skip(void);

/* Continue in another class; returns the one before. */
enum time_class clock_enter(enum time_class next);

/* The sums up to the last clock_enter(). */
struct clock_reading clock_read(void);

/* Board nanoseconds up to the last clock_enter(). */
uint64_t clock_ns(void);

/* Board nanoseconds as ticks of CLASS_WAIT. */
uint64_t clock_wait_ticks(uint64_t nanoseconds);

/* Sleep for any number of ticks; to be called in CLASS_WAIT. */
void clock_sleep(uint64_t ticks);

#endif
