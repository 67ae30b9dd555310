/* MCX N947 in Renode.  `hil platforms check mcxn947` compares this with platforms/mcxn947/mcxn947.repl. */
#ifndef HIL_RENODE_MCXN947_H
#define HIL_RENODE_MCXN947_H

#define CORE_CORTEX_M33 1
#define RENODE_UART_NXP_LPUART 1
#define UART_BASE 0x400B4000u
#define UART_IRQ 39
#define NPU_BASE 0x5FFF0000u
#define NPU_IRQ 97
#define ROM_ORIGIN 0x00000000
#define ROM_BYTES 0x00200000
#define RAM_ORIGIN 0x20000000
#define RAM_BYTES 0x00068000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 150000000u
#define MIPS 150

#endif
