/* STM32L4R5 in Renode.  `hil platforms check stm32l4r5` compares this with platforms/stm32l4r5/stm32l4r5.repl. */
#ifndef HIL_RENODE_STM32L4R5_H
#define HIL_RENODE_STM32L4R5_H

#define CORE_CORTEX_M4 1
#define RENODE_UART_STM32F7_USART 1
#define UART_BASE 0x40008000u
#define UART_IRQ 70
#define NPU_BASE 0x5FFF0000u
#define NPU_IRQ 100
#define ROM_ORIGIN 0x08000000
#define ROM_BYTES 0x00200000
#define RAM_ORIGIN 0x20000000
#define RAM_BYTES 0x000A0000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 120000000u
#define MIPS 120

#endif
