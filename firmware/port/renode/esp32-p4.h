/* ESP32-P4 in Renode.  `hil platforms check esp32-p4` compares this with platforms/esp32-p4/esp32-p4.repl. */
#ifndef HIL_RENODE_ESP32_P4_H
#define HIL_RENODE_ESP32_P4_H

#define CORE_RV32IMAFC 1
#define RENODE_UART_NS16550_WIDE 1
#define UART_BASE 0x500CA000u
#define UART_IRQ 10
#define NPU_BASE 0x5FFF0000u
#define NPU_IRQ 11
#define CLINT_BASE 0x02000000u
#define PLIC_BASE 0x0C000000u
#define ROM_ORIGIN 0x4FF00000
#define ROM_BYTES 0x00080000
#define RAM_ORIGIN 0x4FF80000
#define RAM_BYTES 0x00040000
#define PROGRAM_ORIGIN 0x60000000
#define PROGRAM_BYTES 0x01000000
#define TICKS_HZ 400000000u
#define MIPS 400

#endif
