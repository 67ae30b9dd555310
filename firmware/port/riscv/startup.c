/* Start of a RISC-V image behind entry.S: FPU, memory, fault report.
 *
 * Interrupts stay masked (mstatus.MIE): the ports sleep with WFI, which an enabled pending interrupt ends all the same,
 * and then serve it in line.
 */
#include "fault.h"
#include "image.h"

#define MSTATUS_FS_INITIAL 0x2000

void start_c(void);
void fault_report(uintptr_t cause, uintptr_t address);

void fault_report(uintptr_t cause, uintptr_t address) {
    static const char *const names[] = {
        "instruction address misaligned", "instruction access fault", "illegal instruction", "breakpoint",
        "load address misaligned",        "load access fault",        "store address misaligned",
        "store access fault",
    };
    fault(cause < sizeof names / sizeof names[0] ? names[cause] : "exception", (uint32_t)address);
}

void start_c(void) {
#ifdef __riscv_flen
    __asm volatile("csrs mstatus, %0" ::"r"(MSTATUS_FS_INITIAL));
#endif
    image_init_memory();
    main();
    for (;;) {
    }
}
