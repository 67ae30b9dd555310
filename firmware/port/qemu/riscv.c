/* QEMU virt: counter, one-shot timer, reset, semihosting. */
#include "device.h"
#include "port.h"

#define MTIME_LOW REGISTER(MTIME_BASE)
#define MTIME_HIGH REGISTER(MTIME_BASE + 4)
#define MTIMECMP_LOW REGISTER(MTIMECMP_BASE)
#define MTIMECMP_HIGH REGISTER(MTIMECMP_BASE + 4)
#define RESET REGISTER(RESET_BASE)
#define RESET_NOW 0x7777u

enum { MIE_TIMER = 1 << 7 };

/* ---- counter ---- */

#if __riscv_xlen == 32
static uint64_t cycles(void) {
    uint32_t high, low, again;
    do {
        __asm volatile("csrr %0, mcycleh\ncsrr %1, mcycle\ncsrr %2, mcycleh" : "=r"(high), "=r"(low), "=r"(again));
    } while (high != again);
    return (uint64_t)high << 32 | low;
}
#else
static uint64_t cycles(void) {
    uint64_t now;
    __asm volatile("csrr %0, mcycle" : "=r"(now));
    return now;
}
#endif

/* The counter is read and never written: QEMU 7.2 forgets the carry into mcycleh of one that was. */
static uint64_t started;

uint32_t counter_read(void) {
    return (uint32_t)((cycles() - started) >> CYCLES_PER_TICK_SHIFT);
}

void counter_start(void) {
    started = cycles();
}

void counter_stop(void) {
}

/* ---- timer ---- */

static uint64_t mtime(void) {
    uint32_t high, low;
    do {
        high = MTIME_HIGH;
        low = MTIME_LOW;
    } while (high != MTIME_HIGH);
    return (uint64_t)high << 32 | low;
}

/* The comparator stays in the past, masked.  One in the far future, even between its two halves, would be a deadline:
 * QEMU would leap to it while the board waits for a command. */
void timer_sleep(uint32_t ticks) {
    uint64_t until = mtime() + (uint64_t)ticks * MTIME_HZ / TICKS_HZ;
    MTIMECMP_HIGH = (uint32_t)(until >> 32);
    MTIMECMP_LOW = (uint32_t)until;
    __asm volatile("csrs mie, %0" ::"r"(MIE_TIMER));
    while (mtime() < until) {
        __asm volatile("wfi" ::: "memory");
    }
    __asm volatile("csrc mie, %0" ::"r"(MIE_TIMER));
}

/* ---- the rest ---- */

void port_reset(void) {
    RESET = RESET_NOW;
}

/* The three instructions that mark a semihosting call: uncompressed, within one page. */
__attribute__((naked, noinline, aligned(16))) static intptr_t call_host(intptr_t operation, const void *block) {
    (void)operation;
    (void)block;
    __asm volatile(".option push\n"
                   ".option norvc\n"
                   "slli zero, zero, 0x1f\n"
                   "ebreak\n"
                   "srai zero, zero, 7\n"
                   "ret\n"
                   ".option pop\n");
}

intptr_t semihosting(intptr_t operation, const void *block) {
    __asm volatile("" ::: "memory");
    intptr_t result = call_host(operation, block);
    __asm volatile("" ::: "memory");
    return result;
}
