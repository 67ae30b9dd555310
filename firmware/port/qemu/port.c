/* port.h on QEMU, above the machine's devices.
 *
 * The counter stands still while the host has its say (bytes that come and go, an accelerator's job): how many
 * instructions the firmware spends on that varies from run to run.  Whoever reads it next starts it again, aligned to
 * the instruction: equal code takes equal ticks.  A sleep adds its length and so is exact.
 */
#include "port.h"

#include "device.h"

static uint32_t counted; /* before the last start */
static int running;

uint32_t port_ticks(void) {
    if (!running) {
        running = 1;
        counter_start();
    }
    return counted + counter_read();
}

void ticks_stop(void) {
    if (running) {
        running = 0;
        counted += counter_read();
        counter_stop();
    }
}

void port_init(void) {
    uart_init();
}

uint32_t port_ticks_hz(void) {
    return TICKS_HZ;
}

int port_getc(void) {
    ticks_stop();
    int byte;
    while ((byte = uart_read()) < 0) {
        uart_sleep();
    }
    return byte;
}

void port_putc(int byte) {
    ticks_stop();
    while (!uart_write(byte)) {
    }
}

void port_sleep(uint32_t ticks) {
    ticks_stop();
    timer_sleep(ticks);
    counted += ticks;
}

/* No pin to set. */
void port_timestamp_edge(void) {
}

void port_lap_level(int high) {
    (void)high;
}
