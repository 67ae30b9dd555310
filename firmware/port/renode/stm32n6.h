/* STM32N657 in Renode.  `hil platforms check stm32n6` compares this with platforms/stm32n6/stm32n6.repl. */
#ifndef HIL_RENODE_STM32N6_H
#define HIL_RENODE_STM32N6_H

#define CORE_CORTEX_M55 1
#define RENODE_UART_STM32F7_USART 1
#define UART_BASE 0x52001000u
#define UART_IRQ 159
#define NPU_BASE 0x580E0000u
#define NPU_IRQ 53
#define ROM_ORIGIN 0x34000000
#define ROM_BYTES 0x00100000
#define RAM_ORIGIN 0x34100000
#define RAM_BYTES 0x00100000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 800000000u
#define MIPS 800

#endif
