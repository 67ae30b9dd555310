/* STM32H7A3 in Renode.  `hil platforms check stm32h7a3` compares this with platforms/stm32h7a3/stm32h7a3.repl. */
#ifndef HIL_RENODE_STM32H7A3_H
#define HIL_RENODE_STM32H7A3_H

#define CORE_CORTEX_M7 1
#define RENODE_UART_STM32F7_USART 1
#define UART_BASE 0x40004800u
#define UART_IRQ 39
#define NPU_BASE 0x5FFF0000u
#define NPU_IRQ 160
#define ROM_ORIGIN 0x08000000
#define ROM_BYTES 0x00200000
#define RAM_ORIGIN 0x24000000
#define RAM_BYTES 0x00100000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 280000000u
#define MIPS 280

#endif
