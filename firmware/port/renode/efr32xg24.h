/* EFR32xG24 in Renode.  `hil platforms check efr32xg24` compares this with platforms/efr32xg24/efr32xg24.repl. */
#ifndef HIL_RENODE_EFR32XG24_H
#define HIL_RENODE_EFR32XG24_H

#define CORE_CORTEX_M33 1
#define RENODE_UART_NS16550_WIDE 1
#define UART_BASE 0x5005C000u
#define UART_IRQ 9
#define NPU_BASE 0x4D000000u
#define NPU_IRQ 15
#define ROM_ORIGIN 0x08000000
#define ROM_BYTES 0x00180000
#define RAM_ORIGIN 0x20000000
#define RAM_BYTES 0x00040000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 78000000u
#define MIPS 78

#endif
