/* The accelerator: function and latency come from the host over two FIFOs, whose names are the second and third word of
 * the semihosting command line.  While the host computes, virtual time stands still.  A link that failed once stays
 * closed until the board restarts. */
#include "npu.h"

#include <stddef.h>
#include <string.h>

#include "clock.h"
#include "device.h"
#include "port.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_GET_CMDLINE = 0x15 };
enum { MODE_READ = 1, MODE_WRITE = 5, CLOSED = -1 };

#define COMMAND_LINE_BYTES 1024

struct request {
    uint32_t magic, command, job, input_bytes;
};

struct reply {
    uint32_t magic, status, latency_low, latency_high, output_bytes;
};

static enum { UNTRIED, OPEN, BROKEN } link_state;
static intptr_t to_host = CLOSED;
static intptr_t from_host = CLOSED;
static uint32_t last_status;
static uint64_t last_ticks;

/* ---- the FIFOs ---- */

static intptr_t open_file(const char *name, intptr_t mode) {
    const struct {
        const char *name;
        intptr_t mode, length;
    } block = {name, mode, (intptr_t)strlen(name)};
    return semihosting(SYS_OPEN, &block);
}

static void close_file(intptr_t *handle) {
    if (*handle != CLOSED) {
        semihosting(SYS_CLOSE, handle);
    }
    *handle = CLOSED;
}

/* Both operations return the bytes that are left over; a pipe takes and gives less than asked. */
static int transfer(intptr_t operation, intptr_t handle, const void *data, uint32_t bytes) {
    const uint8_t *next = data;
    while (bytes > 0) {
        const struct {
            intptr_t handle;
            const void *data;
            intptr_t bytes;
        } block = {handle, next, (intptr_t)bytes};
        intptr_t left = semihosting(operation, &block);
        if (left < 0 || left >= (intptr_t)bytes) {
            return -1;
        }
        next += bytes - (uint32_t)left;
        bytes = (uint32_t)left;
    }
    return 0;
}

static char *cut_word(char *text) {
    char *space = strchr(text, ' ');
    if (!space) {
        return NULL;
    }
    *space = 0;
    return space + 1;
}

static int open_link(void) {
    static char line[COMMAND_LINE_BYTES];
    struct {
        char *text;
        intptr_t bytes;
    } block = {line, sizeof line};
    if (semihosting(SYS_GET_CMDLINE, &block) != 0) {
        return -1;
    }
    char *first = cut_word(line);
    char *second = first ? cut_word(first) : NULL;
    if (!second) {
        return -1;
    }
    to_host = open_file(first, MODE_WRITE);
    from_host = to_host == CLOSED ? CLOSED : open_file(second, MODE_READ);
    return from_host == CLOSED ? -1 : 0;
}

static void break_link(void) {
    close_file(&to_host);
    close_file(&from_host);
    link_state = BROKEN;
}

/* ---- one command ---- */

static uint32_t span_bytes(const struct span *spans, uint32_t count) {
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += spans[i].bytes;
    }
    return bytes;
}

static int transfer_spans(intptr_t operation, intptr_t handle, const struct span *spans, uint32_t count,
                          uint8_t *arena) {
    for (uint32_t i = 0; i < count; i++) {
        if (transfer(operation, handle, arena + spans[i].arena, spans[i].bytes) != 0) {
            return -1;
        }
    }
    return 0;
}

/* 0, or -1 where the link or what comes over it is broken. */
static int exchange(uint32_t command, const struct npu_params *job, uint8_t *arena) {
    static const struct npu_params no_job;
    const struct npu_params *j = job ? job : &no_job;
    const struct span *outputs = j->spans + j->input_count;
    const struct request request = {NPU_REQUEST, command, j->job, span_bytes(j->spans, j->input_count)};
    struct reply reply;
    if (transfer(SYS_WRITE, to_host, &request, sizeof request) != 0 ||
        transfer_spans(SYS_WRITE, to_host, j->spans, j->input_count, arena) != 0 ||
        transfer(SYS_READ, from_host, &reply, sizeof reply) != 0 || reply.magic != NPU_REPLY) {
        return -1;
    }
    uint32_t output_count = reply.status ? 0 : j->output_count;
    if (reply.output_bytes != span_bytes(outputs, output_count) ||
        transfer_spans(SYS_READ, from_host, outputs, output_count, arena) != 0) {
        return -1;
    }
    last_status = reply.status ? NPU_DONE | NPU_ERROR : NPU_DONE;
    last_ticks = clock_wait_ticks((uint64_t)reply.latency_high << 32 | reply.latency_low);
    return 0;
}

int port_npu_start(uint32_t command, const struct npu_params *job, uint8_t *arena) {
    ticks_stop();
    if (link_state == UNTRIED) {
        link_state = OPEN;
        if (open_link() != 0) {
            break_link();
        }
    }
    if (link_state == OPEN && exchange(command, job, arena) != 0) {
        break_link();
    }
    return link_state == OPEN ? 0 : -1;
}

/* The end of the sleep, the timer's interrupt, is the accelerator's. */
uint32_t port_npu_wait(void) {
    clock_sleep(last_ticks);
    return last_status;
}
