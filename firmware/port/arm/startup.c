/* Start of a Cortex-M image: vector table, memory, FPU, fault report.
 *
 * Interrupts stay masked (PRIMASK): the ports sleep with WFI, which a pending interrupt ends whether masked or not, and
 * then serve it in line.  A port that prefers handlers defines port_interrupt() and unmasks.
 */
#include "fault.h"
#include "image.h"

#define SYSTEM_VECTORS 16
#define INTERRUPTS 240
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CPACR_FPU (0xFu << 20)

void start(void);
void fault_entry(void);
void fault_report(const uint32_t *frame, uint32_t exception);

__attribute__((weak)) void port_interrupt(void) {
    fault("unexpected interrupt", 0);
}

/* Which stack holds the frame is in bit 2 of the return code; the exception's number is in IPSR. */
__attribute__((naked)) void fault_entry(void) {
    __asm volatile("tst lr, #4\n"
                   "ite eq\n"
                   "mrseq r0, msp\n"
                   "mrsne r0, psp\n"
                   "mrs r1, ipsr\n"
                   "b fault_report\n");
}

void fault_report(const uint32_t *frame, uint32_t exception) {
    static const char *const names[] = {"NMI", "hard fault", "memory fault", "bus fault", "usage fault",
                                        "secure fault"};
    enum { FRAME_PC = 6, FIRST = 2 };
    uint32_t index = exception - FIRST;
    fault(index < sizeof names / sizeof names[0] ? names[index] : "exception", frame[FRAME_PC]);
}

union vector {
    const void *stack;
    void (*handler)(void);
};

__attribute__((section(".vectors"), used)) static const union vector vectors[SYSTEM_VECTORS + INTERRUPTS] = {
    [0].stack = image_stack_top,
    [1].handler = start,
    [2 ... SYSTEM_VECTORS - 1].handler = fault_entry,
    [SYSTEM_VECTORS... SYSTEM_VECTORS + INTERRUPTS - 1].handler = port_interrupt,
};

void start(void) {
    __asm volatile("cpsid i");
    CPACR |= CPACR_FPU;
    __asm volatile("dsb\nisb");
    image_init_memory();
    main();
    for (;;) {
    }
}
