/* QEMU mps3-an547: Cortex-M55 on the MPS3 board (Arm AN547, SSE-300).  The image runs secure: secure addresses. */
#define ROM_ORIGIN 0x00000000
#define ROM_BYTES 0x80000
#define RAM_ORIGIN 0x30000000
#define RAM_BYTES 0x80000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x4000000

#define TICKS_HZ 32000000
#define COUNTER_BASE 0x58100000
#define TIMER_BASE 0x58000000
#define TIMER_IRQ 3
#define UART_BASE 0x59303000
#define UART_IRQ 33
