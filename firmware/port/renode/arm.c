/* Cortex-M in Renode: DWT as counter, SysTick as one-shot timer, NVIC.
 *
 * Renode's SysTick: an interrupt from outside switches it on whatever CTRL says, harmless while LOAD is 0; a write to
 * CTRL only acts on bits that differ from what was last read or written.  Its NVIC takes note of a cleared SysTick when
 * ICSR is read. */
#include "device.h"
#include "port.h"

#define DWT_CONTROL REGISTER(0xE0001000u)
#define DWT_CYCLES REGISTER(0xE0001004u)
#define SYSTICK_CONTROL REGISTER(0xE000E010u)
#define SYSTICK_LOAD REGISTER(0xE000E014u)
#define SYSTICK_VALUE REGISTER(0xE000E018u)
#define NVIC_ENABLE(irq) REGISTER(0xE000E100u + (irq) / 32 * 4)
#define NVIC_DISABLE(irq) REGISTER(0xE000E180u + (irq) / 32 * 4)
#define NVIC_UNPEND(irq) REGISTER(0xE000E280u + (irq) / 32 * 4)
#define NVIC_BIT(irq) (1u << (irq) % 32)
#define ICSR REGISTER(0xE000ED04u)
#define AIRCR REGISTER(0xE000ED0Cu)
#define DEMCR REGISTER(0xE000EDFCu)

#define SYSTICK_LONGEST 0x00FFFFFFu
#define AIRCR_RESET 0x05FA0004u
#define DEMCR_TRACE (1u << 24)

enum { DWT_COUNT = 1 };
enum { SYSTICK_ENABLE = 1, SYSTICK_INTERRUPT = 2, SYSTICK_CORE_CLOCK = 4, SYSTICK_FIRED = 1 << 16 };
enum { ICSR_CLEAR_SYSTICK = 1 << 25 };

void core_init(void) {
    DEMCR |= DEMCR_TRACE;
    DWT_CYCLES = 0;
    DWT_CONTROL = DWT_COUNT;
}

uint32_t port_ticks(void) {
    return DWT_CYCLES;
}

static void sleep(void) {
    __asm volatile("dsb\nwfi" ::: "memory");
}

/* The caller looks at the device after this, so that nothing is lost where the device was quick to raise it again. */
void interrupt_wait(uint32_t irq) {
    NVIC_ENABLE(irq) = NVIC_BIT(irq);
    sleep();
    NVIC_UNPEND(irq) = NVIC_BIT(irq);
    NVIC_DISABLE(irq) = NVIC_BIT(irq);
}

void timer_sleep(uint32_t ticks) {
    SYSTICK_LOAD = ticks < SYSTICK_LONGEST ? ticks : SYSTICK_LONGEST;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = SYSTICK_ENABLE | SYSTICK_INTERRUPT | SYSTICK_CORE_CLOCK;
    while (!(SYSTICK_CONTROL & SYSTICK_FIRED)) {
        sleep();
    }
    SYSTICK_CONTROL = 0;
    SYSTICK_LOAD = 0;
    ICSR = ICSR_CLEAR_SYSTICK;
    (void)ICSR;
}

void port_reset(void) {
    AIRCR = AIRCR_RESET;
    __asm volatile("dsb" ::: "memory");
}
