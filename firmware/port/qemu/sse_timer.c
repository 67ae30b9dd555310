/* SSE-300: the system counter, and a system timer that compares with it. */
#include "nvic.h"

#define COUNTER_CONTROL REGISTER(COUNTER_BASE + 0x00)
#define COUNTER_LOW REGISTER(COUNTER_BASE + 0x08)
#define COUNTER_HIGH REGISTER(COUNTER_BASE + 0x0C)
#define COUNT_LOW REGISTER(TIMER_BASE + 0x00)
#define COMPARE_LOW REGISTER(TIMER_BASE + 0x20)
#define COMPARE_HIGH REGISTER(TIMER_BASE + 0x24)
#define TIMER_CONTROL REGISTER(TIMER_BASE + 0x2C)

enum { COUNTER_ENABLE = 1 };
enum { TIMER_ENABLE = 1, TIMER_FIRED = 4 };

uint32_t counter_read(void) {
    return COUNT_LOW;
}

void counter_start(void) {
    COUNTER_LOW = 0;
    COUNTER_HIGH = 0;
    COUNTER_CONTROL = COUNTER_ENABLE;
}

void counter_stop(void) {
    COUNTER_CONTROL = 0;
}

/* The counter is free: it counts no ticks during a sleep.  QEMU rounds the deadline down to a nanosecond and never gets
 * to a count that falls between two: four ticks are 125 ns. */
void timer_sleep(uint32_t ticks) {
    counter_start();
    COMPARE_HIGH = 0;
    COMPARE_LOW = (ticks + 3) & ~3u;
    TIMER_CONTROL = TIMER_ENABLE;
    while (!(TIMER_CONTROL & TIMER_FIRED)) {
        sleep_until_interrupt(TIMER_IRQ);
    }
    TIMER_CONTROL = 0;
    counter_stop();
}
