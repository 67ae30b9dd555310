/* port.h in Renode, above the core and the UART.  The accelerator has the registers of npu.h (HilNpu.cs). */
#include "port.h"

#include <stddef.h>

#include "device.h"
#include "npu.h"

#define NPU(offset) REGISTER(NPU_BASE + (offset))

void port_init(void) {
    core_init();
    uart_init();
}

uint32_t port_ticks_hz(void) {
    return TICKS_HZ;
}

int port_getc(void) {
    int byte;
    while ((byte = uart_read()) < 0) {
        interrupt_wait(UART_IRQ);
    }
    return byte;
}

void port_putc(int byte) {
    while (!uart_write(byte)) {
    }
}

/* By the clock, not by adding up sleeps: what the timer and its programming take over is not lost. */
void port_sleep(uint32_t ticks) {
    uint32_t start = port_ticks();
    for (uint32_t passed = 0; passed < ticks; passed = port_ticks() - start) {
        timer_sleep(ticks - passed);
    }
}

int port_npu_start(uint32_t command, const struct npu_params *job, uint8_t *arena) {
    if (NPU(NPU_REG_ID) != NPU_ID) {
        return -1;
    }
    NPU(NPU_REG_JOB) = job ? job->job : 0;
    NPU(NPU_REG_DESCRIPTOR) = (uint32_t)(uintptr_t)job;
    NPU(NPU_REG_ARENA) = (uint32_t)(uintptr_t)arena;
    NPU(NPU_REG_COMMAND) = command;
    return 0;
}

uint32_t port_npu_wait(void) {
    uint32_t status;
    while (!((status = NPU(NPU_REG_STATUS)) & NPU_DONE)) {
        interrupt_wait(NPU_IRQ);
    }
    NPU(NPU_REG_STATUS) = NPU_DONE;
    return status;
}

/* No pin to set. */
void port_timestamp_edge(void) {
}

void port_lap_level(int high) {
    (void)high;
}
