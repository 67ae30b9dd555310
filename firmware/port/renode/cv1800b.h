/* CV1800B in Renode.  `hil platforms check cv1800b` compares this with platforms/cv1800b/cv1800b.repl. */
#ifndef HIL_RENODE_CV1800B_H
#define HIL_RENODE_CV1800B_H

#define CORE_RV64GC 1
#define RENODE_UART_NS16550_WIDE 1
#define UART_BASE 0x04140000u
#define UART_IRQ 44
#define NPU_BASE 0x0C100000u
#define NPU_IRQ 76
#define CLINT_BASE 0x74000000u
#define PLIC_BASE 0x70000000u
#define ROM_ORIGIN 0x80000000
#define ROM_BYTES 0x00100000
#define RAM_ORIGIN 0x80100000
#define RAM_BYTES 0x00100000
#define PROGRAM_ORIGIN 0xA0000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 1000000000u
#define MIPS 1000

#endif
