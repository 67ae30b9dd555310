#include "protocol.h"

#include <stddef.h>
#include <string.h>

#include "executor.h"
#include "port.h"
#include "print.h"

#define COMMAND_BYTES 80 /* with the terminating zero */
#define DEFAULT_WARMUPS 10
#define BUFFER_LINE_BYTES 8
#define OUTPUT_LINE_BYTES 32

static char command[COMMAND_BYTES];
static uint32_t command_bytes;
static int command_too_long;

static uint32_t expected_bytes; /* of `db load` */
static uint32_t loaded_bytes;
static int has_results;
static uint64_t laps_us[2]; /* of the last infer */

/* ---- lines ---- */

static void line(const char *text) {
    print_text(text);
    print_end();
}

static void tagged(const char *tag, uint64_t value) {
    print_text(tag);
    print_unsigned(value);
    print_end();
}

static void error(const char *what) {
    print_text("e-[");
    print_text(what);
    line("]");
}

static void comma_unsigned(uint64_t value) {
    port_putc(',');
    print_unsigned(value);
}

/* ---- words of a command ---- */

/* The next word, ended by a zero in place; NULL when there is none. */
static char *next_word(char **rest) {
    char *word = *rest;
    while (*word == ' ') {
        word++;
    }
    if (*word == 0) {
        return NULL;
    }
    char *end = word;
    while (*end && *end != ' ') {
        end++;
    }
    *rest = *end ? end + 1 : end;
    *end = 0;
    return word;
}

/* A decimal number up to 2147483639, or -1.  The eight between it and 2^31 are refused too. */
static int32_t number(const char *word) {
    uint32_t value = 0;
    for (; *word; word++) {
        if (*word < '0' || *word > '9' || value > 0x7FFFFFFF / 10 - 1) {
            return -1;
        }
        value = value * 10 + (uint32_t)(*word - '0');
    }
    return (int32_t)value;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The program; where there is none, an error line and NULL. */
static const struct program *need_program(void) {
    const struct program *program = executor_program();
    if (!program) {
        error(executor_prepare());
    }
    return program;
}

/* ---- MLPerf Tiny ---- */

static void do_name(char *rest) {
    (void)rest;
    const struct program *program = executor_program();
    print_text("m-name-dut-[");
    print_text(program ? program->platform : "hil");
    line("]");
}

static void do_profile(char *rest) {
    (void)rest;
    const struct program *program = executor_program();
    line(EMULATED ? "m-profile-[hil firmware 1, emulated]" : "m-profile-[hil firmware 1]");
    print_text("m-model-[");
    print_text(program ? program->network : "none");
    line("]");
}

static uint64_t timestamp(void) {
    uint64_t now_us = clock_ns() / 1000;
    if (ENERGY_MODE) {
        port_timestamp_edge();
    } else {
        tagged("m-lap-us-", now_us);
    }
    return now_us;
}

static void do_timestamp(char *rest) {
    (void)rest;
    timestamp();
}

/* In energy mode the pin tells laps as MLPerf Tiny has it: by an edge each, as any timestamp. */
static void pin_level(int high) {
    if (!ENERGY_MODE) {
        port_lap_level(high);
    }
}

static uint64_t lap(int high) {
    pin_level(high);
    clock_enter(CLASS_OFF); /* the time until now */
    return timestamp();
}

static void db_load(char *rest) {
    const struct program *program = need_program();
    const char *word = next_word(&rest);
    int32_t bytes = word ? number(word) : -1;
    if (!program) {
        return;
    }
    if (bytes <= 0) {
        error("db load needs a number of bytes above 0");
    } else if ((uint32_t)bytes > program->input_bytes) {
        error("db load exceeds the input buffer");
    } else {
        expected_bytes = (uint32_t)bytes;
        loaded_bytes = 0;
        print_text("m-[Expecting ");
        print_unsigned(expected_bytes);
        line(" bytes]");
    }
}

static void db_print(void) {
    const struct program *program = executor_program();
    for (uint32_t i = 0; i < loaded_bytes; i++) {
        print_text(i % BUFFER_LINE_BYTES ? "-" : "m-buffer-");
        print_hex_byte(executor_arena()[program->input_arena + i]);
        if (i % BUFFER_LINE_BYTES == BUFFER_LINE_BYTES - 1 || i + 1 == loaded_bytes) {
            print_end();
        }
    }
}

/* Nothing is stored of a command with a wrong digit. */
static void db_bytes(const char *digits) {
    uint32_t count = (uint32_t)strlen(digits);
    for (uint32_t i = 0; i < count; i++) {
        if (hex_digit(digits[i]) < 0) {
            error("db: not a hex digit");
            return;
        }
    }
    if (count % 2) {
        error("db: odd number of hex digits");
    } else if (count / 2 > expected_bytes - loaded_bytes) {
        error("db: more bytes than announced by db load");
    } else {
        uint8_t *buffer = executor_arena() + executor_program()->input_arena;
        for (uint32_t i = 0; i < count; i += 2) {
            buffer[loaded_bytes++] = (uint8_t)(hex_digit(digits[i]) << 4 | hex_digit(digits[i + 1]));
        }
        if (loaded_bytes == expected_bytes) {
            line("m-load-done");
        }
    }
}

static void do_db(char *rest) {
    const char *word = next_word(&rest);
    if (!word) {
        error("db needs load, print or hex digits");
    } else if (strcmp(word, "load") == 0) {
        db_load(rest);
    } else if (strcmp(word, "print") == 0) {
        db_print();
    } else if (loaded_bytes == expected_bytes) {
        error("db: no db load before");
    } else {
        db_bytes(word);
    }
}

/* Dequantized outputs, all of them in order. */
static void results(void) {
    const struct program *program = executor_program();
    const char *separator = "m-results-[";
    for (uint32_t i = 0; i < program->output_count; i++) {
        const int8_t *values = (const int8_t *)executor_arena() + program->outputs[i].arena;
        for (uint32_t k = 0; k < program->outputs[i].bytes; k++) {
            print_text(separator);
            print_float(program->outputs[i].scale * (float)(values[k] - program->outputs[i].zero_point));
            separator = ",";
        }
    }
    line(*separator == ',' ? "]" : "m-results-[]");
}

static void do_results(char *rest) {
    (void)rest;
    if (has_results) {
        results();
    } else {
        error("No results");
    }
}

/* An error ends the sequence where it happens; what was there of older results is gone. */
static const char *infer(uint32_t count, uint32_t warmups) {
    has_results = 0;
    clock_skip();
    const char *failure = executor_prepare();
    if (failure) {
        return failure;
    }
    tagged("m-warmup-start-", warmups);
    failure = executor_infer(warmups);
    if (failure) {
        return failure;
    }
    line("m-warmup-done");
    tagged("m-infer-start-", count);
    laps_us[0] = lap(1);
    failure = executor_infer(count);
    if (failure) {
        pin_level(0); /* where the next infer expects it */
        return failure;
    }
    laps_us[1] = lap(0);
    line("m-infer-done");
    return executor_finish();
}

static void do_infer(char *rest) {
    const char *word = next_word(&rest);
    int32_t count = word ? number(word) : 1;
    word = next_word(&rest);
    int32_t warmups = word ? number(word) : DEFAULT_WARMUPS;
    if (count <= 0) {
        error("Inference iterations must be >0");
        return;
    }
    if (warmups < 0) {
        error("Inference warmup must be >=0");
        return;
    }
    const char *failure = infer((uint32_t)count, (uint32_t)warmups);
    if (failure) {
        error(failure);
    } else {
        has_results = 1;
        results();
    }
}

/* ---- hil's verbs ---- */

static void do_features(char *rest) {
    (void)rest;
    line("m-features-[phases,point,memory,outputs,ops,laps,borders]");
}

/* In the order in which they happen. */
static const struct {
    enum phase phase;
    const char *name;
} phases[] = {
    {PHASE_NPU_INIT, "npu_init"},   {PHASE_WEIGHT_LOAD, "weight_load"}, {PHASE_INPUT_LOAD, "input_load"},
    {PHASE_INFERENCE, "inference"}, {PHASE_OUTPUT_READ, "output_read"}, {PHASE_POST_PROCESS, "post_process"},
};

#define PHASES (sizeof phases / sizeof phases[0])

static void do_phases(char *rest) {
    (void)rest;
    for (uint32_t i = 0; i < PHASES; i++) {
        const struct record *record = executor_phase(phases[i].phase);
        if (record->count == 0) {
            continue;
        }
        print_text("m-phase-[");
        print_text(phases[i].name);
        comma_unsigned(record->spent.time_q20 >> 20);
        comma_unsigned(record->count);
        line("]");
    }
    line("m-phases-done");
}

static void do_ops(char *rest) {
    (void)rest;
    const struct program *program = executor_program();
    for (uint32_t i = 0; program && i < program->step_count; i++) {
        const struct step *step = executor_steps() + i;
        const struct record *record = executor_step(i);
        if (step->phase != PHASE_INFERENCE || step->op < 0) {
            continue;
        }
        print_text("m-op-[");
        print_signed(step->op);
        comma_unsigned(record->spent.time_q20 >> 20);
        comma_unsigned(record->spent.ticks);
        comma_unsigned(record->count);
        line("]");
    }
    line("m-ops-done");
}

static void do_point(char *rest) {
    (void)rest;
    const struct program *program = need_program();
    if (!program) {
        return;
    }
    print_text("m-point-[");
    print_text(program->platform);
    port_putc(',');
    print_text(program->point);
    comma_unsigned(program->host_clock_hz);
    comma_unsigned(program->npu_clock_hz);
    comma_unsigned(program->supply_mv);
    line("]");
}

static void memory_line(const char *role, uint32_t used, uint32_t capacity) {
    print_text("m-memory-[");
    print_text(role);
    comma_unsigned(used);
    comma_unsigned(capacity);
    line("]");
}

/* The accelerator's weights are not the firmware's: unknown. */
static void do_memory(char *rest) {
    (void)rest;
    const struct program *program = executor_program();
    memory_line("weights", 0, 0);
    memory_line("activations", program ? program->arena_bytes : 0, executor_arena_bytes());
    memory_line("program", program ? program->total_bytes : 0, 0);
    line("m-memory-done");
}

static void output_line(uint32_t index, uint32_t offset, const uint8_t *bytes, uint32_t count) {
    print_text("m-output-[");
    print_unsigned(index);
    comma_unsigned(offset);
    port_putc(',');
    for (uint32_t i = 0; i < count; i++) {
        print_hex_byte(bytes[i]);
    }
    line("]");
}

static void do_outputs(char *rest) {
    (void)rest;
    const struct program *program = executor_program();
    if (!has_results) {
        error("No results");
        return;
    }
    for (uint32_t i = 0; i < program->output_count; i++) {
        const uint8_t *bytes = executor_arena() + program->outputs[i].arena;
        for (uint32_t offset = 0; offset < program->outputs[i].bytes; offset += OUTPUT_LINE_BYTES) {
            uint32_t left = program->outputs[i].bytes - offset;
            output_line(i, offset, bytes + offset, left < OUTPUT_LINE_BYTES ? left : OUTPUT_LINE_BYTES);
        }
    }
    line("m-outputs-done");
}

static void do_laps(char *rest) {
    (void)rest;
    if (!has_results) {
        error("No results");
        return;
    }
    print_text("m-laps-[");
    print_unsigned(laps_us[0]);
    comma_unsigned(laps_us[1]);
    line("]");
}

static void do_borders(char *rest) {
    (void)rest;
    if (!has_results) {
        error("No results");
        return;
    }
    for (uint32_t i = 0; i < PHASES; i++) {
        const struct border *border = executor_border(phases[i].phase);
        if (executor_phase(phases[i].phase)->count == 0) {
            continue;
        }
        print_text("m-border-[");
        print_text(phases[i].name);
        comma_unsigned(border->start_ns);
        comma_unsigned(border->end_ns);
        line("]");
    }
    line("m-borders-done");
}

/* ---- dispatch ---- */

static void do_help(char *rest);

static const struct {
    const char *verb;
    const char *help;
    void (*run)(char *rest);
} verbs[] = {
    {"name", "who this is", do_name},
    {"profile", "firmware and network", do_profile},
    {"timestamp", "board time", do_timestamp},
    {"help", "this list", do_help},
    {"db", "load N | HEX.. | print: the input buffer", do_db},
    {"infer", "N W: N inferences after W warm-ups", do_infer},
    {"results", "outputs of the last infer", do_results},
    {"features", "verbs below that this board has", do_features},
    {"phases", "time by phase of the last infer", do_phases},
    {"ops", "time by op of the last infer", do_ops},
    {"point", "platform and operating point", do_point},
    {"memory", "memory use", do_memory},
    {"outputs", "raw outputs of the last infer", do_outputs},
    {"laps", "laps of the last infer", do_laps},
    {"borders", "start and end of each phase of the last infer", do_borders},
};

#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

static void do_help(char *rest) {
    (void)rest;
    for (uint32_t i = 0; i < VERB_COUNT; i++) {
        print_text(verbs[i].verb);
        print_text(": ");
        line(verbs[i].help);
    }
}

static void answer(char *text) {
    char *rest = text;
    const char *verb = next_word(&rest);
    if (!verb) {
        verb = "";
    }
    for (uint32_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verb, verbs[i].verb) == 0) {
            verbs[i].run(rest);
            return;
        }
    }
    print_text("e-[Unknown command: ");
    print_text(verb);
    line("]");
}

void protocol_boot(void) {
    line(ENERGY_MODE ? "m-timestamp-mode-energy" : "m-timestamp-mode-performance");
    line("m-init-done");
    line("m-ready");
}

void protocol_feed(int byte) {
    if (byte == '\r' || byte == '\n') {
        return;
    }
    if (byte != '%') {
        if (command_bytes < COMMAND_BYTES - 1) {
            command[command_bytes++] = byte ? (char)byte : '?';
        } else {
            command_too_long = 1;
        }
        return;
    }
    command[command_bytes] = 0;
    if (command_too_long) {
        error("Command too long");
    } else {
        answer(command);
    }
    line("m-ready");
    command_bytes = 0;
    command_too_long = 0;
}
