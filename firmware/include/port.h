/* The port layer: everything that a board must provide.  firmware/README.md is the porting guide. */
#ifndef HIL_PORT_H
#define HIL_PORT_H

#include "program.h"

/* Clocks, UART, timer, interrupts, accelerator.  Called once, first. */
void port_init(void);

/* The next byte from the host, sleeping until there is one. */
int port_getc(void);

/* One byte to the host, waiting while the transmitter is full. */
void port_putc(int byte);

/* A free-running counter that counts up and wraps at 2^32.  At least 1 MHz on a real board. */
uint32_t port_ticks(void);

/* Ticks per second of port_ticks(); used where the program gives no scales. */
uint32_t port_ticks_hz(void);

/* Sleep for so many ticks (CLASS_WAIT). */
void port_sleep(uint32_t ticks);

/* Where the program lies, or NULL. */
const struct program *port_program(void);

/* Memory for tensors; *bytes is its size. */
uint8_t *port_arena(uint32_t *bytes);

/* Start a command of the accelerator (npu.h); it raises its interrupt when done.  0, or -1 where there is none. */
int port_npu_start(uint32_t command, const struct npu_params *job, uint8_t *arena);

/* Sleep until the accelerator's interrupt; NPU_DONE, with NPU_ERROR where it failed.  Clears the interrupt. */
uint32_t port_npu_wait(void);

/* Energy mode: a falling edge of at least 1 us on the synchronisation pin. */
void port_timestamp_edge(void);

/* Performance mode: the level of the synchronisation pin, low until the first call.  A change of it is a lap. */
void port_lap_level(int high);

/* Restart the board. */
void port_reset(void);

#endif
