/* The UARTs of the boards in Renode, with the registers that Renode's models have; the platform's header says which.
 * Models send at once and queue without end what they receive. */
#include "device.h"

#define UART(offset) REGISTER(UART_BASE + (offset))

#if defined RENODE_UART_MAX32655

#define CONTROL UART(0x00)
#define STATUS UART(0x04)
#define INTERRUPT_ENABLE UART(0x08)
#define INTERRUPT_FLAG UART(0x0C)
#define FIFO UART(0x20)

enum { CONTROL_THRESHOLD_1 = 1, CONTROL_CLOCK = 1 << 15 };
enum { STATUS_RX_EMPTY = 1 << 4, STATUS_TX_FULL = 1 << 7 };
enum { INTERRUPT_RX_THRESHOLD = 1 << 4 };

void uart_init(void) {
    CONTROL = CONTROL_THRESHOLD_1 | CONTROL_CLOCK;
    INTERRUPT_FLAG = INTERRUPT_RX_THRESHOLD;
    INTERRUPT_ENABLE = INTERRUPT_RX_THRESHOLD;
}

/* The flag stays up when the FIFO runs empty.  Clearing it can hide a byte that comes just then: look once more. */
int uart_read(void) {
    if (STATUS & STATUS_RX_EMPTY) {
        INTERRUPT_FLAG = INTERRUPT_RX_THRESHOLD;
    }
    return STATUS & STATUS_RX_EMPTY ? -1 : (int)(FIFO & 0xFF);
}

int uart_write(int byte) {
    if (STATUS & STATUS_TX_FULL) {
        return 0;
    }
    FIFO = (uint32_t)byte;
    return 1;
}

#elif defined RENODE_UART_NS16550_WIDE

#define DATA UART(0x00)
#define INTERRUPT_ENABLE UART(0x04)
#define FIFO_CONTROL UART(0x08)
#define LINE_CONTROL UART(0x0C)
#define LINE_STATUS UART(0x14)

enum { LINE_8_BITS = 3, INTERRUPT_RX = 1, FIFO_CLEAR_RX = 2 };
enum { STATUS_RX_READY = 1, STATUS_TX_EMPTY = 0x20 };

/* A reset leaves received bytes in the model's queue, and clearing the queue leaves the flag that says so: a read lowers
 * it. */
void uart_init(void) {
    LINE_CONTROL = LINE_8_BITS;
    FIFO_CONTROL = FIFO_CLEAR_RX;
    (void)DATA;
    INTERRUPT_ENABLE = INTERRUPT_RX;
}

int uart_read(void) {
    return LINE_STATUS & STATUS_RX_READY ? (int)(DATA & 0xFF) : -1;
}

int uart_write(int byte) {
    if (!(LINE_STATUS & STATUS_TX_EMPTY)) {
        return 0;
    }
    DATA = (uint32_t)byte;
    return 1;
}

#elif defined RENODE_UART_NXP_LPUART

#define STATUS UART(0x14)
#define CONTROL UART(0x18)
#define DATA UART(0x1C)
#define FIFO UART(0x28)

enum { FIFO_RX_ENABLE = 1 << 3 };
enum { STATUS_RX_FULL = 1 << 21, STATUS_TX_EMPTY = 1 << 23 };
enum { CONTROL_RX = 1 << 18, CONTROL_TX = 1 << 19, CONTROL_RX_INTERRUPT = 1 << 21 };

/* With the FIFO off, newer models call one byte a full buffer and hold back what follows.  It can only be switched on
 * while receiver and transmitter are off. */
void uart_init(void) {
    FIFO = FIFO_RX_ENABLE;
    CONTROL = CONTROL_RX | CONTROL_TX | CONTROL_RX_INTERRUPT;
}

int uart_read(void) {
    return STATUS & STATUS_RX_FULL ? (int)(DATA & 0xFF) : -1;
}

int uart_write(int byte) {
    if (!(STATUS & STATUS_TX_EMPTY)) {
        return 0;
    }
    DATA = (uint32_t)byte;
    return 1;
}

#elif defined RENODE_UART_STM32F7_USART

#define CONTROL_1 UART(0x00)
#define DIVISOR UART(0x0C)
#define STATUS UART(0x1C)
#define RX_DATA UART(0x24)
#define TX_DATA UART(0x28)

enum { BAUD = 115200 }; /* no more than a number here, but Renode divides by it */
enum { CONTROL_ENABLE = 1, CONTROL_RX = 1 << 2, CONTROL_TX = 1 << 3, CONTROL_RX_INTERRUPT = 1 << 5 };
enum { STATUS_RX_READY = 1 << 5, STATUS_TX_EMPTY = 1 << 7 };

void uart_init(void) {
    DIVISOR = TICKS_HZ / BAUD;
    CONTROL_1 = CONTROL_ENABLE | CONTROL_RX | CONTROL_TX | CONTROL_RX_INTERRUPT;
}

int uart_read(void) {
    return STATUS & STATUS_RX_READY ? (int)(RX_DATA & 0xFF) : -1;
}

int uart_write(int byte) {
    if (!(STATUS & STATUS_TX_EMPTY)) {
        return 0;
    }
    TX_DATA = (uint32_t)byte;
    return 1;
}

#else
#error "the platform's header selects no UART"
#endif
