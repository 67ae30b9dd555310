/* The parts of a board's port in Renode.  Constants come from the platform's header (<id>.h beside this file), which
 * the Makefile puts before every source.
 *
 * Interrupts stay masked: WFI ends with one that is pending, which is then served in line. */
#ifndef HIL_RENODE_DEVICE_H
#define HIL_RENODE_DEVICE_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* The core: arm.c or riscv.c.  interrupt_wait() sleeps until a device raises `irq`, or has since it was last waited
 * for; no other device ends it.  timer_sleep() takes ticks of port_ticks_hz() and may return early. */
void core_init(void);
void interrupt_wait(uint32_t irq);
void timer_sleep(uint32_t ticks);

/* The UART: a byte or -1; 0 where there is no room. */
void uart_init(void);
int uart_read(void);
int uart_write(int byte);

#endif
