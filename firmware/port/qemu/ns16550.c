/* NS16550 behind the PLIC. */
#include "device.h"

#define UART_REGISTER(offset) (*(volatile uint8_t *)(UART_BASE + (offset)))
#define DATA UART_REGISTER(0)
#define INTERRUPTS UART_REGISTER(1)
#define FIFO UART_REGISTER(2)
#define LINE_STATUS UART_REGISTER(5)

#define PLIC_PRIORITY(irq) REGISTER(PLIC_BASE + 4 * (irq))
#define PLIC_ENABLE REGISTER(PLIC_BASE + 0x2000)
#define PLIC_CLAIM REGISTER(PLIC_BASE + 0x200004)

enum { INTERRUPT_RX = 1, FIFO_ENABLE = 1, STATUS_RX_READY = 1, STATUS_TX_EMPTY = 0x20 };
enum { MIE_EXTERNAL = 1 << 11 };

void uart_init(void) {
    FIFO = FIFO_ENABLE;
    INTERRUPTS = INTERRUPT_RX;
    PLIC_PRIORITY(UART_IRQ) = 1;
    PLIC_ENABLE = 1u << UART_IRQ;
}

int uart_read(void) {
    return LINE_STATUS & STATUS_RX_READY ? DATA : -1;
}

int uart_write(int byte) {
    if (!(LINE_STATUS & STATUS_TX_EMPTY)) {
        return 0;
    }
    DATA = (uint8_t)byte;
    return 1;
}

/* The controller keeps an interrupt pending until it is claimed and completed. */
void uart_sleep(void) {
    __asm volatile("csrs mie, %0\nwfi\ncsrc mie, %0" ::"r"(MIE_EXTERNAL) : "memory");
    uint32_t irq = PLIC_CLAIM;
    if (irq) {
        PLIC_CLAIM = irq;
    }
}
