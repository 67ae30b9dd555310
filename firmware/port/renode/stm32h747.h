/* STM32H747 in Renode.  `hil platforms check stm32h747` compares this with platforms/stm32h747/stm32h747.repl. */
#ifndef HIL_RENODE_STM32H747_H
#define HIL_RENODE_STM32H747_H

#define CORE_CORTEX_M7 1
#define RENODE_UART_STM32F7_USART 1
#define UART_BASE 0x40011000u
#define UART_IRQ 37
#define NPU_BASE 0x5FFF0000u
#define NPU_IRQ 160
#define ROM_ORIGIN 0x08000000
#define ROM_BYTES 0x00200000
#define RAM_ORIGIN 0x24000000
#define RAM_BYTES 0x00080000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 400000000u
#define MIPS 400

#endif
