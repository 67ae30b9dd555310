/* HX-WE2 in Renode.  `hil platforms check hx-we2` compares this with platforms/hx-we2/hx-we2.repl. */
#ifndef HIL_RENODE_HX_WE2_H
#define HIL_RENODE_HX_WE2_H

#define CORE_CORTEX_M55 1
#define RENODE_UART_NS16550_WIDE 1
#define UART_BASE 0x54003000u
#define UART_IRQ 90
#define NPU_BASE 0x53020000u
#define NPU_IRQ 192
#define ROM_ORIGIN 0x10000000
#define ROM_BYTES 0x00040000
#define RAM_ORIGIN 0x30000000
#define RAM_BYTES 0x00040000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 400000000u
#define MIPS 400

#endif
