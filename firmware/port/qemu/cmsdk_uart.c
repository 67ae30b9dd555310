/* CMSDK APB UART. */
#include "nvic.h"

#define DATA REGISTER(UART_BASE + 0x00)
#define STATE REGISTER(UART_BASE + 0x04)
#define CONTROL REGISTER(UART_BASE + 0x08)
#define INTERRUPT REGISTER(UART_BASE + 0x0C)
#define DIVIDER REGISTER(UART_BASE + 0x10)

enum { STATE_TX_FULL = 1, STATE_RX_FULL = 2 };
enum { CONTROL_TX = 1, CONTROL_RX = 2, CONTROL_RX_INTERRUPT = 8 };
enum { INTERRUPT_RX = 2, SMALLEST_DIVIDER = 16 };

void uart_init(void) {
    DIVIDER = SMALLEST_DIVIDER;
    CONTROL = CONTROL_TX | CONTROL_RX | CONTROL_RX_INTERRUPT;
}

int uart_read(void) {
    if (!(STATE & STATE_RX_FULL)) {
        return -1;
    }
    INTERRUPT = INTERRUPT_RX;
    return (int)(DATA & 0xFF);
}

int uart_write(int byte) {
    if (STATE & STATE_TX_FULL) {
        return 0;
    }
    DATA = (uint32_t)byte;
    return 1;
}

void uart_sleep(void) {
    sleep_until_interrupt(UART_IRQ);
}
