/* The program at PROGRAM_ORIGIN, and the arena behind it: PROGRAM_BYTES for both (the machine's header). */
#include <stddef.h>

#include "port.h"

#define ARENA_ALIGNMENT 16u

/* The emulator's memory is zero where no program was loaded. */
const struct program *port_program(void) {
    const struct program *program = (const struct program *)PROGRAM_ORIGIN;
    return program->magic == PROGRAM_MAGIC && program->total_bytes <= PROGRAM_BYTES ? program : NULL;
}

uint8_t *port_arena(uint32_t *bytes) {
    const struct program *program = port_program();
    uint32_t used = program ? program->total_bytes : 0;
    used = (used + ARENA_ALIGNMENT - 1) & ~(ARENA_ALIGNMENT - 1);
    *bytes = PROGRAM_BYTES - used;
    return (uint8_t *)PROGRAM_ORIGIN + used;
}
