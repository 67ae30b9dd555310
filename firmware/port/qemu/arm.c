/* What the Cortex-M machines have in common. */
#include "device.h"
#include "port.h"

#define AIRCR REGISTER(0xE000ED0Cu)
#define AIRCR_RESET 0x05FA0004u

void port_reset(void) {
    AIRCR = AIRCR_RESET;
    __asm volatile("dsb" ::: "memory");
}

intptr_t semihosting(intptr_t operation, const void *block) {
    register intptr_t result __asm("r0") = operation;
    register const void *argument __asm("r1") = block;
    __asm volatile("bkpt 0xab" : "+r"(result) : "r"(argument) : "memory");
    return result;
}
