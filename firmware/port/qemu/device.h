/* The parts of an emulated machine's port: each has one file per kind of device. */
#ifndef HIL_QEMU_DEVICE_H
#define HIL_QEMU_DEVICE_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* A counter of port_ticks_hz(): starts from zero, aligned to the instruction. */
void counter_start(void);
void counter_stop(void);
uint32_t counter_read(void);

/* Stop counting until the next port_ticks(). */
void ticks_stop(void);

/* Sleep with a one-shot timer until its interrupt, after so many ticks of port_ticks_hz(). */
void timer_sleep(uint32_t ticks);

/* The UART: a byte or -1; room for one; sleep until there may be a byte. */
void uart_init(void);
int uart_read(void);
int uart_write(int byte);
void uart_sleep(void);

/* One semihosting call: the operation and its block of arguments. */
intptr_t semihosting(intptr_t operation, const void *block);

#endif
