/* QEMU virt: RV32 or RV64, machine mode, no firmware below.  Everything lies in the RAM at 0x80000000; QEMU puts its
 * device tree at the end of it.
 *
 * The counter is mcycle / 32: with an instruction counter QEMU's cycles are virtual nanoseconds. */
#define ROM_ORIGIN 0x80000000
#define ROM_BYTES 0x400000
#define RAM_ORIGIN 0x80400000
#define RAM_BYTES 0x400000
#define PROGRAM_ORIGIN 0x81000000
#define PROGRAM_BYTES 0x4000000

#define TICKS_HZ 31250000
#define CYCLES_PER_TICK_SHIFT 5
#define MTIME_HZ 10000000
#define MTIMECMP_BASE 0x02004000
#define MTIME_BASE 0x0200BFF8
#define PLIC_BASE 0x0C000000
#define RESET_BASE 0x00100000
#define UART_BASE 0x10000000
#define UART_IRQ 10
