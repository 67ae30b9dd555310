/* Sleeping until one interrupt of a Cortex-M.  It stays masked by PRIMASK and is served in line by the caller, who
 * looks at the device: the sleep may end early. */
#ifndef HIL_QEMU_NVIC_H
#define HIL_QEMU_NVIC_H

#include "device.h"

#define NVIC_ENABLE(irq) REGISTER(0xE000E100u + (irq) / 32 * 4)
#define NVIC_DISABLE(irq) REGISTER(0xE000E180u + (irq) / 32 * 4)
#define NVIC_UNPEND(irq) REGISTER(0xE000E280u + (irq) / 32 * 4)
#define NVIC_BIT(irq) (1u << (irq) % 32)

/* Enabled only here: another device's interrupt, pending, would end every sleep at once. */
static inline void sleep_until_interrupt(uint32_t irq) {
    NVIC_ENABLE(irq) = NVIC_BIT(irq);
    __asm volatile("dsb\nwfi" ::: "memory");
    NVIC_DISABLE(irq) = NVIC_BIT(irq);
    NVIC_UNPEND(irq) = NVIC_BIT(irq);
}

#endif
