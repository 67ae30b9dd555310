#include "executor.h"

#include <stddef.h>
#include <string.h>

#include "kernels.h"
#include "npu.h"
#include "port.h"

static const struct program *program;
static const char *refusal = "No program";
static uint8_t *arena;
static uint32_t arena_bytes;
static struct record phases[PHASE_COUNT];
static struct border borders[PHASE_COUNT];
static struct record steps[EXECUTOR_MAX_STEPS];

/* ---- checks ---- */

/* IEEE 802.3, four bits at a time. */
static uint32_t crc32(const uint8_t *data, uint32_t bytes) {
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    uint32_t crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static int within(uint32_t offset, uint64_t bytes, uint32_t limit) {
    return offset <= limit && bytes <= limit - offset;
}

static const void *params_of(const struct program *p, const struct step *step) {
    return (const uint8_t *)p + step->params;
}

static int spans_are_sound(const struct program *p, const struct step *step) {
    const struct npu_params *job = params_of(p, step);
    if (step->params_bytes < sizeof *job) {
        return 0;
    }
    uint32_t room = (step->params_bytes - sizeof *job) / sizeof job->spans[0];
    if (job->input_count > room || job->output_count > room - job->input_count) {
        return 0;
    }
    for (uint32_t i = 0; i < job->input_count + job->output_count; i++) {
        if (!within(job->spans[i].arena, job->spans[i].bytes, p->arena_bytes)) {
            return 0;
        }
    }
    return 1;
}

static int step_is_sound(const struct program *p, const struct step *step) {
    if (step->time_class >= CLASS_COUNT || step->phase >= PHASE_COUNT) {
        return 0;
    }
    if (step->params % 4 || !within(step->params, step->params_bytes, p->total_bytes)) {
        return 0;
    }
    return step->opcode != OP_NPU || spans_are_sound(p, step);
}

static int is_text(const char *name, uint32_t room) {
    return memchr(name, 0, room) != NULL;
}

static int header_is_sound(const struct program *p) {
    if (!is_text(p->network, sizeof p->network) || !is_text(p->platform, sizeof p->platform) ||
        !is_text(p->point, sizeof p->point)) {
        return 0;
    }
    if (p->output_count > PROGRAM_MAX_OUTPUTS || !within(p->input_arena, p->input_bytes, p->arena_bytes)) {
        return 0;
    }
    for (uint32_t i = 0; i < p->output_count; i++) {
        if (!within(p->outputs[i].arena, p->outputs[i].bytes, p->arena_bytes)) {
            return 0;
        }
    }
    return 1;
}

static const char *refuse(const struct program *p, uint32_t memory) {
    const uint32_t covered = offsetof(struct program, crc32) + sizeof p->crc32;
    if (!p || p->magic != PROGRAM_MAGIC) {
        return "No program";
    }
    if (p->version != PROGRAM_VERSION) {
        return "Program of another version";
    }
    if (p->total_bytes < sizeof *p || crc32((const uint8_t *)p + covered, p->total_bytes - covered) != p->crc32) {
        return "Program damaged";
    }
    if (p->arena_bytes > memory) {
        return "Program needs more memory";
    }
    if (p->step_count > EXECUTOR_MAX_STEPS) {
        return "Program has too many steps";
    }
    const struct step *step = (const struct step *)((const uint8_t *)p + p->steps);
    if (p->steps % 4 || !within(p->steps, (uint64_t)p->step_count * sizeof *step, p->total_bytes)) {
        return "Program inconsistent";
    }
    for (uint32_t i = 0; i < p->step_count; i++) {
        if (!step_is_sound(p, step + i)) {
            return "Program inconsistent";
        }
    }
    return header_is_sound(p) ? NULL : "Program inconsistent";
}

const char *executor_load(const struct program *candidate) {
    arena = port_arena(&arena_bytes);
    refusal = refuse(candidate, arena_bytes);
    program = refusal ? NULL : candidate;
    clock_init(program);
    return refusal;
}

/* ---- execution ---- */

static const char *npu_command(uint32_t command, const struct npu_params *job) {
    if (port_npu_start(command, job, arena) != 0) {
        return "NPU error";
    }
    enum time_class before = clock_enter(CLASS_WAIT);
    uint32_t status = port_npu_wait();
    clock_enter(before);
    return status & NPU_ERROR ? "NPU error" : NULL;
}

static void delay(const struct delay_params *params) {
    uint64_t ticks = clock_wait_ticks(params->nanoseconds);
    enum time_class before = clock_enter(CLASS_WAIT);
    clock_sleep(ticks);
    clock_enter(before);
}

static const char *run_step(const struct step *step) {
    const void *params = params_of(program, step);
    if (step->opcode == OP_NPU) {
        return npu_command(NPU_RUN, params);
    }
    if (step->opcode == OP_DELAY) {
        delay(params);
        return NULL;
    }
    return kernel_run(step, (const uint8_t *)program, arena) ? "Unknown step" : NULL;
}

static void add(struct record *record, struct clock_reading from) {
    struct clock_reading now = clock_read();
    record->spent.time_q20 += now.time_q20 - from.time_q20;
    record->spent.ticks += now.ticks - from.ticks;
    record->count++;
}

static const char *run_steps(enum phase phase) {
    const struct step *all = executor_steps();
    const char *error = NULL;
    for (uint32_t i = 0; i < program->step_count && !error; i++) {
        if (all[i].phase != phase || all[i].opcode == OP_END) {
            continue;
        }
        enum time_class before = clock_enter((enum time_class)all[i].time_class);
        struct clock_reading from = clock_read();
        error = run_step(all + i);
        clock_enter(before);
        add(steps + i, from);
    }
    return error;
}

/* Phases that begin with a command of the accelerator do not happen on boards without it. */
static const char *run_phase(enum phase phase, uint32_t command) {
    enum time_class before = clock_enter(CLASS_CODE);
    struct clock_reading from = clock_read();
    const char *error = command ? npu_command(command, NULL) : NULL;
    if (!error) {
        error = run_steps(phase);
    }
    clock_enter(before);
    if (phases[phase].count == 0) {
        borders[phase].start_ns = from.time_q20 >> 20;
    }
    add(phases + phase, from);
    borders[phase].end_ns = clock_ns();
    return error;
}

const char *executor_prepare(void) {
    if (refusal) {
        return refusal;
    }
    memset(phases, 0, sizeof phases);
    memset(steps, 0, sizeof steps);
    const char *error = NULL;
    if (program->npu) {
        error = run_phase(PHASE_NPU_INIT, NPU_INIT);
    }
    if (!error && program->weight_load) {
        error = run_phase(PHASE_WEIGHT_LOAD, NPU_LOAD_WEIGHTS);
    }
    return error ? error : run_phase(PHASE_INPUT_LOAD, 0);
}

static void forget(enum phase phase) {
    memset(phases + phase, 0, sizeof phases[0]);
    for (uint32_t i = 0; i < program->step_count; i++) {
        if (executor_steps()[i].phase == phase) {
            memset(steps + i, 0, sizeof steps[0]);
        }
    }
}

const char *executor_infer(uint32_t count) {
    if (refusal) {
        return refusal;
    }
    forget(PHASE_INFERENCE);
    const char *error = NULL;
    while (count-- > 0 && !error) {
        error = run_phase(PHASE_INFERENCE, 0);
    }
    return error;
}

const char *executor_finish(void) {
    if (refusal) {
        return refusal;
    }
    const char *error = run_phase(PHASE_OUTPUT_READ, 0);
    return error ? error : run_phase(PHASE_POST_PROCESS, 0);
}

/* ---- what is there ---- */

const struct program *executor_program(void) {
    return program;
}

uint8_t *executor_arena(void) {
    return arena;
}

uint32_t executor_arena_bytes(void) {
    return arena_bytes;
}

const struct step *executor_steps(void) {
    return (const struct step *)((const uint8_t *)program + program->steps);
}

const struct record *executor_phase(enum phase phase) {
    return phases + phase;
}

const struct border *executor_border(enum phase phase) {
    return borders + phase;
}

const struct record *executor_step(uint32_t index) {
    return steps + index;
}
