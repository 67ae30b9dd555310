/* STM32U575 in Renode.  `hil platforms check stm32u575` compares this with platforms/stm32u575/stm32u575.repl. */
#ifndef HIL_RENODE_STM32U575_H
#define HIL_RENODE_STM32U575_H

#define CORE_CORTEX_M33 1
#define RENODE_UART_STM32F7_USART 1
#define UART_BASE 0x40013800u
#define UART_IRQ 61
#define NPU_BASE 0x5FFF0000u
#define NPU_IRQ 160
#define ROM_ORIGIN 0x08000000
#define ROM_BYTES 0x00200000
#define RAM_ORIGIN 0x20000000
#define RAM_BYTES 0x000C0000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 160000000u
#define MIPS 160

#endif
