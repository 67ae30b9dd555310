/* GAP9 in Renode.  `hil platforms check gap9` compares this with platforms/gap9/gap9.repl. */
#ifndef HIL_RENODE_GAP9_H
#define HIL_RENODE_GAP9_H

#define CORE_RV32IMC 1
#define RENODE_UART_NS16550_WIDE 1
#define UART_BASE 0x1A1E0000u
#define UART_IRQ 10
#define NPU_BASE 0x1A1F0000u
#define NPU_IRQ 11
#define CLINT_BASE 0x02000000u
#define PLIC_BASE 0x0C000000u
#define ROM_ORIGIN 0x1C000000
#define ROM_BYTES 0x00040000
#define RAM_ORIGIN 0x1C040000
#define RAM_BYTES 0x00040000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 240000000u
#define MIPS 240

#endif
