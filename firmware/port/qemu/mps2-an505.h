/* QEMU mps2-an505: Cortex-M33 on the MPS2+ board (Arm AN505, IoT Kit).  The image runs secure: secure addresses. */
#define ROM_ORIGIN 0x10000000
#define ROM_BYTES 0x400000
#define RAM_ORIGIN 0x38000000
#define RAM_BYTES 0x400000
#define PROGRAM_ORIGIN 0x80000000
#define PROGRAM_BYTES 0x1000000

#define TICKS_HZ 20000000
#define COUNTER_BASE 0x50000000
#define TIMER_BASE 0x50001000
#define TIMER_IRQ 4
#define UART_BASE 0x50200000
#define UART_IRQ 32
