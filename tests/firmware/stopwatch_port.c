/* port.h on this machine, for tests: a board whose true time is known, with a pin and a UART that takes its time.
 *
 * Time is virtual, in ticks of one microsecond: a byte takes 87 of them at 115200 baud, waiting for a command takes a
 * second a byte, a sleep what it says, the accelerator 2 ms; computing takes none.  Everything that happens to the pin,
 * and every sleep, goes to stderr with its time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "npu.h"
#include "port.h"

#define BYTE_US 87u
#define COMMAND_BYTE_US 1000000u
#define NPU_US 2000u

static uint64_t now_us;
static _Alignas(16) uint8_t memory[1 << 16], arena[1 << 16];

static void note(const char *what, uint64_t since_us) {
    fprintf(stderr, "%s %llu %llu\n", what, (unsigned long long)since_us, (unsigned long long)now_us);
}

static void work(const char *what, uint32_t us) {
    uint64_t since_us = now_us;
    now_us += us;
    note(what, since_us);
}

void port_init(void) {
    FILE *file = fopen("program.bin", "rb");
    if (!file || fread(memory, 1, sizeof memory, file) == 0) {
        exit(2);
    }
    fclose(file);
}

int port_getc(void) {
    int byte = getchar();
    if (byte == EOF) {
        exit(0);
    }
    now_us += COMMAND_BYTE_US;
    return byte;
}

void port_putc(int byte) {
    putchar(byte);
    now_us += BYTE_US;
}

uint32_t port_ticks(void) {
    return (uint32_t)now_us;
}

uint32_t port_ticks_hz(void) {
    return 1000000;
}

void port_sleep(uint32_t ticks) {
    work("sleep", ticks);
}

const struct program *port_program(void) {
    return (const struct program *)memory;
}

uint8_t *port_arena(uint32_t *bytes) {
    *bytes = sizeof arena;
    return arena;
}

int port_npu_start(uint32_t command, const struct npu_params *job, uint8_t *base) {
    (void)job;
    (void)base;
    return command == NPU_RUN ? -1 : 0; /* its jobs fail: there is nothing that computes */
}

uint32_t port_npu_wait(void) {
    work("npu", NPU_US);
    return NPU_DONE;
}

void port_timestamp_edge(void) {
    note("edge", now_us);
}

void port_lap_level(int high) {
    note(high ? "high" : "low", now_us);
}

void port_reset(void) {
    exit(3);
}
