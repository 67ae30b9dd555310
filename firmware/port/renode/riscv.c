/* RISC-V in Renode: mtime as counter and timer (CLINT), PLIC for everything else; machine mode only. */
#include "device.h"
#include "port.h"

#define MTIMECMP_LOW REGISTER(CLINT_BASE + 0x4000u)
#define MTIMECMP_HIGH REGISTER(CLINT_BASE + 0x4004u)
#define MTIME_LOW REGISTER(CLINT_BASE + 0xBFF8u)
#define MTIME_HIGH REGISTER(CLINT_BASE + 0xBFFCu)
#define PLIC_PRIORITY(irq) REGISTER(PLIC_BASE + 4 * (irq))
#define PLIC_ENABLE(irq) REGISTER(PLIC_BASE + 0x2000u + (irq) / 32 * 4)
#define PLIC_CLAIM REGISTER(PLIC_BASE + 0x200004u)
#define PLIC_BIT(irq) (1u << (irq) % 32)

enum { MIE_TIMER = 1 << 7, MIE_EXTERNAL = 1 << 11 };

void start(void);

void core_init(void) {
}

uint32_t port_ticks(void) {
    return MTIME_LOW;
}

/* ---- interrupts ---- */

static void sleep_until(uint32_t interrupts) {
    __asm volatile("csrs mie, %0\nwfi\ncsrc mie, %0" ::"r"(interrupts) : "memory");
}

/* The caller looks at the device after this, so that nothing is lost where the device was quick to raise it again. */
void interrupt_wait(uint32_t irq) {
    PLIC_PRIORITY(irq) = 1;
    PLIC_ENABLE(irq) = PLIC_BIT(irq);
    sleep_until(MIE_EXTERNAL);
    uint32_t claimed = PLIC_CLAIM;
    if (claimed) {
        PLIC_CLAIM = claimed;
    }
    PLIC_ENABLE(irq) = 0;
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

static void compare_with(uint64_t time) {
    MTIMECMP_HIGH = ~0u; /* no match in between */
    MTIMECMP_LOW = (uint32_t)time;
    MTIMECMP_HIGH = (uint32_t)(time >> 32);
}

void timer_sleep(uint32_t ticks) {
    uint64_t until = mtime() + ticks;
    compare_with(until);
    while (mtime() < until) {
        sleep_until(MIE_TIMER);
    }
    compare_with(~UINT64_C(0));
}

/* No reset register that all boards have: start over, as after power-on but for the devices. */
void port_reset(void) {
    start();
}
