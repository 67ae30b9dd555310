/* Runs the program: checks it, executes its steps phase by phase, keeps the time of every phase and step. */
#ifndef HIL_EXECUTOR_H
#define HIL_EXECUTOR_H

#include "clock.h"
#include "program.h"

#define EXECUTOR_MAX_STEPS 2048

struct record {
    struct clock_reading spent; /* sum */
    uint32_t count;             /* executions */
};

/* Board nanoseconds of the start of the first execution and the end of the last. */
struct border {
    uint64_t start_ns;
    uint64_t end_ns;
};

/* Take a program, or NULL.  Returns NULL, or why there is none to run: every later run says the same. */
const char *executor_load(const struct program *program);

/* The program that runs, or NULL; its arena and the arena's size. */
const struct program *executor_program(void);
uint8_t *executor_arena(void);
uint32_t executor_arena_bytes(void);

/* Phases before the inference: the accelerator, its weights, the input.  Starts all records anew.
 * These three return NULL, or what went wrong. */
const char *executor_prepare(void);

/* `count` inferences; the records of the phase and of its steps start anew. */
const char *executor_infer(uint32_t count);

/* Phases behind the inference. */
const char *executor_finish(void);

/* What the last runs took, and when each phase was; no border counts of a phase that was not executed. */
const struct record *executor_phase(enum phase phase);
const struct border *executor_border(enum phase phase);
const struct record *executor_step(uint32_t index);
const struct step *executor_steps(void);

#endif
