/* MAX78002 in Renode.  `hil platforms check max78002` compares this with platforms/max78002/max78002.repl. */
#ifndef HIL_RENODE_MAX78002_H
#define HIL_RENODE_MAX78002_H

#define CORE_CORTEX_M4 1
#define RENODE_UART_MAX32655 1
#define UART_BASE 0x40042000u
#define UART_IRQ 14
#define NPU_BASE 0x50000000u
#define NPU_IRQ 101
#define ROM_ORIGIN 0x10000000
#define ROM_BYTES 0x00280000
#define RAM_ORIGIN 0x20000000
#define RAM_BYTES 0x00060000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 120000000u
#define MIPS 120

#endif
