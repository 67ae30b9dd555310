/* CMSDK APB timers, which count down: one is the counter, the other the one-shot timer. */
#include "nvic.h"

#define CONTROL(base) REGISTER((base) + 0x0)
#define VALUE(base) REGISTER((base) + 0x4)
#define RELOAD(base) REGISTER((base) + 0x8)
#define INTERRUPT(base) REGISTER((base) + 0xC)

enum { CONTROL_ENABLE = 1, CONTROL_INTERRUPT = 8 };

uint32_t counter_read(void) {
    return ~VALUE(COUNTER_BASE);
}

void counter_start(void) {
    RELOAD(COUNTER_BASE) = ~0u;
    VALUE(COUNTER_BASE) = ~0u;
    CONTROL(COUNTER_BASE) = CONTROL_ENABLE;
}

/* A counter that runs is a deadline: QEMU would leap from wrap to wrap while the board waits for a command. */
void counter_stop(void) {
    CONTROL(COUNTER_BASE) = 0;
}

/* A periodic timer would make QEMU's virtual time pass twice: no reload. */
void timer_sleep(uint32_t ticks) {
    if (ticks == 0) {
        return;
    }
    RELOAD(TIMER_BASE) = 0;
    VALUE(TIMER_BASE) = ticks;
    CONTROL(TIMER_BASE) = CONTROL_ENABLE | CONTROL_INTERRUPT;
    while (!INTERRUPT(TIMER_BASE)) {
        sleep_until_interrupt(TIMER_IRQ);
    }
    CONTROL(TIMER_BASE) = 0;
    INTERRUPT(TIMER_BASE) = 1;
}
