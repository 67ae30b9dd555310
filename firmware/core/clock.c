#include "clock.h"

#include "port.h"

#define Q20 20
#define LONGEST_SLEEP_TICKS 0x80000000u

static uint32_t scales_q20[CLASS_COUNT];
static enum time_class current;
static uint32_t last_tick;
static struct clock_reading total;

static void take_scales(const struct program *program) {
    uint32_t any = 0;
    scales_q20[CLASS_OFF] = 0;
    for (int class = CLASS_WAIT; class < CLASS_COUNT; class++) {
        scales_q20[class] = program ? program->scale_q20[class] : 0;
        any |= scales_q20[class];
    }
    if (any) {
        return;
    }
    uint32_t real_q20 = (uint32_t)((UINT64_C(1000000000) << Q20) / port_ticks_hz());
    for (int class = CLASS_OFF; class < CLASS_COUNT; class++) {
        scales_q20[class] = real_q20;
    }
}

void clock_init(const struct program *program) {
    take_scales(program);
    total = (struct clock_reading){0, 0};
    current = CLASS_OFF;
    last_tick = port_ticks();
}

enum time_class clock_enter(enum time_class next) {
    uint32_t now = port_ticks();
    uint32_t passed = now - last_tick;
    enum time_class before = current;
    last_tick = now;
    current = next;
    total.time_q20 += (uint64_t)passed * scales_q20[before];
    if (before != CLASS_OFF) {
        total.ticks += passed;
    }
    return before;
}

void clock_skip(void) {
    last_tick = port_ticks();
}

struct clock_reading clock_read(void) {
    return total;
}

uint64_t clock_ns(void) {
    return total.time_q20 >> Q20;
}

/* ns * 2^20 / scale, to the nearest tick, without the overflow that shifting first would bring. */
uint64_t clock_wait_ticks(uint64_t nanoseconds) {
    uint32_t scale = scales_q20[CLASS_WAIT];
    if (scale == 0) {
        return 0;
    }
    uint64_t whole = nanoseconds / scale;
    uint64_t rest = nanoseconds % scale;
    return (whole << Q20) + ((rest << Q20) + scale / 2) / scale;
}

/* Between two parts the clock takes what has passed, before the counter wraps. */
void clock_sleep(uint64_t ticks) {
    while (ticks > LONGEST_SLEEP_TICKS) {
        port_sleep(LONGEST_SLEEP_TICKS);
        clock_enter(CLASS_WAIT);
        ticks -= LONGEST_SLEEP_TICKS;
    }
    port_sleep((uint32_t)ticks);
}
