/* nRF54LM20B in Renode.  `hil platforms check nrf54lm20` compares this with platforms/nrf54lm20/nrf54lm20.repl. */
#ifndef HIL_RENODE_NRF54LM20_H
#define HIL_RENODE_NRF54LM20_H

#define CORE_CORTEX_M33 1
#define RENODE_UART_NS16550_WIDE 1
#define UART_BASE 0x500C6000u
#define UART_IRQ 198
#define NPU_BASE 0x50056000u
#define NPU_IRQ 86
#define ROM_ORIGIN 0x00000000
#define ROM_BYTES 0x001FD000
#define RAM_ORIGIN 0x20000000
#define RAM_BYTES 0x00080000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 128000000u
#define MIPS 128

#endif
